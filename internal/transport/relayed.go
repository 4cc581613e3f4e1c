package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/occasion"
	"tmelink/internal/spare"
	"tmelink/internal/transport/proxy"
)

// RelayedConfig is what a Relayed is made of.
type RelayedConfig struct {
	// UDP is how its socket is to be: what it says of a peer is about the one
	// behind the relay. Remotes is not used, and Local is that of the route taken.
	UDP    UDPConfig
	Proxy  []Route // the first that leads to it is taken; local ports are those for UDP
	SOCKS  proxy.SOCKS
	Remote proxy.Target
	// Timeout is for all of the talk with the proxy.
	Timeout time.Duration
}

// Relayed is a Conn over a UDP socket whose datagrams a SOCKS proxy relays, each with
// a header that names the other end. It lasts as long as the TCP connection over
// which it was asked for.
//
// Where the peer has a name, the proxy looks that up, and the first who is heard from
// the peer's port is the peer; until then Peer is the relay.
type Relayed struct {
	udp     *UDP
	relay   netip.AddrPort
	config  RelayedConfig
	peer    atomic.Pointer[relayedPeer]
	asked   *net.TCPConn
	waiting sync.WaitGroup
	ended   atomic.Pointer[error] // of the connection

	strangers occasion.Occasion // the reader's
	changing  sync.Mutex
	changes   occasion.Occasion // under changing
}

// relayedPeer is a peer and the header of datagrams for it; it has no address as long
// as only its name is known.
type relayedPeer struct {
	addr   netip.AddrPort
	header []byte
}

// Associate asks a proxy for a relay, and opens a socket towards it. An error of the
// local address is a *BindError.
func Associate(ctx context.Context, c RelayedConfig) (*Relayed, error) {
	talk, cancel := withTimeout(ctx, c.Timeout)
	defer cancel()
	routes := make([]Route, len(c.Proxy))
	for i, r := range c.Proxy {
		routes[i].To = r.To
		if r.Local.IsValid() {
			routes[i].Local = netip.AddrPortFrom(r.Local.Addr(), 0)
		}
	}
	way := &way{ctx: talk, config: TCPConfig{Socket: c.UDP.Socket}, routes: routes}
	conn, err := way.dial()
	if err != nil {
		return nil, way.explain(c.Remote, err)
	}
	relay, err := c.SOCKS.Associate(conn)
	if err = way.end(err); err != nil {
		conn.Close()
		return nil, way.explain(c.Remote, err)
	}
	r := &Relayed{relay: relay, config: c, asked: way.conn, strangers: occasion.New(3, time.Minute), changes: occasion.New(6, 10*time.Second)}
	r.peer.Store(&relayedPeer{c.Remote.Addr(), proxy.AppendHeader(nil, c.Remote)})
	udp := c.UDP
	for _, route := range c.Proxy {
		if route.To == way.routes[0].To {
			udp.Local = route.Local
		}
	}
	udp.Remotes, udp.Float, udp.Introduce, udp.Recognize = []netip.AddrPort{relay}, false, nil, nil
	udp.MaxPacket += proxy.HeaderIPv6
	if local := udp.Local.Addr(); local.IsValid() && Of(local) != Of(relay.Addr()) && !(local.Is6() && local.IsUnspecified()) {
		conn.Close()
		return nil, fmt.Errorf("the proxy %v relays datagrams at %v, which cannot be reached from %v of --local: one is IPv4, the other IPv6", way.routes[0].To, relay, local)
	}
	if r.udp, err = OpenUDP(ctx, udp); err != nil {
		conn.Close()
		return nil, err
	}
	r.waiting.Go(r.await)
	return r, nil
}

// errRelayEnded and errRelayTalks are the ends of a Relayed by the proxy.
var (
	errRelayEnded = errors.New("the SOCKS proxy has ended the relay of datagrams")
	errRelayTalks = errors.New("the SOCKS proxy goes on to talk where it has nothing more to say; is it one?")
)

// maxIdleTalk bounds what a proxy may say over a connection over which it has nothing to
// say, in bytes.
const maxIdleTalk = 4 << 10

// await ends the socket when the connection ends, or the proxy does not leave it alone.
func (r *Relayed) await() {
	why := &errRelayTalks
	if n, _ := io.CopyN(io.Discard, r.asked, maxIdleTalk); n < maxIdleTalk {
		why = &errRelayEnded
	}
	r.ended.CompareAndSwap(nil, why)
	r.udp.Close()
}

// ReadPackets waits for what the peer has sent through the relay.
func (r *Relayed) ReadPackets() ([][]byte, error) {
	for {
		datagrams, err := r.udp.ReadPackets()
		if err != nil {
			return nil, r.lost(err)
		}
		if packets := r.unwrap(datagrams); len(packets) > 0 {
			return packets, nil
		}
	}
}

