package nat

import (
	"container/list"
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tmelink/internal/netstack"
)

// Bounds of flows.
const (
	// maxFlows is how many there are; a new one takes the place of the one
	// that has been silent for the longest.
	maxFlows = 2048
	// A UDP flow ends after silence of two minutes, or of five where it has
	// been answered (RFC 4787, REQ-5: not less than two, five by default),
	// one of pings after one (RFC 5508, REQ-2).
	idleUDP      = 2 * time.Minute
	idleAnswered = 5 * time.Minute
	idleEcho     = time.Minute
)

// flowKind is what a flow carries.
type flowKind uint8

const (
	udpFlow flowKind = iota
	echoFlow
)

// flowKey tells flows apart. A UDP flow is all that a guest sends from one port,
// wherever to (RFC 4787, REQ-1); pings of one identifier, which is from's port, have
// a flow for each address.
type flowKey struct {
	kind flowKind
	from netip.AddrPort
	to   netip.Addr // not valid: wherever to
}

// socket is a socket of datagrams.
type socket interface {
	syscall.Conn
	io.Closer
}

// maxPeers is how many addresses a flow hears; a new one takes the place of the one
// that was sent to the longest ago.
const maxPeers = 64

// flow is what a guest sends from one port, and what comes back to it. It has a socket
// and a goroutine that reads it.
type flow struct {
	key    flowKey
	socket socket
	place  *list.Element // in flows.byUse

	last     atomic.Int64 // when something passed, by the gateway's clock
	answered atomic.Bool
	seq      atomic.Uint32 // the sequence number of the last ping

	// Used by the port's writer alone.
	sender *sender
	whole  bool // the socket does not fragment

	mu    sync.Mutex
	peers map[netip.Addr]*peer // by the address that the guest has sent to; nil: the flow has ended
}

// peer is an address that a flow has sent to, and so hears (RFC 4787, REQ-8:
// address-dependent filtering).
type peer struct {
	to   netip.Addr     // outside
	path *netstack.Path // to the guest, in the name of the address that it has sent to
	used time.Duration  // when it was sent to
	port uint16         // that was sent to last
	size int            // payload bytes of what was sent last
}

// flows are all flows. The port's writer makes them.
type flows struct {
	nat *NAT

	mu     sync.Mutex
	byKey  map[flowKey]*flow
	byUse  *list.List // of *flow, the one that a guest sent through last in front
	kinds  [2]int
	closed bool
}

func (f *flows) init(n *NAT) {
	f.nat, f.byKey, f.byUse = n, map[flowKey]*flow{}, list.New()
}

// find gives a guest's flow, which has now been used.
func (f *flows) find(key flowKey) *flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.byKey[key]
	if fl != nil {
		f.byUse.MoveToFront(fl.place)
	}
	return fl
}

// add makes a flow, or gives nil and closes the socket. take is called with each
// datagram that comes back from a peer's port, in the flow's goroutine.
func (f *flows) add(key flowKey, s socket, take func(fl *flow, p *peer, port uint16, data []byte)) *flow {
	fl := &flow{key: key, socket: s, peers: map[netip.Addr]*peer{}}
	fl.last.Store(int64(f.nat.now()))
	wantErrors(s, key.from.Addr().Is6())
	from, err := newReader(s)
	if err == nil {
		fl.sender, err = newSender(s)
	}
	if err != nil {
		f.nat.noSocket("flow", err)
		s.Close()
		return nil
	}
	if !f.enlist(fl) || !f.nat.spawn(func() { f.carry(fl, from, take) }) {
		f.remove(fl)
		return nil
	}
	return fl
}

// peer gives the peer that a guest sends so many bytes to, if the flow has it.
func (fl *flow) peer(name netip.AddrPort, now time.Duration, size int) *peer {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	p := fl.peers[name.Addr()]
	if p != nil {
		p.used, p.port, p.size = now, name.Port(), size
	}
	return p
}

// meet adds a peer that is at an address outside, or gives nil.
func (f *flows) meet(fl *flow, name netip.AddrPort, to netip.Addr, size int) *peer {
	path, err := f.nat.host.OpenPath(name.Addr(), fl.key.from.Addr())
	if err != nil {
		return nil
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.peers == nil {
		path.Close()
		return nil
	}
	if len(fl.peers) >= maxPeers {
		var oldest netip.Addr
		for a, p := range fl.peers {
			if !oldest.IsValid() || p.used < fl.peers[oldest].used {
				oldest = a
			}
		}
		fl.peers[oldest].path.Close()
		delete(fl.peers, oldest)
	}
	p := &peer{to: to, path: path, used: f.nat.now(), port: name.Port(), size: size}
	fl.peers[name.Addr()] = p
	return p
}

// end gives up the peers.
func (fl *flow) end() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, p := range fl.peers {
		p.path.Close()
	}
	fl.peers = nil
}

