package nat

import (
	"container/list"
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

// flowKey tells flows apart. An echo's ident is the port of from.
type flowKey struct {
	kind     flowKind
	from, to netip.AddrPort
}

// socket is a connected socket of datagrams.
type socket interface {
	syscall.Conn
	io.Closer
}

// flow is what a guest sends from one port to one address, and what comes back. It
// has a socket and a goroutine that reads it.
type flow struct {
	key    flowKey
	socket socket
	path   *netstack.Path // to the guest, in the name of whom it has sent to
	place  *list.Element  // in flows.byUse

	last     atomic.Int64 // when something passed, by the gateway's clock
	answered atomic.Bool
	size     atomic.Int32  // payload bytes of what was sent last
	seq      atomic.Uint32 // the sequence number of the last ping

	// Used by the port's writer alone.
	sender *sender
	whole  bool // the socket does not fragment
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

// add makes a flow of a socket that is connected to where it goes, or gives nil and
// closes the socket. take is called with each datagram that comes back, in the flow's
// goroutine.
func (f *flows) add(key flowKey, s socket, take func(*flow, []byte)) *flow {
	fl := &flow{key: key, socket: s}
	fl.last.Store(int64(f.nat.now()))
	wantErrors(s, key.to.Addr().Is6())
	from, err := newReader(s)
	if err == nil {
		fl.sender, err = newSender(s)
	}
	if err == nil {
		fl.path, err = f.nat.host.OpenPath(key.to.Addr(), key.from.Addr())
	}
	if err != nil {
		f.nat.noSocket("flow", err)
		s.Close()
		return nil
	}
	if !f.enlist(fl) || !f.nat.spawn(func() { f.carry(fl, from, take) }) {
		f.remove(fl)
		fl.path.Close()
		return nil
	}
	return fl
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
func (f *flows) carry(fl *flow, from *reader, take func(*flow, []byte)) {
	defer fl.path.Close()
	defer f.remove(fl)
	for {
		data, err := from.next()
		if err != nil {
			if why, ok := reasonOf(err); ok {
				f.nat.fail(fl, why)
				continue
			}
			return
		}
		fl.answered.Store(true)
		fl.last.Store(int64(f.nat.now()))
		take(fl, data)
		from.done()
	}
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

// send sends a guest's datagram on, and passes on what the socket says of it.
func (n *NAT) send(fl *flow, data []byte) {
	fl.last.Store(int64(n.now()))
	err := fl.sender.send(data)
	if err == nil {
		return
	}
	if why, ok := reasonOf(err); ok {
		n.fail(fl, why)
	}
}

// fail tells the guest why what it sent last was not delivered.
func (n *NAT) fail(fl *flow, why netstack.Unreachable) {
	forgetErrors(fl.socket)
	from, mtu := n.gatewayFor(fl.key.from.Addr()), 0
	size := int(fl.size.Load())
	switch why {
	case netstack.PortUnreachable:
		from = fl.key.to.Addr()
	case netstack.TooBig:
		if mtu = pathMTU(fl.socket, fl.key.to.Addr().Is6()); mtu == 0 {
			return
		}
	}
	q := netstack.QuoteUDP(fl.key.from, fl.key.to, size)
	if fl.key.kind == echoFlow {
		q = netstack.QuoteEcho(netstack.EchoRequest{From: fl.key.from.Addr(), To: fl.key.to.Addr(), Ident: fl.key.from.Port(), Seq: uint16(fl.seq.Load())}, size)
	}
	n.unreachable(from, why, q, mtu)
}
