package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/machine"
)

// Options are what Run needs besides the machines.
type Options struct {
	Once     bool      // end when all commands of all machines have ended
	Output   io.Writer // what commands print
	Progress io.Writer // a line when a machine waits, is up, or has done its commands
}

// Run starts the machines, carries out their commands, and goes on until ctx or an
// element.Finite ends or, with Once, until all commands have ended. It returns when everything
// is undone: with the errors of what failed, nil if nothing did. The end of ctx
// is no failure unless it cut commands short that Once waited for.
func (l *Lab) Run(ctx context.Context, opt Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{lab: l, opt: opt, progress: &lineWriter{w: opt.Progress}, output: &lineWriter{w: opt.Output}}

	err := l.makeInterfaces(ctx)
	var watching sync.WaitGroup
	for _, f := range l.finite() {
		watching.Go(func() {
			select {
			case <-f.Ended():
				cancel()
			case <-ctx.Done():
			}
		})
	}
	if err == nil {
		err = r.machines(ctx, cancel)
	}
	cancel()
	watching.Wait()
	err = errors.Join(err, l.close())
	if unwritten := r.output.err(); unwritten != nil {
		err = errors.Join(err, fmt.Errorf("write what the commands print: %w", unwritten))
	}
	return err
}

// finite are the elements with whose end the run ends.
func (l *Lab) finite() []element.Finite {
	var all []element.Finite
	for _, m := range l.Machines {
		for _, p := range m.Parts {
			if f, ok := p.Element.(element.Finite); ok {
				all = append(all, f)
			}
		}
	}
	return all
}

// makeInterfaces starts, machine by machine, what others may name.
func (l *Lab) makeInterfaces(ctx context.Context) error {
	for _, m := range l.Machines {
		if err := m.MakeInterfaces(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close ends the machines in reverse order, those last that made interfaces
// which others are on.
func (l *Lab) close() error {
	var failed []error
	for _, m := range slices.Backward(l.Machines) {
		failed = append(failed, m.Stop())
	}
	for _, m := range slices.Backward(l.Machines) {
		failed = append(failed, m.Close(), m.Lost())
	}
	return errors.Join(failed...)
}

// run is one Run of a lab.
type run struct {
	lab      *Lab
	opt      Options
	progress *lineWriter
	output   *lineWriter
}

// machines runs every machine, each in a goroutine of its own, so that one that
// waits for its peer delays only itself. The first that cannot start ends all.
func (r *run) machines(ctx context.Context, cancel context.CancelFunc) error {
	errs := make([]error, len(r.lab.Machines))
	var running sync.WaitGroup
	for i, m := range r.lab.Machines {
		running.Go(func() {
			var fatal bool
			errs[i], fatal = r.machine(ctx, m)
			if fatal {
				cancel()
			}
		})
	}
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	if r.opt.Once {
		<-done
	} else {
		<-ctx.Done()
		<-done
	}
	return errors.Join(errs...)
}

// machine starts one machine, waits until it is up and carries out its
// commands. fatal is an error that ends the lab.
func (r *run) machine(ctx context.Context, m *machine.Machine) (err error, fatal bool) {
	say := func(format string, args ...any) { r.progress.printf("%s: %s\n", m.Name, fmt.Sprintf(format, args...)) }
	began := time.Now()
	if err := m.Start(ctx); err != nil {
		return r.cutShort(ctx, m, err), true
	}
	if err := m.Up(ctx, func(what string) { say("%s", what) }); err != nil {
		return r.cutShort(ctx, m, err), true
	}
	say("up after %v", time.Since(began).Round(time.Millisecond))
	if len(m.Commands) == 0 {
		return nil, false
	}
	out := r.output.prefixed(r.prefix(m))
	err = m.RunCommands(ctx, out)
	out.flush()
	if ctx.Err() != nil {
		return r.cutShort(ctx, m, err), false
	}
	for _, line := range lines(err) {
		say("failed: %s", line)
	}
	if err == nil {
		say("all commands have succeeded")
	}
	if !r.opt.Once {
		return nil, false // the machine goes on whatever its commands did
	}
	return err, false
}

// cutShort is the error of what the end of ctx interrupted: none, except where
// commands were to be carried out to their end.
func (r *run) cutShort(ctx context.Context, m *machine.Machine, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if r.opt.Once && len(m.Commands) > 0 {
		return fmt.Errorf("machine %s was ended before its commands were", m.Name)
	}
	return nil
}

// prefix stands before each line of a machine's commands where several speak.
func (r *run) prefix(m *machine.Machine) string {
	if len(r.lab.Machines) == 1 {
		return ""
	}
	return m.Name + ": "
}

func lines(err error) []string {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range joined.Unwrap() {
			all = append(all, lines(e)...)
		}
		return all
	}
	return []string{err.Error()}
}

// WriteStatus writes every machine's counters.
func (l *Lab) WriteStatus(w io.Writer) {
	fmt.Fprintf(w, "tmelink status, %s, running for %v\n", time.Now().Format(time.DateTime), time.Since(l.made).Round(time.Second))
	for _, m := range l.Machines {
		m.WriteStatus(w)
	}
}
