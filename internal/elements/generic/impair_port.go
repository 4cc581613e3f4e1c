package generic

import (
	"net"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
)

// impairPort is one end of an impaired wire.
type impairPort struct {
	element  *Impair
	in       lane  // of the frames that come in here
	out      *lane // the other port's in
	closed   atomic.Bool
	counters ethernet.Counters

	// of the goroutine that reads
	read  *buffer // what it has handed out
	timer *time.Timer
}

// WriteFrames takes frames that come in at the port. It never waits.
func (p *impairPort) WriteFrames(frames []ethernet.Frame) error {
	if p.closed.Load() {
		return net.ErrClosed
	}
	p.in.put(frames, p.element.now())
	return nil
}

// ReadFrames waits until frames from the other port are due, and gives them.
func (p *impairPort) ReadFrames() ([]ethernet.Frame, error) {
	if p.read != nil {
		p.read.release()
		p.read = nil
	}
	for {
		now := p.element.now()
		b, due, open := p.out.take(now)
		switch {
		case !open:
			return nil, net.ErrClosed
		case b != nil:
			p.read = b
			return b.frames(), nil
		case due == never:
			<-p.out.wake
		default:
			p.sleep(due - now)
		}
	}
}

// sleep waits for a time, or until an earlier frame has come.
func (p *impairPort) sleep(d time.Duration) {
	if p.timer == nil {
		p.timer = time.NewTimer(d)
	} else {
		p.timer.Reset(d)
	}
	select {
	case <-p.timer.C:
	case <-p.out.wake:
		p.timer.Stop()
	}
}

// Offloads: a wire carries what is finished.
func (p *impairPort) Offloads() ethernet.Offloads { return 0 }

// MaxFrame: the wire has no limit of its own.
func (p *impairPort) MaxFrame() int { return ethernet.MaxFrameLen }

// Counters: Write has what came in here and was lost or found no room.
func (p *impairPort) Counters() *ethernet.Counters { return &p.counters }

// Close ends both directions here. What is under way to the other port still
// arrives there.
func (p *impairPort) Close() error {
	p.closed.Store(true)
	p.out.close()
	return nil
}
