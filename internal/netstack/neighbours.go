package netstack

import (
	"cmp"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"tmelink/internal/ethernet"
)

// Neighbour is an entry of the host's ARP or IPv6 neighbour table.
type Neighbour struct {
	Addr         netip.Addr
	HardwareAddr ethernet.Addr
	Resolved     bool // HardwareAddr is known
}

// Neighbours is the host's neighbour table, IPv4 before IPv6, sorted.
func (h *Host) Neighbours() ([]Neighbour, error) {
	s, err := h.running()
	if err != nil {
		return nil, err
	}
	var all []Neighbour
	for _, proto := range []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber} {
		entries, err := s.Neighbors(nicID, proto)
		if err != nil {
			continue // the interface went down in this moment: the table is empty
		}
		for _, e := range entries {
			n := Neighbour{Addr: fromAddress(e.Addr), Resolved: len(e.LinkAddr) == len(ethernet.Addr{})}
			if n.Resolved = n.Resolved && e.State != stack.Unreachable && e.State != stack.Incomplete; n.Resolved {
				n.HardwareAddr = ethernet.Addr([]byte(e.LinkAddr))
			}
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Addr.BitLen(), b.Addr.BitLen()), a.Addr.Compare(b.Addr))
	})
	return all, nil
}
