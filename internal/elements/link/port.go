package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
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
	way     way
	conn    transport.Conn
	session *openvpn.Session
	begun   atomic.Pointer[openvpn.Session] // the same, for recognize
	sending sync.Mutex                      // held from when packets are sealed until they are sent
	agreed  atomic.Bool                     // there has been a key
	race    race                            // between the peer's addresses; the talker's
	lost    chan error                      // holds the first error
	asked   chan struct{}                   // holds the talker's wake-up

	toldTooLong bool // of a packet of the negotiation; the talker's

	talker sync.WaitGroup
	end    context.CancelFunc // of the talker
	over   <-chan struct{}    // closed with it: frames flow over it no more
	leave  atomic.Bool        // it is to say goodbye at its end
	left   chan struct{}      // closed when the port's reader has gone over to another
}

func newCircuit(w way) *circuit {
	return &circuit{way: w, lost: make(chan error, 1), asked: make(chan struct{}, 1), left: make(chan struct{})}
}

// introduce says whether a datagram proves that its sender is the peer.
func (c *circuit) introduce(packet []byte, from netip.AddrPort) bool {
	proved := c.session.Introduce(packet, from, time.Now())
	if c.session.Asked() {
		c.wake()
	}
	return proved
}

// recognize says whether a packet that has come at a port that links share is the
// peer's, wherever it comes from. Others than the reader ask, and may do so before
// there is a session.
func (c *circuit) recognize(packet []byte) bool {
	s := c.begun.Load()
	return s != nil && s.Recognize(packet)
}

// wake has the talker look whether there is something for it to do.
func (c *circuit) wake() {
	select {
	case c.asked <- struct{}{}:
	default:
	}
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
	log      *slog.Logger
	counters ethernet.Counters
	closing  func() // tells the keeper
	circuit  atomic.Pointer[circuit]
	// What the sockets have carried, in bytes of packets.
	received, sent atomic.Uint64
	shaper         atomic.Pointer[shaper] // nil: packets go out as they come

	mu      sync.Mutex
	changed sync.Cond // circuit or end
	end     error     // what ReadFrames returns from now on

	parted func() // nil: nobody wants to know

	guiding sync.Mutex
	guided  func(*ethernet.Network) error // nil: nobody wants to know

	reading *circuit                  // the reader's
	few     [fewFrames]ethernet.Frame // the reader's
	many    *frameList                // in place of few, nil while it waits
	packets [][]byte                  // the writer's

	toldOversize atomic.Bool
}

// fewFrames is for how many frames a port has memory of its own; for more it
// takes a frameList.
const fewFrames = 8

// frameList is memory for the frames of a batch.
type frameList struct{ frames []ethernet.Frame }

// frameLists are those that no port holds.
var frameLists = spare.New(func() *frameList { return new(frameList) })

func newPort(c *config, log *slog.Logger) *port {
	p := &port{maxFrame: ethernet.FrameLen(c.mtu), mssfix: c.mssfixOrDefault(), log: log}
	p.changed.L = &p.mu
	if c.shaper > 0 {
		p.shaper.Store(newShaper(c.shaper))
	}
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
		if c != p.reading {
			if p.reading != nil {
				close(p.reading.left)
			}
			p.reading = c
		}
		if c != nil {
			c.session.Reclaim()
		}
		if c == nil {
			var err error
			if c, err = p.await(nil); err != nil {
				return nil, err
			}
			continue
		}
		packets, err := c.conn.ReadPackets()
		if errors.Is(err, transport.ErrInterrupted) { // for another circuit
			c = p.circuit.Load()
			continue
		}
		if err != nil {
			c.fail(err)
			if c, err = p.await(c); err != nil {
				return nil, err
			}
			continue
		}
		p.received.Add(size(packets))
		frames := p.few[:0]
		if len(packets) > fewFrames {
			p.many = frameLists.Take()
			frames = p.many.frames[:0]
		}
		frames = c.session.Decode(frames, packets, c.conn.Peer(), time.Now())
		if p.many != nil {
			p.many.frames = frames
		}
		p.clamp(c, frames)
		if c.session.Asked() {
			c.wake()
		}
		if len(frames) > 0 {
			return frames, nil
		}
	}
}

