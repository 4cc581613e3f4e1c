package nat

import (
	"encoding/binary"
	"net/netip"

	"tmelink/internal/ethernet"
)

// What the gateway serves without its stack, because those who ask have no address
// yet: frames are taken apart and put together here.

const (
	ipv4HeaderLen = 20
	udpHeaderLen  = 8
	protoUDP      = 17
)

// frame is shown every frame for the gateway before its stack is.
func (n *NAT) frame(f *ethernet.Frame) bool {
	switch binary.BigEndian.Uint16(f.Data[12:]) {
	case ethernet.TypeIPv4:
		if n.dhcp == nil {
			return false
		}
		payload, ok := udpPayload(f, dhcpServerPort)
		if ok {
			n.serveDHCP(payload)
		}
		return ok
	case ethernet.TypeIPv6:
		if !n.config.net6.IsValid() {
			return false
		}
		from, ok := solicitation(f)
		if ok {
			n.answerSolicitation(ethernet.Src(f.Data), from)
		}
		return ok
	case ethernet.TypeRARP:
		if answer := n.answerRARP(f.Data); answer != nil {
			n.host.SendFrame(answer)
			return true
		}
	}
	return false
}

// udpPayload gives the payload of an IPv4 frame with a whole UDP datagram to a
// port, whose checksum is right or was never computed.
func udpPayload(f *ethernet.Frame, port uint16) ([]byte, bool) {
	ip := f.Data[ethernet.HeaderLen:]
	if len(ip) < ipv4HeaderLen || ip[0]>>4 != 4 || ip[9] != protoUDP || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		return nil, false
	}
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if header < ipv4HeaderLen || total > len(ip) || total < header+udpHeaderLen {
		return nil, false
	}
	udp := ip[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != port || length < udpHeaderLen || length > len(udp) {
		return nil, false
	}
	udp = udp[:length]
	if f.Needs&ethernet.Checksum == 0 && binary.BigEndian.Uint16(udp[6:]) != 0 &&
		ethernet.InternetSum(udp, ethernet.PseudoSum(ip[12:16], ip[16:20], protoUDP, length)) != 0xffff {
		return nil, false
	}
	return udp[udpHeaderLen:], true
}

// udpFrame makes a frame with an IPv4 datagram.
func udpFrame(dst, src ethernet.Addr, from, to netip.AddrPort, payload []byte) []byte {
	f := make([]byte, ethernet.HeaderLen+ipv4HeaderLen+udpHeaderLen, ethernet.HeaderLen+ipv4HeaderLen+udpHeaderLen+len(payload))
	copy(f, dst[:])
	copy(f[6:], src[:])
	binary.BigEndian.PutUint16(f[12:], ethernet.TypeIPv4)
	ip, length := f[ethernet.HeaderLen:], udpHeaderLen+len(payload)
	ip[0], ip[8], ip[9] = 0x45, 64, protoUDP
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4HeaderLen+length))
	source, destination := from.Addr().As4(), to.Addr().As4()
	copy(ip[12:], source[:])
	copy(ip[16:], destination[:])
	binary.BigEndian.PutUint16(ip[10:], ^ethernet.InternetSum(ip[:ipv4HeaderLen], 0))
	udp := ip[ipv4HeaderLen:]
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(length))
	f = append(f, payload...)
	sum := ^ethernet.InternetSum(f[ethernet.HeaderLen+ipv4HeaderLen:], ethernet.PseudoSum(source[:], destination[:], protoUDP, length))
	if sum == 0 {
		sum = 0xffff // 0 means that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(f[ethernet.HeaderLen+ipv4HeaderLen+6:], sum)
	return f
}
