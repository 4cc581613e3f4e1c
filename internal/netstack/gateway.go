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
	asks [2]netip.Addr // in whose name it asks for hardware addresses: IPv4, IPv6
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
	link := linkLocal(cfg.HardwareAddr).Addr()
	g := &gateway{own: map[netip.Addr]bool{link: true}, take: cfg.Forwarding.Frame}
	g.asks[1] = link
	for _, p := range cfg.Addrs {
		g.own[p.Addr()] = true
		if p.Addr().Is4() && !g.asks[0].IsValid() {
			g.asks[0] = p.Addr()
		}
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

// ask puts the gateway's own address into a frame of the stack's that asks for a
// station's hardware address. The stack asks in the name of whom it has a packet
// from; the station would take that one for a neighbour.
func (g *gateway) ask(frame []byte) {
	packet := frame[ethernet.HeaderLen:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case ethernet.TypeARP:
		if h := header.ARP(packet); h.IsValid() && h.Op() == header.ARPRequest && g.asks[0].IsValid() && !g.has(h.ProtocolAddressSender()) {
			copy(h.ProtocolAddressSender(), g.asks[0].AsSlice())
		}
	case ethernet.TypeIPv6:
		h := header.IPv6(packet)
		if len(h) < header.IPv6MinimumSize+header.ICMPv6NeighborSolicitMinimumSize || h.NextHeader() != uint8(header.ICMPv6ProtocolNumber) {
			return
		}
		message := header.ICMPv6(packet[header.IPv6MinimumSize:])
		if message.Type() != header.ICMPv6NeighborSolicit || h.SourceAddress() == header.IPv6Any || g.has(packet[8:24]) {
			return
		}
		h.SetSourceAddress(toAddress(g.asks[1]))
		message.SetChecksum(0)
		message.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: message, Src: h.SourceAddress(), Dst: h.DestinationAddress()}))
	}
}

func (g *gateway) has(address []byte) bool {
	a, ok := netip.AddrFromSlice(address)
	return ok && g.own[a]
}