// size is that of all packets together, in bytes.
func size(packets [][]byte) (n uint64) {
	for _, p := range packets {
		n += uint64(len(p))
	}
	return n
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
	if err := p.pace(c, frames); err != nil {
		c.fail(err)
		return p.ended()
	}
	return nil
}

// send sends frames in packets, in as many goes as these take memory.
func (p *port) send(c *circuit, frames []ethernet.Frame) (err error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	for now := time.Now(); len(frames) > 0 && err == nil; {
		var n int
		p.packets, n = c.session.Encode(p.packets[:0], frames, now)
		if len(p.packets) > 0 {
			p.sent.Add(size(p.packets))
			err = c.conn.WritePackets(p.packets)
			clear(p.packets)
		}
		frames = frames[n:]
	}
	c.session.Rest()
	if c.session.Asked() { // a key has been used up
		c.wake()
	}
	return err
}

// sendBeside sends a packet that is no frame's. What cannot be sent is lost like any
// packet; that the socket is gone is the reader's to notice.
func (p *port) sendBeside(c *circuit, packet []byte, to netip.AddrPort) error {
	if s := p.shaper.Load(); s != nil { // at the end of the circuit nothing waits
		s.turn([]ethernet.Frame{{Data: packet}}, c.conn.Overhead(), c.over)
	}
	err := c.conn.Send(packet, to)
	if err == nil {
		p.sent.Add(uint64(len(packet)))
	}
	return err
}

// clamp has the TCP connections inside the frames, in both directions as OpenVPN
// does it, send segments that fit the path.
func (p *port) clamp(c *circuit, frames []ethernet.Frame) {
	if p.mssfix.bytes == 0 {
		return
	}
	for i := range frames {
		if ethernet.MayOpenTCP(frames[i].Data) {
			ethernet.ClampMSS(&frames[i], p.mssfix.limit(c.conn, c.session.Overhead()))
		}
	}
}

// Offloads: none; each packet carries one finished frame.
func (p *port) Offloads() ethernet.Offloads { return 0 }
func (p *port) MaxFrame() int               { return p.maxFrame }

// TellOversize tells once of a frame that --tun-mtu does not let by.
func (p *port) TellOversize(length int) {
	if !p.toldOversize.Swap(true) {
		p.log.Warn("frames are longer than --tun-mtu allows, and are dropped: lower the MTU of what the link is connected to, "+
			"or raise --tun-mtu at both ends, and give both --fragment where the path takes no longer packets", "frame", length, "most", p.maxFrame)
	}
}

// Counters are the drops, the kernel's until now included.
func (p *port) Counters() *ethernet.Counters {
	if c := p.circuit.Load(); c != nil {
		if udp, ok := c.conn.(interface{ CountDropped() }); ok {
			udp.CountDropped()
		}
	}
	return &p.counters
}

// Close ends both directions for good. The keeper closes the socket, when it has
// said what is to be said.
func (p *port) Close() error {
	p.shut(net.ErrClosed)
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

// publish lets frames flow over a circuit, nil: over none, and gives the one over which
// they have flown before.
func (p *port) publish(c *circuit) (before *circuit) {
	p.mu.Lock()
	before = p.circuit.Swap(c)
	p.changed.Broadcast()
	p.mu.Unlock()
	if c == nil && p.parted != nil {
		p.parted()
	}
	return before
}

// OnParted has f called each time that the peer is lost.
func (p *port) OnParted(f func()) { p.parted = f }

// guidePort is the port of a link that is told by a server how the station behind
// the other side of its connection is to be set up.
type guidePort struct{ *port }

// OnNetwork has f hear it.
func (p guidePort) OnNetwork(f func(*ethernet.Network) error) {
	p.guiding.Lock()
	defer p.guiding.Unlock()
	p.guided = f
}

// guide tells how the station is to be set up; nil: it is not known any more.
func (p *port) guide(n *ethernet.Network, log *slog.Logger) {
	p.guiding.Lock()
	defer p.guiding.Unlock()
	if p.guided == nil {
		return
	}
	if err := p.guided(n); err != nil {
		log.Warn("what the server says of the network cannot all be done", "err", err)
	}
}
