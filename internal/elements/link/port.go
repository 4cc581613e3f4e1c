package link

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn"
	"tmelink/internal/spare"
	"tmelink/internal/transport"
)

// circuit is one connection or socket, and the session over it.
type circuit struct {
	conn    transport.Conn
	session *openvpn.Session
	lost    chan error    // holds the first error
	asked   chan struct{} // holds the talker's wake-up
}

func newCircuit(conn transport.Conn, session *openvpn.Session) *circuit {
	return &circuit{conn: conn, session: session, lost: make(chan error, 1), asked: make(chan struct{}, 1)}
}

// fail tells the keeper that the circuit is of no more use.
func (c *circuit) fail(err error) {
	select {
	case c.lost <- err:
	default:
	}
}

// port is the link's attachment point. It outlives its circuits.
type port struct {
	maxFrame int
	mssfix   mssfix
	counters ethernet.Counters
	closing  func() // tells the keeper
	circuit  atomic.Pointer[circuit]

	mu      sync.Mutex
	changed sync.Cond // circuit or end
	end     error     // what ReadFrames returns from now on

	few     [fewFrames]ethernet.Frame // the reader's
	many    *frameList                // in place of few, nil while it waits
	packets [][]byte                  // the writer's
}

// fewFrames is for how many frames a port has memory of its own; for more it
// takes a frameList.
const fewFrames = 8

// frameList is memory for the frames of a batch.
type frameList struct{ frames []ethernet.Frame }

// frameLists are those that no port holds.
var frameLists = spare.New(func() *frameList { return new(frameList) })

func newPort(c *config) *port {
	p := &port{maxFrame: ethernet.FrameLen(c.mtu), mssfix: c.mssfixOrDefault()}
	p.changed.L = &p.mu
	return p
}

// ReadFrames waits for frames of the peer, through any number of circuits.
func (p *port) ReadFrames() ([]ethernet.Frame, error) {
	c := p.circuit.Load()
	for {
		if p.many != nil {
			frameLists.Give(p.many)
			p.many = nil
		}
		if c == nil {
			var err error
			if c, err = p.await(nil); err != nil {
				return nil, err
			}
		}
		packets, err := c.conn.ReadPackets()
		if err != nil {
			c.fail(err)
			if c, err = p.await(c); err != nil {
				return nil, err
			}
			continue
		}
		frames := p.few[:0]
		if len(packets) > fewFrames {
			p.many = frameLists.Take()
			frames = p.many.frames[:0]
		}
		frames = c.session.Decode(frames, packets, time.Now())
		if p.many != nil {
			p.many.frames = frames
		}
		p.clamp(c, frames)
		if c.session.Asked() {
			select {
			case c.asked <- struct{}{}:
			default:
			}
		}
		if len(frames) > 0 {
			return frames, nil
		}
	}
}

// await waits for another circuit than the one that failed.
func (p *port) await(failed *circuit) (*circuit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.end != nil {
			return nil, p.end
		}
		if c := p.circuit.Load(); c != nil && c != failed {
			return c, nil
		}
		p.changed.Wait()
	}
}

// WriteFrames sends frames to the peer, and drops them where there is none.
func (p *port) WriteFrames(frames []ethernet.Frame) error {
	c := p.circuit.Load()
	if c == nil {
		p.counters.Write.Add(ethernet.Disconnected, len(frames))
		return p.ended()
	}
	p.clamp(c, frames)
	p.packets = c.session.Encode(p.packets[:0], frames, time.Now())
	err := c.conn.WritePackets(p.packets)
	clear(p.packets)
	if err != nil {
		c.fail(err)
		return p.ended()
	}
	return nil
}

// clamp has the TCP connections inside the frames, in both directions as OpenVPN
// does it, send segments that fit the path.
func (p *port) clamp(c *circuit, frames []ethernet.Frame) {
	if p.mssfix.bytes == 0 {
		return
	}
	for i := range frames {
		if ethernet.MayOpenTCP(frames[i].Data) {
			ethernet.ClampMSS(&frames[i], p.mssfix.limit(c.conn))
		}
	}
}

// Offloads: none; each packet carries one finished frame.
func (p *port) Offloads() ethernet.Offloads { return 0 }
func (p *port) MaxFrame() int               { return p.maxFrame }

// Counters are the drops, the kernel's until now included.
func (p *port) Counters() *ethernet.Counters {
	if c := p.circuit.Load(); c != nil {
		if udp, ok := c.conn.(*transport.UDP); ok {
			udp.CountDropped()
		}
	}
	return &p.counters
}

// Close ends both directions for good.
func (p *port) Close() error {
	p.shut(net.ErrClosed)
	if c := p.circuit.Load(); c != nil {
		c.conn.Close()
	}
	return nil
}

// shut ends the port with an error for its reader and writer.
func (p *port) shut(err error) {
	p.mu.Lock()
	if p.end == nil {
		p.end = err
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	p.closing()
}

// ended is the error with which the port has ended, nil while it has not.
func (p *port) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

// publish lets frames flow over a circuit; nil: over none.
func (p *port) publish(c *circuit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.circuit.Store(c)
	p.changed.Broadcast()
}
