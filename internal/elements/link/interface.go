package link

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tmelink/internal/transport"
)

// A socket that is bound to an address which its host has no more is deaf for good, and
// nothing need tell of it. Where --local names an interface, whose address may change
// (DHCP, another network), it is therefore looked at now and then.

// interfacePoll is how often.
const interfacePoll = 2 * time.Second

// atInterface says whether --local names an interface, not an address or a host.
func (l *Link) atInterface() bool {
	if _, err := netip.ParseAddr(l.config.local); err == nil || l.config.nobind {
		return false
	}
	return transport.IsInterface(l.config.local)
}

// lookAtInterface ticks when it is time to look at --local's interface: never, if it
// names none. stop ends it.
func (l *Link) lookAtInterface() (look <-chan time.Time, stop func()) {
	if !l.atInterface() {
		return nil, func() {}
	}
	ticker := time.NewTicker(interfacePoll)
	return ticker.C, ticker.Stop
}

// moved gives an error if --local's interface has lost the address that a socket is bound
// to, and has another one in its place. An interface without one is waited for: the
// address may come back.
func (l *Link) moved(bound netip.Addr) error {
	addrs, err := l.addrs(l.config.local, transport.Of(bound))
	if err != nil || slices.ContainsFunc(addrs, func(a netip.Addr) bool { return transport.Matches(a.WithZone(""), bound) }) {
		return nil
	}
	if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return replaces(a, bound) }) {
		return nil
	}
	return fmt.Errorf("%s no longer has %v (--local)", l.config.local, bound.WithZone(""))
}

// replaces says whether an address can take the place of one of the same family: a
// link-local one cannot that of another, but in IPv4 is what an interface has until there
// is another (RFC 3927, 1.9), while in IPv6 it has both.
func replaces(a, lost netip.Addr) bool {
	if a.IsLinkLocalUnicast() == lost.IsLinkLocalUnicast() {
		return true
	}
	return a.Is4() && lost.IsLinkLocalUnicast()
}

// accept waits for a tcp-server's peer, as long as that can come.
func (l *Link) accept(ctx context.Context, listener *transport.Listener) (*transport.TCP, error) {
	if !l.atInterface() {
		return listener.Accept(ctx)
	}
	for {
		waiting, cancel := context.WithTimeout(ctx, interfacePoll)
		conn, err := listener.Accept(waiting)
		cancel()
		if err != context.DeadlineExceeded || ctx.Err() != nil {
			return conn, err
		}
		if err := l.moved(listener.Local().Addr()); err != nil {
			return nil, err
		}
	}
}
