package element

import (
	"fmt"
	"net/netip"

	"tmelink/internal/tmesh"
)

// Claim is a claim on a local address and port of a transport protocol.
type Claim struct {
	Pos   tmesh.Pos
	Proto string // "udp" or "tcp"
	// Local is the address as the description says it: an IP address, a name
	// or an interface's name.
	Local string
	Port  uint16
}

// Conflicts says whether two claims cannot both be had. Names are compared as
// they stand: a check opens nothing and asks no name server.
func (c Claim) Conflicts(other Claim) bool {
	return c.Proto == other.Proto && c.Port == other.Port && overlap(c.Local, other.Local)
}

// String says what is claimed: "udp 10.0.0.1 port 1194".
func (c Claim) String() string { return fmt.Sprintf("%s %s port %d", c.Proto, c.Local, c.Port) }

func overlap(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX != nil && errY != nil {
		return false
	}
	if errX != nil || errY != nil {
		return errX == nil && x.IsUnspecified() || errY == nil && y.IsUnspecified()
	}
	return x == y || x.Is4() == y.Is4() && (x.IsUnspecified() || y.IsUnspecified())
}
