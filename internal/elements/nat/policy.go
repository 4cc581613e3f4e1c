package nat

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// policy says what guests may reach.
type policy struct {
	config *config

	mu      sync.Mutex
	own     map[netip.Addr]bool // the host's addresses
	ownRead time.Time
}

// verdict is what becomes of what a guest sends to an address.
type verdict uint8

const (
	allowed verdict = iota
	denied          // by a rule, or because it is the host's own
	nowhere         // nobody is there to be reached
)

// rule is a word of outbound.
type rule struct {
	allow bool
	to    netip.Prefix
}

func newPolicy(c *config) policy { return policy{config: c} }

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// way gives the address that a guest reaches by another, and whether it may.
func (p *policy) way(to netip.AddrPort) (netip.AddrPort, verdict) {
	a := to.Addr()
	switch {
	case a.Is4In6(): // a socket would take ::ffff:127.0.0.1 for 127.0.0.1
		return to, denied
	case a == p.config.net4.Addr() || a == p.config.net6.Addr():
		if !p.config.loopback {
			return to, denied
		}
		if a.Is6() {
			return netip.AddrPortFrom(netip.IPv6Loopback(), to.Port()), allowed
		}
		return netip.AddrPortFrom(loopback4, to.Port()), allowed
	case a.IsMulticast() || a.Is4() && a.As4()[0] >= 240 || p.config.net4.Contains(a) || p.config.net6.Contains(a):
		return to, nowhere
	// A socket that connects to 0.0.0.0 reaches the host itself.
	case a.IsUnspecified() || a.Is4() && a.As4()[0] == 0 || a.IsLoopback():
		return to, denied
	case !p.config.loopback && (a.IsLinkLocalUnicast() || p.isOwn(a)):
		return to, denied
	}
	for _, r := range p.config.rules {
		if r.to.Contains(a) {
			if !r.allow {
				return to, denied
			}
			break
		}
	}
	return to, allowed
}

// name gives the address by which guests know one outside: the reverse of way.
func (p *policy) name(a netip.Addr) netip.Addr {
	switch a = a.Unmap(); {
	case p.config.loopback && a == loopback4:
		return p.config.net4.Addr()
	case p.config.loopback && a == netip.IPv6Loopback():
		return p.config.net6.Addr()
	}
	return a
}

// ownFor is how long the host's addresses are remembered.
const ownFor = 5 * time.Second

// isOwn says whether an address is one of the host's.
func (p *policy) isOwn(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.own == nil || now.Sub(p.ownRead) > ownFor {
		p.own, p.ownRead = ownAddrs(), now
	}
	return p.own[a]
}

func ownAddrs() map[netip.Addr]bool {
	own := map[netip.Addr]bool{}
	// Without them only the addresses that are known to be the host's are closed.
	all, _ := net.InterfaceAddrs()
	for _, x := range all {
		if n, ok := x.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				own[a.Unmap()] = true
			}
		}
	}
	return own
}
