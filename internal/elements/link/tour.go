package link

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tmelink/internal/openvpn"
	"tmelink/internal/transport"
)

// tour goes from way to way and from address to address, as OpenVPN does
// (next_connection_entry in its init.c): all addresses of a name, then the next
// name; but once a peer has been there, it is tried again first.
type tour struct {
	ways     []way
	at       int              // the way whose addresses are tried
	addrs    []netip.AddrPort // of it
	next     int              // which of addrs comes next
	attempts int              // rounds through addresses since a peer was there
	stay     bool             // a peer was there
}

// resolver looks up the addresses of a family that a peer's name stands for.
type resolver func(ctx context.Context, host string, family transport.Family) ([]netip.Addr, error)

func newTour(ways []way) tour { return tour{ways: ways, at: -1} }

// way is the one whose addresses are tried.
func (t *tour) way() way { return t.ways[max(t.at, 0)] }

// goes says whether the way leads somewhere: a tcp-server's does not, nor that of a link
// without a peer's name.
func (w way) goes() bool { return w.host.Text != "" && w.proto.mode != openvpn.TCPServer }

// step gives the addresses of one way, that which is to be tried first. Only those that
// are usable count. A way that goes nowhere has none.
func (t *tour) step(ctx context.Context, resolve resolver, usable func(netip.Addr) bool) ([]netip.AddrPort, error) {
	if !t.ways[0].goes() { // it is alone
		t.at = 0
		t.attempts++
		return nil, nil
	}
	switch {
	case t.stay:
		t.stay = false
		last := t.addrs[t.next-1]
		if err := t.lookUp(ctx, resolve, usable); err != nil {
			return nil, err
		}
		for i, a := range t.addrs { // the same one again, if it is still there
			if a == last {
				t.next = i
			}
		}
	case t.next >= len(t.addrs):
		t.at = (t.at + 1) % len(t.ways)
		t.attempts++
		if err := t.lookUp(ctx, resolve, usable); err != nil {
			return nil, err
		}
	}
	i := t.next
	t.next++
	return append(append([]netip.AddrPort(nil), t.addrs[i:]...), t.addrs[:i]...), nil
}

func (t *tour) lookUp(ctx context.Context, resolve resolver, usable func(netip.Addr) bool) error {
	w := t.way()
	t.addrs, t.next = nil, 0
	option, host, port := "--remote", w.host.Text, w.port
	if w.proxy != nil { // the way begins at its addresses
		option, host, port = w.proxy.option, w.proxy.at.Host, w.proxy.at.Port
	}
	addrs, err := resolve(ctx, host, w.proto.family)
	if err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	for _, a := range transport.Alternate(addrs) {
		if usable(a) {
			t.addrs = append(t.addrs, netip.AddrPortFrom(a, port))
		}
	}
	if len(t.addrs) == 0 {
		return fmt.Errorf("%s: %s has addresses (%v), but none of the family of --local", option, host, addrs)
	}
	return nil
}

// triedAll notes that the last step's addresses were tried all together.
func (t *tour) triedAll() { t.next = len(t.addrs) }

// arrived notes that the peer was there at the last step, and where.
func (t *tour) arrived(peer netip.AddrPort) {
	t.attempts = 0
	t.stay = len(t.addrs) > 0
	if i := slices.Index(t.addrs, peer); i >= 0 {
		t.next = i + 1
	}
}

// goTo goes on from a way that was found working, and an address of it.
func (t *tour) goTo(w way, peer netip.AddrPort) {
	t.at = slices.Index(t.ways, w)
	t.addrs, t.next = []netip.AddrPort{peer}, 1
	t.arrived(peer)
}

// exhausted says whether a number of rounds, 0 for no end, has been gone without
// arriving.
func (t *tour) exhausted(rounds int) bool {
	return rounds > 0 && !t.stay && t.next >= len(t.addrs) && t.attempts >= rounds*max(1, len(t.ways))
}

// pause is how long to wait before the next step.
func (t *tour) pause(base, limit time.Duration) time.Duration {
	return openvpn.RetryDelay(t.attempts, len(t.ways), base, limit)
}
