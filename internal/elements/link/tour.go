package link

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"time"

	"tmelink/internal/openvpn"
	"tmelink/internal/transport"
)

// tour goes from remote to remote and from address to address, as OpenVPN does
// (next_connection_entry in its init.c): all addresses of a name, then the next
// name; but once a peer has been there, it is tried again first.
type tour struct {
	through  string // the option that names the hosts; "": --remote
	remotes  []target
	at       int              // the remote whose addresses are tried
	addrs    []netip.AddrPort // of it
	next     int              // which of addrs comes next
	attempts int              // rounds through addresses since a peer was there
	stay     bool             // a peer was there
}

type target struct {
	host   string
	port   uint16
	family transport.Family
}

// resolver looks up the addresses of a family that a peer's name stands for.
type resolver func(ctx context.Context, host string, family transport.Family) ([]netip.Addr, error)

func newTour(c *config) tour {
	t := tour{through: c.proxy.option, at: -1}
	for _, r := range c.remotes {
		to := target{r.host.Text, c.portOf(r), c.remoteFamily(r)}
		if c.proxied() { // all remotes are reached at its addresses
			to.host, to.port = c.proxy.at.Host, c.proxy.at.Port
		}
		t.remotes = append(t.remotes, to)
	}
	return t
}

// step gives the addresses of one remote, that which is to be tried first. Only
// those that are usable count. Without remotes there are none.
func (t *tour) step(ctx context.Context, resolve resolver, usable func(netip.Addr) bool) ([]netip.AddrPort, error) {
	if len(t.remotes) == 0 {
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
		t.at = (t.at + 1) % len(t.remotes)
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
	r := t.remotes[t.at]
	t.addrs, t.next = nil, 0
	addrs, err := resolve(ctx, r.host, r.family)
	if err != nil {
		return fmt.Errorf("%s: %w", t.option(), err)
	}
	for _, a := range addrs {
		if usable(a) {
			t.addrs = append(t.addrs, netip.AddrPortFrom(a, r.port))
		}
	}
	if len(t.addrs) == 0 {
		return fmt.Errorf("%s: %s has addresses (%v), but none of the family of --local", t.option(), r.host, addrs)
	}
	return nil
}

// option is what names the hosts.
func (t *tour) option() string { return cmp.Or(t.through, "--remote") }

// arrived notes that the peer was there at the last step.
func (t *tour) arrived() {
	t.attempts = 0
	t.stay = len(t.addrs) > 0
}

// exhausted says whether a number of rounds, 0 for no end, has been gone without
// arriving.
func (t *tour) exhausted(rounds int) bool {
	return rounds > 0 && !t.stay && t.next >= len(t.addrs) && t.attempts >= rounds*max(1, len(t.remotes))
}

// pause is how long to wait before the next step.
func (t *tour) pause(base, limit time.Duration) time.Duration {
	return openvpn.RetryDelay(t.attempts, len(t.remotes), base, limit)
}
