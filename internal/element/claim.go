package element

import (
	"fmt"
	"net/netip"
	"slices"

	"tmelink/internal/tmesh"
)

// Claim is a claim on a local address and port of a transport protocol.
type Claim struct {
	Pos   tmesh.Pos
	Proto string // "udp", "tcp", or StandardIO, which has no more to it
	// Local is the address as the description says it: an IP address, a name
	// or an interface's name.
	Local string
	Port  uint16
	// Shared says with whom the element can share them; nil: with nobody.
	Shared *Sharing
}

// StandardIO claims the process's standard input and output.
const StandardIO = "standard input and output"

// Sharing is what elements on one address and port are told apart by.
type Sharing struct {
	// Peers are whom the element takes packets of there, as PeerName writes them;
	// none: anybody.
	Peers []string
	// Terms is what is asked of the socket beside its address, which must be the
	// same for all who share it.
	Terms string
	// Common is what one of them may say for all; who says it too must say the same.
	Common string
}

// PeerName writes a peer's host, and its port where one is known before it is heard
// (else 0), so that two that are written alike are the same.
func PeerName(host string, port uint16) string {
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().String()
	}
	if port == 0 {
		return host
	}
	return fmt.Sprintf("%s port %d", host, port)
}

// Conflict says why two claims cannot both be had, and what to do: "" if they can.
// Names are compared as they stand: a check opens nothing and asks no name server.
func (c Claim) Conflict(other Claim) string {
	switch a, b := c.Shared, other.Shared; {
	case c.Proto != other.Proto || c.Port != other.Port || !overlap(c.Local, other.Local):
		return ""
	case c.Proto == StandardIO:
		return "the process has only one of each: give one of them a socket, such as tme/host/qemu/stream"
	case a == nil || b == nil || !same(c.Local, other.Local):
		return "give one of them another port"
	case a.Terms != b.Terms:
		return fmt.Sprintf("to share it they must ask the same of the socket, and one asks for %s, the other for %s: make that the same, or give one of them another --lport",
			a.terms(), b.terms())
	case a.Common != "" && b.Common != "" && a.Common != b.Common:
		return fmt.Sprintf("one has %s, the other %s: give both the same, or leave one out, or give one of them another --lport", a.Common, b.Common)
	case len(a.Peers) == 0 && len(b.Peers) == 0:
		return "to share it only one of them may take packets of anybody, as without --remote, or with --float and no keys: give one of them a --remote, or another --lport"
	}
	for _, p := range c.Shared.Peers {
		if slices.Contains(other.Shared.Peers, p) {
			return fmt.Sprintf("to share it they must have different peers, and both have %s: give one of them another --remote, or another --lport", p)
		}
	}
	return ""
}

func (s *Sharing) terms() string {
	if s.Terms == "" {
		return "nothing"
	}
	return s.Terms
}

// String says what is claimed: "udp 10.0.0.1 port 1194".
func (c Claim) String() string {
	if c.Proto == StandardIO {
		return c.Proto
	}
	return fmt.Sprintf("%s %s port %d", c.Proto, c.Local, c.Port)
}

// same says whether two local addresses are written alike.
func same(a, b string) bool { return PeerName(a, 0) == PeerName(b, 0) }

func overlap(a, b string) bool {
	if same(a, b) {
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
	return x.Is4() == y.Is4() && (x.IsUnspecified() || y.IsUnspecified())
}
