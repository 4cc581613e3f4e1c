package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tmelink/internal/lab"
)

func newRun() *cobra.Command {
	var once bool
	var log logging
	cmd := &cobra.Command{
		Use:   "run FILE…",
		Short: "Run descriptions, each one machine",
		Long: "Runs the machines that the descriptions describe, in one process. Once a machine is up,\n" +
			"its `command` statements are carried out in their order; what they print goes to\n" +
			"standard output, everything else to standard error. \"-\" reads standard input. Where an\n" +
			"element carries frames over standard input and output, nothing else is printed there,\n" +
			"and the end of standard input ends the machines.\n\n" +
			"Signals: SIGINT, SIGTERM and SIGHUP end the machines and undo what was changed on this\n" +
			"host; a second one ends at once. SIGUSR2 prints every connection's counters. Under nohup\n" +
			"SIGHUP does nothing.",
		Example:           "  tmelink run --once examples/two-machines/a.tme examples/two-machines/b.tme",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(_ *cobra.Command, files []string) error {
			if err := log.open(); err != nil {
				return err
			}
			l, err := load(files, log)
			if err != nil {
				return err
			}
			return runLab(l, once, log.progress())
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end when all commands of all machines have ended, with 0 if all of them succeeded")
	log.flags(cmd)
	return cmd
}

// runLab runs a lab until a signal comes. progress gets a line for whatever
// happens to it as a whole.
func runLab(l *lab.Lab, once bool, progress io.Writer) error {
	// Whoever reads the output may go away. Without this, the next write to a
	// pipe would end the process before it has undone anything. (Ignored, the
	// signal would be so for scripts and other children too.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	tellNotes(progress, l)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(ending, syscall.SIGHUP) // the terminal is gone
	}
	status := make(chan os.Signal, 1)
	notifyStatus(status)
	defer signal.Stop(status)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-status:
				l.WriteStatus(progress)
			case s := <-ending:
				signal.Stop(ending) // a second signal ends the process as it is
				fmt.Fprintf(progress, "tmelink: %v: ending\n", s)
				cancel()
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	printed := os.Stdout
	if l.TakesStandardIO() {
		printed = os.Stderr
	}
	err := l.Run(ctx, lab.Options{Once: once, Output: printed, Progress: progress})
	cancel()
	<-watched
	if err != nil {
		return failedError{err}
	}
	return nil
}
