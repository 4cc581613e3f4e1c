package proxy

import (
	"encoding/binary"
	"net/netip"
)

// The lengths of the header before a relayed datagram (RFC 1928, 7), in bytes: for
// an address of IPv4, of IPv6, and the longest, for a name.
const (
	HeaderIPv4 = 10
	HeaderIPv6 = 22
	MaxHeader  = 4 + 1 + 255 + 2
)

// AppendHeader appends what has to stand before a datagram for a target.
func AppendHeader(dst []byte, to Target) []byte {
	return appendTarget(append(dst, 0, 0, 0), to)
}

// AppendAddrHeader is AppendHeader for an address.
func AppendAddrHeader(dst []byte, to netip.AddrPort) []byte {
	return appendAddr(append(dst, 0, 0, 0), netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
}

// CutHeader reads the header of a relayed datagram: from whom it is, and where what
// he has sent begins. A header that names him instead of giving his address is not
// taken, and neither is one of a fragment.
func CutHeader(datagram []byte) (from netip.AddrPort, begin int, ok bool) {
	if len(datagram) < HeaderIPv4 || datagram[2] != 0 {
		return from, 0, false
	}
	switch datagram[3] {
	case kindIPv4:
		addr := netip.AddrFrom4([4]byte(datagram[4:]))
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(datagram[8:])), HeaderIPv4, true
	case kindIPv6:
		if len(datagram) < HeaderIPv6 {
			return from, 0, false
		}
		addr := netip.AddrFrom16([16]byte(datagram[4:])).Unmap()
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(datagram[20:])), HeaderIPv6, true
	}
	return from, 0, false
}
