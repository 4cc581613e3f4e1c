package nat

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/netstack"
	"tmelink/internal/spare"
)

// Bounds of TCP.
const (
	maxConns    = 4096
	maxAttempts = 256 // that the outside has not answered yet
	// crowd is how many connections may hold as much as they like; those
	// beyond hold crowdBuffer in each direction.
	crowd       = 128
	crowdBuffer = 64 << 10
	// patience is how long the outside may take to answer an attempt, about
	// as long as a guest's own stack tries (RFC 1122, 4.2.3.5: three minutes).
	patience = 3 * time.Minute
	// idleTCP is how long a connection may be silent (RFC 5382, REQ-5: not
	// less than 2 hours 4 minutes). It holds for half-closed ones too.
	idleTCP = 2*time.Hour + 4*time.Minute
	// ending is how long a connection that both sides have ended may take to
	// be gone (RFC 5382, REQ-5: not less than 4 minutes).
	ending = 4 * time.Minute
)

// buffer is what is copied at one time.
type buffer [64 << 10]byte

var buffers = spare.New(func() *buffer { return new(buffer) })

const tooManyConns = "too many TCP connections: no more than 4096 are carried"

// conn is a guest's connection, and the host's that it goes on by.
type conn struct {
	nat   *NAT
	guest *netstack.Stream
	host  *net.TCPConn // nil of one to the gateway itself
	last  atomic.Int64 // when bytes passed, by the gateway's clock
}

// connect takes a guest's attempt to connect. The guest is answered as the outside
// answers: with a connection, a reset, an ICMP error, or not at all.
func (n *NAT) connect(a *netstack.Attempt) {
	if !n.enter() {
		a.Ignore()
		return
	}
	defer n.running.Done()
	if !n.isGuest(a.From().Addr()) {
		n.drop("something comes from an address that is not in the guests' network")
		a.Ignore()
		return
	}
	dns := n.isDNS(a.To())
	to, fate := n.policy.way(a.To())
	if fate != allowed && !dns {
		n.denied.Add(1)
		a.Refuse()
		return
	}
	c := &conn{nat: n}
	c.touch()
	if !n.conns.add(c) {
		n.drop(tooManyConns)
		a.Ignore()
		return
	}
	defer n.conns.remove(c)
	if dns {
		if guest, err := a.Accept(); err == nil && c.open(guest, nil) {
			n.serveDNS(guest)
			c.close()
		}
		return
	}
	host, err := n.dial(to)
	if err != nil {
		n.turnAway(a, err)
		return
	}
	guest, err := a.Accept()
	if err != nil {
		host.SetLinger(0)
		host.Close()
		return
	}
	n.join(c, guest, host)
}

// dial connects to the outside. The connection asks for no signs of life of its
// own: whether there are any is the guest's business.
func (n *NAT) dial(to netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: patience, KeepAlive: -1}
	c, err := d.DialContext(n.ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// turnAway answers an attempt that the outside has not taken.
func (n *NAT) turnAway(a *netstack.Attempt, err error) {
	if why, ok := reasonOf(err); ok && why != netstack.PortUnreachable {
		n.unreachable(n.gatewayFor(a.From().Addr()), why, a.Quote(), 0)
		a.Ignore()
		return
	}
	switch {
	case errors.Is(err, errRefused) || errors.Is(err, errReset):
		a.Refuse()
	case errors.Is(err, errNoSockets) || errors.Is(err, errNoSocketsAtAll):
		n.drop("the host gives no more sockets; raise its limit of open files")
		a.Ignore()
	default: // silence
		a.Ignore()
	}
}

// join carries bytes both ways until both ends have said all, or one of them has
// gone away.
func (n *NAT) join(c *conn, guest *netstack.Stream, host *net.TCPConn) {
	if n.conns.count() > crowd {
		guest.SetBuffers(crowdBuffer)
	}
	if !c.open(guest, host) {
		return
	}
	from, err := newReader(host)
	if err != nil {
		c.abort()
	} else {
		var outward sync.WaitGroup
		outward.Go(func() { c.outward() })
		c.inward(from)
		outward.Wait()
	}
	c.close()
}

// open gives the connection its two ends; where the gateway closes it closes them.
func (c *conn) open(guest *netstack.Stream, host *net.TCPConn) bool {
	c.nat.mu.Lock()
	c.guest, c.host = guest, host
	closed := c.nat.closed
	c.nat.mu.Unlock()
	if closed {
		c.abort()
		c.close()
	}
	return !closed
}

func (c *conn) touch() { c.last.Store(int64(c.nat.now())) }

// outward copies from the guest to the outside.
func (c *conn) outward() {
	for {
		c.guest.AwaitRead()
		b := buffers.Take()
		size, err := c.guest.Read(b[:])
		if err == nil {
			_, err = c.host.Write(b[:size])
		}
		buffers.Give(b)
		if err == io.EOF {
			err = c.host.CloseWrite()
			if err == nil {
				return
			}
		}
		if err != nil {
			c.abort()
			return
		}
		c.touch()
	}
}

// inward copies from the outside to the guest.
func (c *conn) inward(from *reader) {
	for {
		data, err := from.next()
		if err == nil && len(data) == 0 {
			from.done()
			if c.guest.CloseWrite() != nil {
				c.abort()
			}
			return
		}
		if err == nil {
			_, err = c.guest.Write(data)
			from.done()
		}
		if err != nil {
			c.abort()
			return
		}
		c.touch()
	}
}

// abort ends the connection with a reset at both ends. It may be called by any
// goroutine, more than once.
func (c *conn) abort() {
	c.nat.mu.Lock()
	guest, host := c.guest, c.host
	c.nat.mu.Unlock()
	if guest != nil {
		guest.Abort()
	}
	if host != nil {
		host.SetLinger(0)
		host.Close()
	}
}

// close ends both ends after all has been said. A guest that does not take it for
// too long loses it: until then the connection counts as one, so that no guest can
// fill the memory with ends of connections.
func (c *conn) close() {
	ctx, cancel := context.WithTimeout(c.nat.ctx, ending)
	defer cancel()
	if !c.guest.Finish(ctx) {
		c.abort()
	}
	c.guest.Close()
	if c.host != nil {
		c.host.Close()
	}
}
