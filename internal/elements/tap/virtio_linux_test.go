package tap

import (
	"testing"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

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
	if _, err := unix.SendmsgBuffers(s.fd, [][]byte{header[:], f.Data}, nil, s.to, 0); err != nil {
		t.Fatalf("the kernel does not take %d bytes with the header %x: %v", len(f.Data), header, err)
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