func (f *flows) enlist(fl *flow) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	if len(f.byKey) >= maxFlows {
		f.nat.drop("too many UDP flows and pings: those that were silent for the longest make room")
		f.unlist(f.byUse.Back().Value.(*flow))
	}
	fl.place = f.byUse.PushFront(fl)
	f.byKey[fl.key] = fl
	f.kinds[fl.key.kind]++
	return true
}

// unlist takes a flow out and closes its socket, which ends its goroutine.
func (f *flows) unlist(fl *flow) {
	if f.byKey[fl.key] == fl {
		delete(f.byKey, fl.key)
		f.byUse.Remove(fl.place)
		f.kinds[fl.key.kind]--
	}
	fl.socket.Close()
}

func (f *flows) remove(fl *flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlist(fl)
}

// carry brings what comes back to the guest until the socket is closed.
func (f *flows) carry(fl *flow, from *reader, take func(*flow, *peer, uint16, []byte)) {
	defer fl.end()
	defer f.remove(fl)
	for {
		data, err := from.next()
		if err != nil {
			if _, ok := reasonOf(err); !ok {
				return
			}
			f.nat.tellErrors(fl)
			continue
		}
		f.hear(fl, from.from, data, take)
		from.done()
	}
}

// hear takes a datagram from outside. Who was not sent to is not heard.
func (f *flows) hear(fl *flow, from netip.AddrPort, data []byte, take func(*flow, *peer, uint16, []byte)) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	p := fl.peers[f.nat.policy.name(from.Addr())]
	if p == nil {
		return
	}
	fl.answered.Store(true)
	fl.last.Store(int64(f.nat.now()))
	take(fl, p, from.Port(), data)
}

// sweep ends the flows that have been silent for too long.
func (f *flows) sweep(now time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fl := range f.byKey {
		limit := idleUDP
		switch {
		case fl.key.kind == echoFlow:
			limit = idleEcho
		case fl.answered.Load():
			limit = idleAnswered
		}
		if now-time.Duration(fl.last.Load()) > limit {
			f.unlist(fl)
		}
	}
}

func (f *flows) count() (udp, echo int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kinds[udpFlow], f.kinds[echoFlow]
}

// close ends all flows, and takes no more.
func (f *flows) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, fl := range f.byKey {
		f.unlist(fl)
	}
}

// send sends a guest's datagram on, and passes on what the socket says of it. to is
// not valid for a connected socket.
func (n *NAT) send(fl *flow, name netip.Addr, data []byte, to netip.AddrPort) {
	fl.last.Store(int64(n.now()))
	err := fl.sender.send(data, to)
	if err == nil {
		return
	}
	// The error may be of what was sent before; then this was not sent at all.
	if n.tellErrors(fl) > 0 && !errors.Is(err, errTooBig) {
		err = fl.sender.send(data, to)
	}
	if why, ok := reasonOf(err); ok && why != netstack.TooBig {
		n.fail(fl, why, netip.AddrPortFrom(name, to.Port()), 0)
	}
}

// tellErrors passes on what has been said of a flow's datagrams, and says how much
// that was.
func (n *NAT) tellErrors(fl *flow) int {
	return readErrors(fl.socket, func(to netip.AddrPort, err error, mtu int) {
		if why, ok := reasonOf(err); ok {
			n.fail(fl, why, netip.AddrPortFrom(n.policy.name(to.Addr()), to.Port()), mtu)
		}
	})
}

// fail tells the guest why what it has sent to an address was not delivered; mtu is
// for netstack.TooBig.
func (n *NAT) fail(fl *flow, why netstack.Unreachable, to netip.AddrPort, mtu int) {
	fl.mu.Lock()
	p := fl.peers[to.Addr()]
	size := 0
	if p != nil {
		size = p.size
		if to.Port() == 0 { // the kernel does not know it of what it has not sent
			to = netip.AddrPortFrom(to.Addr(), p.port)
		}
	}
	fl.mu.Unlock()
	if p == nil || why == netstack.TooBig && mtu == 0 {
		return
	}
	from := n.gatewayFor(fl.key.from.Addr())
	if why == netstack.PortUnreachable {
		from = to.Addr()
	}
	q := netstack.QuoteUDP(fl.key.from, to, size)
	if fl.key.kind == echoFlow {
		q = netstack.QuoteEcho(netstack.EchoRequest{From: fl.key.from.Addr(), To: to.Addr(), Ident: fl.key.from.Port(), Seq: uint16(fl.seq.Load())}, size)
	}
	n.unreachable(from, why, q, mtu)
}