// unwrap gives what is behind the headers of the peer's datagrams, in their list.
func (r *Relayed) unwrap(datagrams [][]byte) [][]byte {
	drops := &r.config.UDP.Counters.Read
	peer := r.peer.Load()
	packets := datagrams[:0]
	for _, d := range datagrams {
		from, begin, ok := proxy.CutHeader(d)
		p := d[begin:]
		switch {
		case !ok:
			drops.Add(ethernet.Malformed, 1)
			continue
		case len(p) == 0:
			drops.Add(ethernet.Runt, 1)
			continue
		}
		if from != peer.addr {
			if !r.admits(from, p) {
				continue
			}
			peer = r.peer.Load()
		}
		if len(p) > r.config.UDP.MaxPacket {
			r.udp.dropOversize(len(p), r.config.UDP.MaxPacket)
			continue
		}
		packets = append(packets, p)
	}
	return packets
}

// admits decides on a sender who is not the peer, and makes him the peer.
func (r *Relayed) admits(from netip.AddrPort, packet []byte) bool {
	c := &r.config.UDP
	if peer := r.peer.Load().addr; !c.Float && from != r.config.Remote.Addr() && (peer.IsValid() || from.Port() != r.config.Remote.Port) {
		c.Counters.Read.Add(ethernet.Stranger, 1)
		if n := r.strangers.Due(time.Now()); n > 0 {
			c.Log.Warn("dropped what another than the peer sent", "peer", r.config.Remote, "from", from, "times", n)
		}
		return false
	}
	if c.Introduce != nil && !c.Introduce(packet, from) {
		return false
	}
	r.SetPeer(from)
	return true
}

// relayBuffer is how many bytes of datagrams are put behind their headers at once: two
// of the longest at the least.
const relayBuffer = 160 << 10

// relayBatch is memory for datagrams with their headers, one behind the other, so that
// the kernel may take them as one.
type relayBatch struct {
	data      [relayBuffer]byte
	datagrams [][]byte
}

var relayBatches = spare.New(func() *relayBatch { return new(relayBatch) })

// fill puts packets behind a header each, and says how many.
func (b *relayBatch) fill(packets [][]byte, header []byte) (taken int) {
	data := b.data[:0]
	b.datagrams = b.datagrams[:0]
	for _, p := range packets {
		if len(p) > 0 { // UDP leaves out empty ones, too
			if len(data)+len(header)+len(p) > len(b.data) {
				break
			}
			begin := len(data)
			data = append(append(data, header...), p...)
			b.datagrams = append(b.datagrams, data[begin:])
		}
		taken++
	}
	return taken
}

// WritePackets sends each packet in a datagram to the relay.
func (r *Relayed) WritePackets(packets [][]byte) error {
	header := r.peer.Load().header
	b := relayBatches.Take()
	defer relayBatches.Give(b)
	for len(packets) > 0 {
		taken := b.fill(packets, header)
		packets = packets[taken:]
		if err := r.udp.WritePackets(b.datagrams); err != nil {
			r.config.UDP.Counters.Write.Add(ethernet.Disconnected, len(packets))
			return r.lost(err)
		}
	}
	return nil
}

// Send sends a packet to an address through the relay, or to the peer.
func (r *Relayed) Send(packet []byte, to netip.AddrPort) error {
	header := r.peer.Load().header
	if to.IsValid() && to != r.relay {
		header = proxy.AppendAddrHeader(nil, to)
	}
	return r.lost(r.udp.Send(append(append(make([]byte, 0, len(header)+len(packet)), header...), packet...), netip.AddrPort{}))
}

// lost is an error of the socket: where the proxy has ended it, that.
func (r *Relayed) lost(err error) error {
	if ended := r.ended.Load(); ended != nil && errors.Is(err, net.ErrClosed) {
		return *ended
	}
	return err
}

// SetPeer makes an address the peer's.
func (r *Relayed) SetPeer(addr netip.AddrPort) {
	if addr == r.relay || r.peer.Load().addr == addr {
		return
	}
	r.peer.Store(&relayedPeer{addr, proxy.AppendAddrHeader(nil, addr)})
	r.changing.Lock()
	n := r.changes.Due(time.Now())
	r.changing.Unlock()
	if n > 0 {
		r.config.UDP.Log.Info("peer heard through the proxy", "peer", addr, "times", n)
	}
}

// Interrupt has the reader return ErrInterrupted.
func (r *Relayed) Interrupt() { r.udp.Interrupt() }

func (r *Relayed) Local() netip.AddrPort { return r.udp.Local() }

// Peer is the peer's address, or the relay's while only its name is known.
func (r *Relayed) Peer() netip.AddrPort {
	if a := r.peer.Load().addr; a.IsValid() {
		return a
	}
	return r.relay
}

// Framing is the length of the header for the peer.
func (r *Relayed) Framing() int  { return len(r.peer.Load().header) }
func (r *Relayed) Overhead() int { return r.udp.Overhead() + r.Framing() }

// PathMTU is that of the way to the relay.
func (r *Relayed) PathMTU() int { return r.udp.PathMTU() }

// CountDropped counts what the kernel has dropped.
func (r *Relayed) CountDropped() { r.udp.CountDropped() }

// Close ends the relay and the socket.
func (r *Relayed) Close() error {
	closed := error(net.ErrClosed)
	r.ended.Store(&closed)
	r.asked.Close()
	err := r.udp.Close()
	r.waiting.Wait()
	return err
}

var _ Conn = (*Relayed)(nil)
