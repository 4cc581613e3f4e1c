package generic

import (
	"errors"
	"log/slog"
	"net"

	"tmelink/internal/ethernet"
	"tmelink/internal/spare"
)

// Wire is what an element joins to a switch of its own: a socket or the like that
// takes and gives finished frames. Its methods keep the contract of ethernet.Port.
type Wire interface {
	ReadFrames() ([]ethernet.Frame, error)
	WriteFrames([]ethernet.Frame) error
	Close() error
}

// NewSwitch makes a switch for an element of another type that is one.
func NewSwitch(log *slog.Logger) *Switch { return newSwitch(log, defaults) }

// NewHub makes a switch that learns nothing: every frame goes to all ports but
// the one that it came from.
func NewHub(log *slog.Logger) *Switch {
	c := defaults
	c.table = 0
	return newSwitch(log, c)
}

// segmenters are those that no wire uses.
var segmenters = spare.New(func() *ethernet.Segmenter { return new(ethernet.Segmenter) })

// Join makes a wire a port of the switch and carries frames both ways, by two
// goroutines, until the wire ends or the switch is closed. The wire is given frames
// of at most maxFrame bytes; what it does not take in time waits in the port's queue
// and is then dropped there, at nobody else's cost. drops counts that and what is too
// long. The wire is closed in the end; wait waits for that and gives the wire's
// error, which is nil where it or the switch was closed.
func (s *Switch) Join(w Wire, maxFrame int, drops *ethernet.Drops) (wait func() error) {
	p := s.add("plug", portConfig{}, drops)
	in, out := make(chan error, 1), make(chan error, 1)
	go func() {
		in <- p.collect(w)
		p.Close()
		w.Close() // wakes who writes it
	}()
	go func() {
		out <- p.deliver(w, maxFrame, drops)
		w.Close() // wakes who reads it
	}()
	return func() error { return errors.Join(<-in, <-out) }
}

// collect takes the wire's frames in.
func (p *port) collect(w Wire) error {
	for {
		frames, err := w.ReadFrames()
		if err != nil {
			return lost(err)
		}
		if p.WriteFrames(frames) != nil {
			return nil
		}
	}
}

// deliver gives the wire the port's frames.
func (p *port) deliver(w Wire, maxFrame int, drops *ethernet.Drops) error {
	for {
		frames, err := p.ReadFrames()
		if err != nil {
			return nil
		}
		if ethernet.Pass(frames, 0, maxFrame) {
			err = w.WriteFrames(frames)
		} else {
			s := segmenters.Take()
			if finished := s.Finish(frames, 0, maxFrame, drops); len(finished) > 0 {
				err = w.WriteFrames(finished)
			}
			segmenters.Give(s)
		}
		if err != nil {
			return lost(err)
		}
	}
}

// lost leaves out that a wire was closed.
func lost(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
