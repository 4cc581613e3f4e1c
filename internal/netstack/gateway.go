package netstack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"tmelink/internal/ethernet"
)

// gateway keeps from a forwarding host's stack what it would answer in the name
// of others: a stack that takes all addresses also says that it has them.
type gateway struct {
	own  map[netip.Addr]bool
	take func(*ethernet.Frame) bool
}

// fate is what becomes of a frame.
type fate uint8

const (
	passed fate = iota
	taken
	dropped
)

func newGateway(cfg Config) *gateway {
	g := &gateway{own: map[netip.Addr]bool{linkLocal(cfg.HardwareAddr).Addr(): true}, take: cfg.Forwarding.Frame}
	for _, p := range cfg.Addrs {
		g.own[p.Addr()] = true
	}
	return g
}

// judge decides about a frame of at least ethernet.HeaderLen bytes.
func (g *gateway) judge(f *ethernet.Frame) (ethernet.Reason, fate) {
	if g.take(f) {
		return 0, taken
	}
	packet := f.Data[ethernet.HeaderLen:]
	switch binary.BigEndian.Uint16(f.Data[12:]) {
	case ethernet.TypeARP:
		if h := header.ARP(packet); h.IsValid() && h.Op() == header.ARPRequest && !g.has(h.ProtocolAddressTarget()) {
			return ethernet.FilteredOut, dropped
		}
	case ethernet.TypeIPv6:
		if len(packet) < header.IPv6MinimumSize || header.IPv6(packet).NextHeader() != uint8(header.ICMPv6ProtocolNumber) {
			break
		}
		if s := packet[header.IPv6MinimumSize:]; len(s) >= header.ICMPv6NeighborSolicitMinimumSize &&
			s[0] == byte(header.ICMPv6NeighborSolicit) && !g.has(s[8:24]) {
			return ethernet.FilteredOut, dropped
		}
	}
	return 0, passed
}

func (g *gateway) has(address []byte) bool {
	a, ok := netip.AddrFromSlice(address)
	return ok && g.own[a]
}
