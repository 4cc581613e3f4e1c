package netstack

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"tmelink/internal/ethernet"
)

// FuzzWriteFrames throws frames at a host on which something listens. The
// stack must live; nothing else is asked of it. The checksums of a mutated
// packet are mended, so that it gets past them.
func FuzzWriteFrames(f *testing.F) {
	own, other := ethernet.Addr{2, 0, 0, 0, 0, 1}, ethernet.Addr{2, 9, 9, 9, 9, 9}
	for _, packet := range seeds() {
		for _, dst := range []ethernet.Addr{own, ethernet.Broadcast, {0x33, 0x33, 0, 0, 0, 1}} {
			f.Add(append(append(dst[:], other[:]...), packet...), false)
		}
	}
	f.Add(arpRequest(other, ethernet.Broadcast, "10.0.0.9", "10.0.0.1"), true)
	h := host(f, 1, Config{}, netA4, netA6)
	for _, p := range []uint16{7, 80} {
		if _, err := h.ListenTCP(p); err != nil {
			f.Fatal(err)
		}
		if _, err := h.ListenUDP(addrPort(netA4, p)); err != nil {
			f.Fatal(err)
		}
	}
	e, err := h.OpenEcho(netip.MustParseAddr("10.0.0.9"))
	if err != nil {
		f.Fatal(err)
	}
	e.Send(1, nil)
	go func() {
		for {
			if _, err := h.Port().ReadFrames(); err != nil {
				return
			}
		}
	}()
	f.Fuzz(func(t *testing.T, data []byte, trusted bool) {
		frame := ethernet.Frame{Data: bytes.Clone(data)}
		if trusted {
			frame.Needs = ethernet.Checksum
		}
		mend(frame.Data)
		if err := h.Port().WriteFrames([]ethernet.Frame{frame}); err != nil {
			t.Fatal(err)
		}
	})
}

// seeds are packets behind their EtherType, each of another protocol.
func seeds() (packets [][]byte) {
	src4, dst4 := tcpip.AddrFrom4([4]byte{10, 0, 0, 9}), tcpip.AddrFrom4([4]byte{10, 0, 0, 1})
	src6, dst6 := toAddress(netip.MustParseAddr("fd00::9")), toAddress(netip.MustParseAddr("fd00::1"))
	tcp := make([]byte, 24)
	header.TCP(tcp).Encode(&header.TCPFields{SrcPort: 9, DstPort: 80, SeqNum: 1, DataOffset: 24, Flags: header.TCPFlagSyn, WindowSize: 1000})
	copy(tcp[20:], []byte{2, 4, 5, 0xb4})
	udp := append([]byte{0, 9, 0, 7, 0, 12, 0, 0}, "data"...)
	for _, payload := range []struct {
		proto byte
		data  []byte
	}{
		{1, []byte{8, 0, 0, 0, 0, 1, 0, 1, 'x'}},            // echo
		{1, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, udp...)}, // unreachable
		{2, []byte{0x11, 1, 0, 0, 0, 0, 0, 0}},              // IGMP query
		{6, tcp},                                            //
		{17, udp},                                           //
		{58, []byte{128, 0, 0, 0, 0, 1, 0, 1, 'x'}},         // echo
		{58, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, dst6.AsSlice()...)},                      // neighbour solicitation
		{58, []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}},                        // router advertisement
		{58, []byte{130, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, // MLD query
		{0, []byte{17, 0, 1, 4, 0, 0, 0, 0, 0, 9, 0, 7, 0, 8, 0, 0}},                           // hop by hop
		{44, []byte{17, 0, 0, 1, 0, 0, 0, 5, 0, 9, 0, 7, 0, 8, 0, 0}},                          // fragment
	} {
		ip := make([]byte, 24)
		header.IPv4(ip).Encode(&header.IPv4Fields{TotalLength: uint16(24 + len(payload.data)), TTL: 64, Protocol: payload.proto, SrcAddr: src4, DstAddr: dst4})
		ip[0] = 0x46
		copy(ip[20:], []byte{0x94, 4, 0, 0}) // router alert
		packets = append(packets, append(append([]byte{8, 0}, ip...), payload.data...))
		ip = make([]byte, 40)
		header.IPv6(ip).Encode(&header.IPv6Fields{PayloadLength: uint16(len(payload.data)), TransportProtocol: tcpip.TransportProtocolNumber(payload.proto), HopLimit: 255, SrcAddr: src6, DstAddr: dst6})
		packets = append(packets, append(append([]byte{0x86, 0xdd}, ip...), payload.data...))
	}
	return packets
}

// mend writes right checksums wherever the frame is long enough for them.
func mend(frame []byte) {
	if len(frame) < 14+20 {
		return
	}
	var transport []byte
	var proto tcpip.TransportProtocolNumber
	var sum uint16
	switch ip := frame[14:]; binary.BigEndian.Uint16(frame[12:]) {
	case ethernet.TypeIPv4:
		length := int(ip[0]&15) * 4
		if length < 20 || length > len(ip) {
			return
		}
		h := header.IPv4(ip)
		h.SetChecksum(0)
		h.SetChecksum(^checksum.Checksum(ip[:length], 0))
		transport = ip[length:min(max(length, int(h.TotalLength())), len(ip))]
		proto = tcpip.TransportProtocolNumber(ip[9])
		sum = header.PseudoHeaderChecksum(proto, h.SourceAddress(), h.DestinationAddress(), uint16(len(transport)))
	case ethernet.TypeIPv6:
		if len(ip) < 40 {
			return
		}
		h := header.IPv6(ip)
		transport = ip[40:min(40+int(h.PayloadLength()), len(ip))]
		proto = tcpip.TransportProtocolNumber(ip[6])
		sum = header.PseudoHeaderChecksum(proto, h.SourceAddress(), h.DestinationAddress(), uint16(len(transport)))
	}
	field := map[tcpip.TransportProtocolNumber]int{1: 2, 2: 2, 6: 16, 17: 6, 58: 2}[proto]
	if field == 0 || field+2 > len(transport) {
		return
	}
	if proto < 6 {
		sum = 0 // ICMP and IGMP know no pseudo header
	}
	binary.BigEndian.PutUint16(transport[field:], 0)
	binary.BigEndian.PutUint16(transport[field:], ^checksum.Checksum(transport, sum))
}
