//go:build !linux

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// newMeasuring is the subcommands that measure; here they say what they need.
func newMeasuring() []*cobra.Command {
	return []*cobra.Command{{
		Use:   "run",
		Short: "Measure (on Linux only)",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("run: measuring needs Linux network namespaces; compare and page work here too")
		},
	}}
}
