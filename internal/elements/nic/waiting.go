package nic

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// waiting is the socket at which an interface waits for an emulator, where the
// description says nothing of what is behind it.
type waiting struct {
	path    string
	element element.Element // of type tme/host/qemu/stream; nil: there can be none
	why     error           // then
	began   atomic.Bool
}

func newWaiting(env element.Env) *waiting {
	w := &waiting{}
	if w.path, w.why = socketPath(env.Machine, env.Name); w.why != nil {
		return w
	}
	words := wording{}
	words.add("listen", w.path)
	t, _ := element.Lookup(stream)
	if w.element, w.why = t.New(env, element.Args{Words: words.words}); w.why != nil {
		w.element = nil
		var fault *tmesh.Fault
		if errors.As(w.why, &fault) { // which has no place in the description
			w.why = errors.New(fault.Msg)
		}
	}
	return w
}

// start makes the socket, and has the frames of a port go there.
func (w *waiting) start(ctx context.Context, p *port) error {
	if w.element == nil {
		return w.why
	}
	if err := makePrivate(w.path); err != nil {
		return err
	}
	behind, err := w.element.Attach(element.Args{})
	if err != nil {
		return err
	}
	if err := w.element.Start(ctx); err != nil {
		return err
	}
	p.Filter().SetPromiscuous(true) // whose addresses are behind it, the emulator knows
	p.behind.Store(&behind)
	w.began.Store(true)
	return nil
}

// close removes the socket, and its folders where nothing else is in them.
func (w *waiting) close() error {
	if w.element == nil {
		return nil
	}
	err := w.element.Close()
	if w.began.Load() {
		machine := filepath.Dir(w.path)
		if os.Remove(machine) == nil {
			os.Remove(filepath.Dir(machine))
		}
	}
	return err
}

func (w *waiting) status() string {
	if !w.began.Load() {
		return "nothing is plugged in"
	}
	return w.element.(element.Reporter).Status()
}

// port is the interface's attachment point: the built-in host's port, or that of the
// socket at which it waits for an emulator.
type port struct {
	ethernet.Station
	of     *Interface
	behind atomic.Pointer[ethernet.Port] // the socket's; nil: it is the host's
}

func (p *port) now() ethernet.Port {
	if b := p.behind.Load(); b != nil {
		return *b
	}
	return p.Station
}

func (p *port) ReadFrames() ([]ethernet.Frame, error)     { return p.now().ReadFrames() }
func (p *port) WriteFrames(frames []ethernet.Frame) error { return p.now().WriteFrames(frames) }
func (p *port) Offloads() ethernet.Offloads               { return p.now().Offloads() }
func (p *port) MaxFrame() int                             { return p.now().MaxFrame() }
func (p *port) Counters() *ethernet.Counters              { return p.now().Counters() }
func (p *port) Close() error                              { return p.now().Close() }
