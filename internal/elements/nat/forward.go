package nat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/element"
)

// forward is a port of this computer that leads to a guest's.
type forward struct {
	given element.Values
	proto string // "tcp" or "udp"
	local netip.AddrPort
	guest netip.AddrPort
}

func (c *config) setForward(v element.Values) error {
	f := forward{given: v, proto: v.Text(0)}
	if f.proto != "tcp" && f.proto != "udp" {
		return v.Faultf(0, "%q is neither tcp nor udp", f.proto)
	}
	local, guest, _ := strings.Cut(v.Text(1), "=")
	var err, err2 error
	f.local, err = netip.ParseAddrPort(local)
	f.guest, err2 = netip.ParseAddrPort(guest)
	if err != nil || err2 != nil || f.local.Port() == 0 || f.guest.Port() == 0 || f.local.Addr().Zone() != "" {
		return v.Faultf(1, "%q is not an address and port of this computer with a guest's, such as 127.0.0.1:8080=10.0.77.2:80", v.Text(1))
	}
	c.forwards = append(c.forwards, f)
	return nil
}

func (c *config) checkForwards() (faults []error) {
	for _, f := range c.forwards {
		if err := c.checkGuest(f.guest.Addr()); err != nil {
			faults = append(faults, f.given.Faultf(1, "%v", err))
		}
	}
	return faults
}

// Claims are the ports of this computer that lead to guests.
func (n *NAT) Claims() (claims []element.Claim) {
	for _, f := range n.config.forwards {
		claims = append(claims, element.Claim{Pos: f.given.Name.Pos, Proto: f.proto, Local: f.local.Addr().String(), Port: f.local.Port()})
	}
	return claims
}

// openForward begins to listen.
func (n *NAT) openForward(ctx context.Context, f forward) error {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	family := "4"
	if f.local.Addr().Is6() {
		family = "6"
	}
	if f.proto == "udp" {
		c, err := config.ListenPacket(ctx, "udp"+family, f.local.String())
		if err != nil {
			return forwardError(f, err)
		}
		n.opened = append(n.opened, c)
		in := &inbound{nat: n, to: f.guest, socket: c.(*net.UDPConn), byClient: map[netip.AddrPort]*visitor{}}
		n.inbounds = append(n.inbounds, in)
		n.spawn(in.carry)
		return nil
	}
	l, err := config.Listen(ctx, "tcp"+family, f.local.String())
	if err != nil {
		return forwardError(f, err)
	}
	n.opened = append(n.opened, l)
	n.spawn(func() { n.accept(l.(*net.TCPListener), f.guest) })
	return nil
}

// forwardError says what to do where a port cannot be had.
func forwardError(f forward, err error) error {
	advice := ""
	switch {
	case errors.Is(err, errInUse):
		advice = " (another program has that port; stop it, or forward another port)"
	case errors.Is(err, errNotLocal):
		advice = " (no interface of this computer has that address; give one that it has, or 0.0.0.0)"
	case errors.Is(err, fs.ErrPermission) && f.local.Port() < 1024:
		advice = " (ports below 1024 are for root; forward a higher one)"
	}
	return fmt.Errorf("forward %s %s to %s: %w%s", f.proto, f.local, f.guest, err, advice)
}

// accept takes connections from outside to a guest.
func (n *NAT) accept(l *net.TCPListener, guest netip.AddrPort) {
	for {
		host, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			n.noSocket("connection from outside", err)
			select {
			case <-n.ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if !n.spawn(func() { n.admit(host, guest) }) {
			host.Close()
		}
	}
}

// admit joins a connection from outside to a guest. Where the guest does not take
// it, it is reset.
func (n *NAT) admit(host *net.TCPConn, to netip.AddrPort) {
	c := &conn{nat: n}
	c.touch()
	refuse := func() {
		host.SetLinger(0)
		host.Close()
	}
	if !n.conns.add(c) {
		n.drop(tooManyConns)
		refuse()
		return
	}
	defer n.conns.remove(c)
	ctx, cancel := context.WithTimeout(n.ctx, patience)
	defer cancel()
	guest, err := n.host.DialTCP(ctx, to)
	if err != nil {
		refuse()
		return
	}
	n.join(c, guest, host)
}

// maxVisitors is how many senders from outside a forwarded UDP port has at a time;
// a new one takes the place of the one that was silent for the longest.
const maxVisitors = 256

// inbound is a UDP port of this computer that leads to a guest.
type inbound struct {
	nat    *NAT
	to     netip.AddrPort
	socket *net.UDPConn

	mu       sync.Mutex
	byClient map[netip.AddrPort]*visitor
}

// visitor is a sender from outside. The guest sees it as a port of the gateway's.
type visitor struct {
	from     netip.AddrPort
	inside   net.Conn
	last     atomic.Int64 // by the gateway's clock
	answered atomic.Bool
}

// carry brings datagrams to the guest until the socket is closed.
func (in *inbound) carry() {
	b := make([]byte, len(buffer{}))
	for {
		size, from, err := in.socket.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // what ICMP has said of an answer
			continue
		}
		if v := in.visitor(from); v != nil {
			v.last.Store(int64(in.nat.now()))
			// What cannot be sent is lost, as on a wire.
			v.inside.Write(b[:size])
		}
	}
}

// visitor gives the one who sends from an address, if there can be one more.
func (in *inbound) visitor(from netip.AddrPort) *visitor {
	in.mu.Lock()
	defer in.mu.Unlock()
	if v := in.byClient[from]; v != nil {
		return v
	}
	if len(in.byClient) >= maxVisitors {
		in.nat.drop("too many senders to a forwarded UDP port: those that were silent for the longest make room")
		var longest *visitor
		for _, v := range in.byClient {
			if longest == nil || v.last.Load() < longest.last.Load() {
				longest = v
			}
		}
		in.forget(longest)
	}
	inside, err := in.nat.host.DialUDP(in.to)
	if err != nil {
		in.nat.noSocket("datagram from outside", err)
		return nil
	}
	v := &visitor{from: from, inside: inside}
	if !in.nat.spawn(func() { in.carryBack(v) }) {
		inside.Close()
		return nil
	}
	in.byClient[from] = v
	return v
}

// carryBack brings the guest's answers to a visitor.
func (in *inbound) carryBack(v *visitor) {
	b := buffers.Take()
	defer buffers.Give(b)
	for {
		size, err := v.inside.Read(b[:])
		if err != nil {
			in.mu.Lock()
			in.forget(v)
			in.mu.Unlock()
			return
		}
		v.answered.Store(true)
		v.last.Store(int64(in.nat.now()))
		// What cannot be sent is lost, as on a wire.
		in.socket.WriteToUDPAddrPort(b[:size], v.from)
	}
}

// forget ends a visitor. in.mu is held.
func (in *inbound) forget(v *visitor) {
	if in.byClient[v.from] == v {
		delete(in.byClient, v.from)
		v.inside.Close()
	}
}

// sweep ends the visitors that were silent for as long as a guest's own flow.
func (in *inbound) sweep(now time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, v := range in.byClient {
		limit := idleUDP
		if v.answered.Load() {
			limit = idleAnswered
		}
		if now-time.Duration(v.last.Load()) > limit {
			in.forget(v)
		}
	}
}

// close ends all of it.
func (in *inbound) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, v := range in.byClient {
		in.forget(v)
	}
}
