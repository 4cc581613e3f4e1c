package emulator

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/transport/unixsock"
)

// socket is what carries frames: a Stream or Datagrams.
type socket interface {
	ReadFrames() ([]ethernet.Frame, error)
	WriteFrames([]ethernet.Frame) error
	Close() error
}

// line is a socket in use, to one emulator.
type line struct {
	socket
	peer string // who the emulator is, for the log; may be ""
	from time.Time
	// lasting: its end is the port's, because no other can follow.
	lasting bool
	over    chan struct{} // closed when the line is lost
}

func newLine(s socket, peer string) *line {
	return &line{socket: s, peer: peer, from: time.Now(), over: make(chan struct{})}
}

// port is an element's attachment point. It outlives its lines, of which there
// is one at a time.
type port struct {
	maxFrame int
	peer     string // what is at the other end: "emulator"
	log      *slog.Logger
	counters ethernet.Counters
	line     atomic.Pointer[line] // nil: no emulator is there
	closed   atomic.Bool          // set under mu

	mu      sync.Mutex // held while line or closed changes
	changed sync.Cond
}

func newPort(maxFrame int, peer string, log *slog.Logger) *port {
	p := &port{maxFrame: maxFrame, peer: peer, log: log}
	p.changed.L = &p.mu
	return p
}

// ReadFrames waits for frames of the emulator, through any number of lines.
func (p *port) ReadFrames() ([]ethernet.Frame, error) {
	for {
		l := p.line.Load()
		if l == nil {
			l = p.await()
		}
		if p.closed.Load() { // also where a line has frames left
			return nil, net.ErrClosed
		}
		frames, err := l.ReadFrames()
		if err == nil {
			return frames, nil
		}
		if p.closed.Load() {
			return nil, net.ErrClosed
		}
		p.lose(l, err)
		if l.lasting {
			return nil, finally(err)
		}
	}
}

// await waits for a line, or the port's end.
func (p *port) await() *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed.Load() {
		if l := p.line.Load(); l != nil {
			return l
		}
		p.changed.Wait()
	}
	return nil
}

// WriteFrames sends frames to the emulator, and drops them where there is none.
func (p *port) WriteFrames(frames []ethernet.Frame) error {
	l := p.line.Load()
	if l == nil {
		p.counters.Write.Add(ethernet.Disconnected, len(frames))
		return p.end()
	}
	err := l.WriteFrames(frames)
	if err == nil {
		return nil
	}
	if l.lasting && !errors.Is(err, net.ErrClosed) {
		p.lose(l, err)
		return finally(err)
	}
	// That a stream has ended is the reader's to find, who first takes what
	// came before its end.
	return p.end()
}

// finally is the error of a line after which no other can come. That the other end
// has closed it is no failure.
func finally(err error) error {
	if errors.Is(err, unixsock.ErrGone) {
		return fmt.Errorf("%w: %w", err, element.ErrEnded)
	}
	return err
}

// end is the error with which the port has ended, nil while it has not.
func (p *port) end() error {
	if p.closed.Load() {
		return net.ErrClosed
	}
	return nil
}

// Offloads: an emulator takes finished frames.
func (p *port) Offloads() ethernet.Offloads { return 0 }

func (p *port) MaxFrame() int                { return p.maxFrame }
func (p *port) Counters() *ethernet.Counters { return &p.counters }

// Close ends both directions for good.
func (p *port) Close() error {
	p.mu.Lock()
	p.closed.Store(true)
	l := p.line.Load()
	p.changed.Broadcast()
	p.mu.Unlock()
	if l != nil {
		return l.Close()
	}
	return nil
}

// publish lets frames flow over a line, and closes it if the port is closed.
func (p *port) publish(l *line) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		l.Close()
		return net.ErrClosed
	}
	p.line.Store(l)
	p.changed.Broadcast()
	return nil
}

// lose ends a line, and says why if it has not ended before.
func (p *port) lose(l *line, why error) {
	p.mu.Lock()
	lost := p.line.CompareAndSwap(l, nil)
	if lost {
		close(l.over)
	}
	p.mu.Unlock()
	if !lost {
		return
	}
	l.Close()
	if p.closed.Load() {
		return
	}
	log := p.log
	if l.peer != "" {
		log = log.With("peer", l.peer)
	}
	if errors.Is(why, unixsock.ErrGone) {
		log.Info(p.peer + " has gone")
	} else {
		log.Error("connection to the "+p.peer+" is lost", "err", why)
	}
}

var _ ethernet.Port = (*port)(nil)
