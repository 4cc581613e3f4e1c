package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tmelink/internal/element"
	"tmelink/internal/machine"
	"tmelink/internal/openvpn/profile"
	"tmelink/internal/tmesh"
)

func newOpenVPN() *cobra.Command {
	return &cobra.Command{
		Use:   "openvpn OPENVPN-OPTIONS",
		Short: "Run one TAP and one link from OpenVPN's own command line or profile",
		Long: "Takes the place of `openvpn --dev tap`: it reads OpenVPN's options from the command line\n" +
			"and from profiles (--config FILE, or FILE alone), makes the TAP that they describe and joins\n" +
			"it to a link with the peer. With --dev null there is no TAP, and the peer's frames are let\n" +
			"fall. What cannot be carried out is refused; what cannot matter is listed as without effect.\n" +
			"File names are relative to the folder that it is started in, or to that of --cd.\n\n" +
			"Of a whole process it knows --cd, --config, --status, --writepid, --verb, --log and\n" +
			"--log-append. It ends when its link does, by --ping-exit or --inactive.\n\n" +
			"Signals: SIGINT and SIGTERM end it; SIGUSR1 has the link begin anew with its peer; SIGHUP\n" +
			"reads the options anew, and starts anew if nothing is wrong with them; SIGUSR2 writes the\n" +
			"counters to the log.",
		Example: "  tmelink openvpn --dev tap0 --ifconfig 10.0.77.1 255.255.255.0 --remote 192.0.2.2\n" +
			"  tmelink openvpn --config peer.ovpn --status status.log 10",
		DisableFlagParsing: true,
		ValidArgsFunction:  completeFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
				return cmd.Help()
			}
			return runOpenVPN(args)
		},
	}
}

// tunnelRun is what OpenVPN's options describe: a machine of one link and, unless
// they say --dev null, one TAP.
type tunnelRun struct {
	process processWords
	machine *machine.Machine
	log     *slog.Logger
}

// laterStderr writes to what os.Stderr is at the time, which --log changes after
// the options have been read.
type laterStderr struct{}

func (laterStderr) Write(text []byte) (int, error) { return os.Stderr.Write(text) }

// newTunnel reads OpenVPN's options and builds what they describe. It opens
// nothing but the files that the options are in.
func newTunnel(args []string) (*tunnelRun, error) {
	words, faults := readOpenVPN(args, readProfile)
	t := &tunnelRun{log: slog.New(slog.NewTextHandler(laterStderr{}, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	var idle []tmesh.Word
	process, err := parseProcess(words.dir, element.Args{Words: words.process, NoEffect: &idle})
	faults.Add(tmesh.Pos{}, err)
	t.process = process
	// With a fault already the elements tell theirs all the same.
	m, more := machine.Build(machine.Config{Name: "openvpn", Dir: words.dir, Log: t.log, Level: process.level}, words.statements())
	faults = append(faults, more...)
	if len(faults) > 0 {
		faults.Sort()
		// A profile's lines are not shown: they can be those of a key.
		return nil, faultsError{faults, tmesh.Sources{profile.CommandLine: profile.ArgsText(args)}}
	}
	m.NoEffect = append(m.NoEffect, idle...)
	t.machine = m
	return t, nil
}

// runOpenVPN runs one tunnel after the other, until one ends for good.
func runOpenVPN(args []string) error {
	t, err := newTunnel(args)
	if err != nil {
		return err
	}
	if err := t.process.redirect(); err != nil {
		return failedError{err}
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // see runLab
	signals := make(chan os.Signal, 1)
	notifyOpenVPN(signals)
	for t != nil {
		next, err := t.run(args, signals)
		if err != nil {
			return failedError{err}
		}
		t = next
	}
	return nil
}

// run brings the tunnel up and goes on until it ends; next is the tunnel that
// SIGHUP has put in its place.
func (t *tunnelRun) run(args []string, signals chan os.Signal) (next *tunnelRun, err error) {
	notes(laterStderr{}, "", t.machine)
	forget, err := t.process.writePID()
	if err != nil {
		return nil, err
	}
	defer forget()
	w := newWatch(t)
	if err := w.writeStatus(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	up := make(chan error, 1)
	go func() { up <- t.bringUp(ctx) }()
	next, err = t.serve(args, signals, up, w)
	cancel()
	select {
	case early := <-up: // serve has not had it: what the end cut short is no failure
		if !errors.Is(early, context.Canceled) {
			err = errors.Join(err, early)
		}
	case <-w.up:
	}
	err = errors.Join(err, t.machine.Close(), t.machine.Lost(), w.writeStatus())
	return next, err
}

// bringUp opens everything, and waits for a peer that must be there.
func (t *tunnelRun) bringUp(ctx context.Context) error {
	if err := t.machine.MakeInterfaces(ctx); err != nil {
		return err
	}
	if err := t.machine.Start(ctx); err != nil {
		return err
	}
	return t.machine.Up(ctx, func(what string) { t.log.Info(what) })
}

// serve answers signals and watches over the tunnel until it is to end. up has
// the outcome of bringUp.
func (t *tunnelRun) serve(args []string, signals chan os.Signal, up chan error, w *watch) (next *tunnelRun, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-up:
			close(w.up)
			if err != nil {
				return nil, err
			}
			up = nil
			t.log.Info("Initialization Sequence Completed") // OpenVPN's words, for which scripts wait
		case s := <-signals:
			switch wishOf(s) {
			case wishEnd:
				signal.Stop(signals) // a second signal ends the process as it is
				t.log.Info("ending", "signal", s)
				return nil, nil
			case wishStatus:
				w.statistics(laterStderr{})
				t.machine.WriteStatus(laterStderr{})
			case wishRestart:
				t.restart(s.String())
			case wishAnew:
				if next := t.reread(args); next != nil {
					return next, nil
				}
			}
		case now := <-tick.C:
			if w.look(now) {
				return nil, nil
			}
		}
	}
}

// restart has the link begin anew with its peer.
func (t *tunnelRun) restart(reason string) {
	if link, ok := t.machine.Part(linkName).Element.(element.Restarter); ok {
		link.Restart(reason)
	}
}

// reread reads the options anew. Where something is wrong with them now, it says
// so and the tunnel goes on as it is.
func (t *tunnelRun) reread(args []string) *tunnelRun {
	next, err := newTunnel(args)
	var wrong faultsError
	if errors.As(err, &wrong) {
		wrong.faults.Print(laterStderr{}, wrong.sources)
		t.log.Error("the options are not taken, and all goes on as it is", "faults", len(wrong.faults))
		return nil
	}
	t.log.Info("starting anew with the options as they are now")
	return next
}

// readProfile reads a profile, no more than it can be long.
func readProfile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, profile.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", errors.Unwrap(err))
	}
	return text, nil
}
