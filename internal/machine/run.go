package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tmelink/internal/element"
)

// MakeInterfaces starts the elements that make interfaces of the host, so that
// other elements, also of other machines, may name them wherever they stand.
// After an error the machine must be closed.
func (m *Machine) MakeInterfaces(ctx context.Context) error { return m.start(ctx, true) }

// Start starts all other elements. It waits for no peer. After an error the
// machine must be closed.
func (m *Machine) Start(ctx context.Context) error { return m.start(ctx, false) }

func (m *Machine) start(ctx context.Context, makers bool) error {
	for _, p := range m.Parts {
		if p.Type.MakesInterfaces != makers {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		m.started = append(m.started, p) // also where Start fails half-way
		if err := p.Element.Start(ctx); err != nil {
			return fmt.Errorf("%s: %s: %w", p.Pos, p.Name, err)
		}
	}
	return nil
}

// Up waits until every element has the peer that it must have, and then lets
// frames flow. waiting is called with a line for each element that has to wait.
func (m *Machine) Up(ctx context.Context, waiting func(string)) error {
	var waits []func() error
	for _, p := range m.Parts {
		w, ok := p.Element.(element.Waiter)
		if !ok {
			continue
		}
		if what := w.WaitingFor(); what != "" {
			waiting(fmt.Sprintf("%s waits for %s", p.Name, what))
		}
		waits = append(waits, func() error {
			if err := w.Wait(ctx); err != nil {
				return fmt.Errorf("%s: %s: %w", p.Pos, p.Name, err)
			}
			return nil
		})
	}
	for _, wait := range waits {
		if err := wait(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.upSince = time.Now()
	m.mu.Unlock()
	for _, c := range m.Connections {
		m.pumps.Go(func() {
			if err := c.run(); err != nil {
				m.lose(err)
			}
		})
	}
	return nil
}

// lose takes up that a connection has ended by itself.
func (m *Machine) lose(err error) {
	asked := errors.Is(err, element.ErrEnded)
	m.mu.Lock()
	m.ended = true
	if !asked {
		m.lost = errors.Join(m.lost, err)
	}
	m.mu.Unlock()
	if asked {
		m.log.Info("a connection has ended; the others go on", "err", err)
		return
	}
	m.log.Error("a connection is lost; the others go on", "err", err)
}

// Ended says whether a connection has ended by itself: lost, or as it was asked to.
func (m *Machine) Ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended
}

// Lost is the error of the connections that were lost.
func (m *Machine) Lost() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}

// RunCommands carries out the description's commands in their order and gives
// the errors of those that failed; the others are carried out all the same.
func (m *Machine) RunCommands(ctx context.Context, out io.Writer) error {
	var failed []error
	for _, c := range m.Commands {
		if ctx.Err() != nil {
			break
		}
		if err := c.Run(ctx, out); err != nil {
			failed = append(failed, fmt.Errorf("%s: command %s: %w", c.Pos, c.Text, err))
		}
	}
	return errors.Join(failed...)
}

// Stop closes, in reverse order, the elements that make no interface of the
// host. Where several machines end, all are stopped before one is closed, so
// that none loses an interface that another has made.
func (m *Machine) Stop() error {
	return m.closeStarted(func(p *Part) bool { return !p.Type.MakesInterfaces })
}

// Close ends the machine: it closes what is still open, in reverse order, and
// waits until no frame flows any more.
func (m *Machine) Close() error {
	err := errors.Join(m.Stop(), m.closeStarted(func(*Part) bool { return true }))
	m.pumps.Wait()
	return err
}

func (m *Machine) closeStarted(which func(*Part) bool) error {
	var failed []error
	var left []*Part
	for _, p := range slices.Backward(m.started) {
		if !which(p) {
			left = append(left, p)
		} else if err := p.Element.Close(); err != nil {
			failed = append(failed, fmt.Errorf("%s: close %s: %w", p.Pos, p.Name, err))
		}
	}
	slices.Reverse(left)
	m.started = left
	return errors.Join(failed...)
}
