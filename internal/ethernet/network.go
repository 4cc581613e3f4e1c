package ethernet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Network is how a station is to be set up, as the far end of a link hands it
// out. Once it has been handed on, nobody changes it.
type Network struct {
	Addr4, Addr6 netip.Prefix // the station's address and its network; zero: none
	MTU          int          // bytes of an IP packet; 0: not said
	Routes       []Route
	DNS          []netip.Addr // name servers, to be asked in this order
	Domain       string       // where a name without a dot is looked for; "": nowhere
}

// Route says by which way a network is reached.
type Route struct {
	To     netip.Prefix // its host bits are zero
	Via    netip.Addr   // the router; zero: To is on the wire itself
	Metric int          // of two routes to one network the lower one counts; 0: not said
}

// Guide is a Port that learns how the station behind the other port of its
// connection is to be set up. OnNetwork is called at most once, before the port
// is read; f is called each time it changes, with nil when it is known no longer.
// f may take a while, is called by one goroutine at a time, and its error is
// logged by the port. A port that can never learn it is no Guide.
type Guide interface {
	Port
	OnNetwork(f func(*Network) error)
}

// Guided is a Port whose station can be set up so. Whoever joins it to a Guide
// calls SetNetwork(nil) at once, from which it knows that it has one.
type Guided interface {
	Port
	// SetNetwork sets the station up and takes back what the last call did;
	// nil does only that, and so does Close. What the station's description
	// gives it stays: see Network.Yield. Before the element has started it is
	// remembered. It carries out what it can; the error tells of the rest.
	SetNetwork(*Network) error
}

// What a Network is bounded by: MTU by RFC 791 (every IPv4 module forwards 68
// bytes) and its length field, a name by RFC 1035, 3.1; the rest is more than
// anybody needs.
const (
	minNetworkMTU = 68
	maxNetworkMTU = 65535
	maxRoutes     = 1024
	maxDNS        = 16
	maxDomain     = 253
)

// Check finds what no station can be set up with, whatever its kind. It does not
// look into the routes: see Route.Check.
func (n *Network) Check() error {
	switch {
	case n.Addr4.IsValid() && !n.Addr4.Addr().Is4():
		return fmt.Errorf("address %s: it is not an IPv4 address", n.Addr4)
	case n.Addr6.IsValid() && (!n.Addr6.Addr().Is6() || n.Addr6.Addr().Is4In6()):
		return fmt.Errorf("address %s: it is not an IPv6 address", n.Addr6)
	case n.MTU != 0 && (n.MTU < minNetworkMTU || n.MTU > maxNetworkMTU):
		return fmt.Errorf("mtu %d: it is not from %d to %d", n.MTU, minNetworkMTU, maxNetworkMTU)
	case len(n.Routes) > maxRoutes:
		return fmt.Errorf("%d routes: no more than %d are taken", len(n.Routes), maxRoutes)
	case len(n.DNS) > maxDNS:
		return fmt.Errorf("%d name servers: no more than %d are taken", len(n.DNS), maxDNS)
	case n.Domain != "" && !isDomain(n.Domain):
		return fmt.Errorf("domain %.300q: it is not a domain name", n.Domain)
	}
	for _, p := range []netip.Prefix{n.Addr4, n.Addr6} {
		if err := checkAddr(p); p.IsValid() && err != nil {
			return fmt.Errorf("address %s: %w", p, err)
		}
	}
	for _, a := range n.DNS {
		if !isStation(a) {
			return fmt.Errorf("name server %s: it is not the address of one station", a)
		}
	}
	return nil
}

// checkAddr says whether a station can have an address in its network.
func checkAddr(p netip.Prefix) error {
	switch {
	case !isStation(p.Addr()):
		return errors.New("it is not the address of one station")
	case p.Bits() == 0:
		return errors.New("a network of length 0 makes the whole world one wire")
	case p.Addr().Is4() && p.Bits() < 31 && (p.Addr() == p.Masked().Addr() || p.Addr() == lastAddr4(p)):
		return fmt.Errorf("it is the first or last address of its network %s, which no station has", p.Masked())
	}
	return nil
}

// Check finds what no station can take for a route.
func (r Route) Check() error {
	switch {
	case !r.To.IsValid() || r.To.Addr().Is4In6():
		return fmt.Errorf("route to %s: it is not a network", r.To)
	case r.To != r.To.Masked():
		return fmt.Errorf("route to %s: the network is %s", r.To, r.To.Masked())
	case r.Metric < 0 || r.Metric > 1<<31-1:
		return fmt.Errorf("route to %s: metric %d is not from 0 to %d", r.To, r.Metric, 1<<31-1)
	case !r.Via.IsValid():
		return nil
	case !isStation(r.Via) || r.Via.Is4() != r.To.Addr().Is4():
		return fmt.Errorf("route to %s: %s cannot be the router to it", r.To, r.Via)
	}
	return nil
}

// Yield gives what is left of a network for a station whose description gives it
// own, and words for what is not: what the description says wins. DNS is one
// thing, and so is each family's address.
func (n Network) Yield(own Network) (rest Network, aside []string) {
	yield := func(what string, yields bool) bool {
		if yields {
			aside = append(aside, what)
		}
		return yields
	}
	if yield("address "+n.Addr4.String(), n.Addr4.IsValid() && own.Addr4.IsValid()) {
		n.Addr4 = netip.Prefix{}
	}
	if yield("address "+n.Addr6.String(), n.Addr6.IsValid() && own.Addr6.IsValid()) {
		n.Addr6 = netip.Prefix{}
	}
	if yield(fmt.Sprintf("mtu %d", n.MTU), n.MTU != 0 && own.MTU != 0) {
		n.MTU = 0
	}
	if yield(fmt.Sprintf("name servers %s", n.DNS), len(n.DNS) > 0 && len(own.DNS) > 0) {
		n.DNS = nil
	}
	return n, aside
}

// Equal says whether two networks set a station up in the same way; either may
// be nil.
func (n *Network) Equal(o *Network) bool {
	if n == nil || o == nil {
		return n == o
	}
	return n.Addr4 == o.Addr4 && n.Addr6 == o.Addr6 && n.MTU == o.MTU && n.Domain == o.Domain &&
		slices.Equal(n.Routes, o.Routes) && slices.Equal(n.DNS, o.DNS)
}

// Addrs are the addresses that there are, IPv4 first.
func (n *Network) Addrs() (all []netip.Prefix) {
	for _, p := range []netip.Prefix{n.Addr4, n.Addr6} {
		if p.IsValid() {
			all = append(all, p)
		}
	}
	return all
}

// isStation says whether an address can be that of one station on a wire.
func isStation(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func lastAddr4(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

// isDomain takes the letters, digits and hyphens of host names (RFC 1123, 2.1),
// and the underscore that is met as well.
func isDomain(s string) bool {
	if len(s) > maxDomain {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
