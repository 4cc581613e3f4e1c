package tap

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// flow is a UDP flow, or a direction of a TCP connection.
type flow struct {
	dst, src ethernet.Addr
	to, from netip.AddrPort
	tcp      bool
	vlan     uint16 // 0: untagged
}

// super is a frame of the flow with a payload that is to be cut into pieces of a
// size (RFC 791, RFC 8200, RFC 9293, RFC 768). The TCP segment is the one at
// sequence number 1.
func (f flow) super(payload []byte, size int) ethernet.Frame {
	data := append(append([]byte{}, f.dst[:]...), f.src[:]...)
	if f.vlan != 0 {
		data = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(data, ethernet.TypeVLAN), f.vlan)
	}
	src, dst := f.from.Addr().AsSlice(), f.to.Addr().AsSlice()
	protocol, header, needs, field := uint8(unix.IPPROTO_UDP), 8, ethernet.Checksum|ethernet.USO, 6
	if f.tcp {
		protocol, header, field = unix.IPPROTO_TCP, 20, 16
		if needs = ethernet.Checksum | ethernet.TSO4; len(src) == 16 {
			needs = ethernet.Checksum | ethernet.TSO6
		}
	}
	length := header + len(payload)
	if len(src) == 4 {
		data = binary.BigEndian.AppendUint16(data, ethernet.TypeIPv4)
		ip := len(data)
		data = append(data, 0x45, 0)
		data = binary.BigEndian.AppendUint16(data, uint16(20+length))
		data = append(data, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0)
		data = append(append(data, src...), dst...)
		binary.BigEndian.PutUint16(data[ip+10:], ^ethernet.InternetSum(data[ip:], 0))
	} else {
		data = binary.BigEndian.AppendUint16(data, ethernet.TypeIPv6)
		data = append(data, 0x60, 0, 0, 0)
		data = binary.BigEndian.AppendUint16(data, uint16(length))
		data = append(append(append(data, protocol, 64), src...), dst...)
	}
	start := len(data)
	data = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(data, f.from.Port()), f.to.Port())
	if f.tcp {
		data = append(data, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0)
	} else {
		data = append(binary.BigEndian.AppendUint16(data, uint16(length)), 0, 0)
	}
	binary.BigEndian.PutUint16(data[start+field:], ethernet.PseudoSum(src, dst, protocol, length))
	return ethernet.Frame{
		Data: append(data, payload...), Needs: needs, SegmentSize: uint16(size),
		ChecksumStart: uint16(start), ChecksumOffset: uint16(field),
	}
}

// frames are those of the flow that a wire would carry.
func (f flow) frames(payload []byte, size int) (all []ethernet.Frame) {
	var s ethernet.Segmenter
	var drops ethernet.Drops
	for _, one := range s.Finish([]ethernet.Frame{f.super(payload, size)}, 0, ethernet.MaxFrameLen, &drops) {
		all = append(all, ethernet.Frame{Data: bytes.Clone(one.Data)})
	}
	return all
}

// pattern is n bytes that show where they are.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8*31)
	}
	return b
}

// virtioSocket is a packet socket that sends and receives super-frames with their
// header (PACKET_VNET_HDR of packet(7)).
func virtioSocket(t testing.TB, iface string) *socket {
	t.Helper()
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network byte order
	s := openPacket(t, iface, all)
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		t.Fatal(err)
	}
	unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	return s
}

// sendSuper sends a super-frame.
func (s *socket) sendSuper(t testing.TB, f ethernet.Frame) {
	t.Helper()
	var header [ethernet.VirtioLen]byte
	f.PutVirtio(header[:])
	s.sendWith(t, header, f.Data)
}

// sendWith sends a frame behind any header.
func (s *socket) sendWith(t testing.TB, header [ethernet.VirtioLen]byte, data []byte) {
	t.Helper()
	if _, err := unix.SendmsgBuffers(s.fd, [][]byte{header[:], data}, nil, s.to, 0); err != nil {
		t.Fatalf("the kernel does not take %d bytes with the header %x: %v", len(data), header, err)
	}
}

// receiveSuper waits for the next frame that comes in and that is wanted.
func (s *socket) receiveSuper(t testing.TB, wanted func(ethernet.Frame) bool) ethernet.Frame {
	t.Helper()
	buf := make([]byte, ethernet.VirtioLen+ethernet.MaxFrameLen)
	for {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		if err != nil {
			t.Fatal(err)
		}
		f, ok := ethernet.ParseVirtio(buf, buf[ethernet.VirtioLen:n], 0)
		if ok && from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING && wanted(f) {
			return f
		}
	}
}
