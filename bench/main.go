// Command bench measures tmelink beside OpenVPN, other tunnels and the kernel:
// each is set up between two network namespaces that a veth pair joins, and
// carries the same streams, small datagrams and pings; where the ends agree on keys,
// that is timed too. It writes what it found as a table, as JSON, and as
// docs/performance.md with its plot.
//
// A run goes round by round; in each round every subject is set up afresh, in
// turn, so that a machine that becomes faster or slower does so for all of them.
// What stands in the table is the median of the rounds. Nothing is left out of
// it because it is bad for tmelink.
//
// It changes nothing on the host: all traffic is inside namespaces that it made,
// and at the end, also after an interrupt, processes and namespaces are gone.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{
		Use:           "bench",
		Short:         "Measure tmelink beside OpenVPN, other tunnels and the kernel",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newCompare(), newPage())
	root.AddCommand(newMeasuring()...)
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func newCompare() *cobra.Command {
	return &cobra.Command{
		Use:   "compare OLD.json NEW.json",
		Short: "Show what a change did: per subject and figure old, new, and their ratio",
		Long: "Shows for every subject and figure of both results the old and the new median and\n" +
			"their ratio, and marks those that changed beyond the noise: the ranges of the rounds,\n" +
			"from the least to the greatest, do not overlap.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := loadResult(args[0])
			if err != nil {
				return err
			}
			new, err := loadResult(args[1])
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), compare(old, new))
			return nil
		},
	}
}

func newPage() *cobra.Command {
	return &cobra.Command{
		Use:   "page RESULT.json DIR",
		Short: "Write DIR/performance.md and DIR/performance.svg from a stored result",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := loadResult(args[0])
			if err != nil {
				return err
			}
			return writePage(r, args[1])
		},
	}
}
