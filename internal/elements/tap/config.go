package tap

import (
	"net/netip"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// config is what the words of either type come to.
type config struct {
	device string // the interface; "" is the first free tapN
	node   string // the tun driver's device; "" is the usual one
	netns  string // a namespace's name; "" is the process's own
	bridge string
	mtu    int           // 0 leaves it as it is
	hwaddr ethernet.Addr // zero leaves it as it is

	noOffload bool
	queues    int // 0 is one

	inet      netip.Prefix // the address with its network, as inet6
	broadcast netip.Addr
	inet6     netip.Prefix
	remote6   netip.Addr // OpenVPN's remote end, for its scripts only

	nat    natWish
	uplink string // of natBy

	up, down []string // a program and its first arguments
	// openvpn says that the programs get OpenVPN's arguments and variables
	// and not just the interface's name.
	openvpn bool
}

type natWish int

const (
	natAuto  natWish = iota // by the default route, where there is one
	natNever                // the description says none
	natBy                   // by uplink
	natNot                  // the element type has none
)

// The MTU's bounds: RFC 791 (every IPv4 module forwards 68 bytes), and what
// Linux's TAP devices take (drivers/net/tun.c, MAX_MTU less the header); RFC 8200
// section 5 for IPv6.
const (
	minMTU  = 68
	minMTU6 = 1280
	maxMTU  = 65535 - ethernet.HeaderLen
)

// maxQueues is MAX_TAP_QUEUES of drivers/net/tun.c.
const maxQueues = 256

// hasAddress says whether the host has an address on the wire.
func (c *config) hasAddress() bool { return c.inet.IsValid() || c.inet6.IsValid() }

// networks are those that AutoNAT translates.
func (c *config) networks() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []netip.Prefix{c.inet, c.inet6} {
		if p.IsValid() {
			all = append(all, p)
		}
	}
	return all
}

// classBits is the prefix length that an address had before there were netmasks
// to give (RFC 791, 3.2), and that ifconfig assumes without one: 8, 16 or 24.
func classBits(a netip.Addr) int {
	switch first := a.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	}
	return 24
}

// hostAddr reads the IPv4 address of one host.
func hostAddr(v element.Values, i int) (netip.Addr, error) {
	a, err := v.Addr4(i)
	if err != nil {
		return a, err
	}
	if a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return a, v.Faultf(i, "%s is not the address of one host", a)
	}
	return a, nil
}

// hostAddr6 reads the IPv6 address of one host with its prefix length.
func hostAddr6(v element.Values, i int) (netip.Prefix, error) {
	p, err := v.Prefix6(i)
	if err != nil {
		return p, err
	}
	if p.Addr().IsUnspecified() || p.Addr().IsMulticast() {
		return p, v.Faultf(i, "%s is not the address of one host", p.Addr())
	}
	return p, nil
}

// check finds what no word alone shows.
func (c *config) check(pos tmesh.Pos) error {
	if c.inet6.IsValid() && c.mtu != 0 && c.mtu < minMTU6 {
		return tmesh.Faultf(pos, "an mtu of %d is too small for IPv6, which needs %d", c.mtu, minMTU6)
	}
	return nil
}
