package tap

import (
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/nstest"
)

// socket is an AF_PACKET socket on an interface, as a capture program or a
// tme/host/bsd/bpf element has one. It counts what it sees by payload.
type socket struct {
	fd int
	to *unix.SockaddrLinklayer // made once, for the tests that count allocations

	mu       sync.Mutex
	incoming map[string]int // frames that come in, as the host sees them
	outgoing map[string]int // frames that others send
}

// packetSocket opens a socket for the experimental EtherType and reads it.
func packetSocket(t testing.TB, iface string) *socket {
	t.Helper()
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network byte order
	s := openPacket(t, iface, all)
	unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50000})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s.read(stop)
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	return s
}

// openPacket opens a socket for a protocol, of which 0 is one that only sends.
func openPacket(t testing.TB, iface string, protocol uint16) *socket {
	t.Helper()
	i, err := net.InterfaceByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	// Outgoing frames are seen by sockets for all protocols alone.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: i.Index}); err != nil {
		t.Fatal(err)
	}
	return &socket{fd: fd, to: &unix.SockaddrLinklayer{Ifindex: i.Index}, incoming: map[string]int{}, outgoing: map[string]int{}}
}

func (s *socket) read(stop <-chan struct{}) {
	buf := make([]byte, 2000)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		if err != nil || n < 14 || buf[12] != 0x88 || buf[13] != 0xb5 {
			continue
		}
		s.mu.Lock()
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			s.outgoing[string(buf[14:n])]++
		} else {
			s.incoming[string(buf[14:n])]++
		}
		s.mu.Unlock()
	}
}

func (s *socket) send(t testing.TB, frame []byte) {
	t.Helper()
	if err := unix.Sendto(s.fd, frame, 0, s.to); err != nil {
		t.Fatal(err)
	}
}

func (s *socket) in(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.incoming[text]
}

func (s *socket) out(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outgoing[text]
}

// expect waits until the socket has seen a frame come in n times.
func (s *socket) expect(t testing.TB, text string, n int) {
	t.Helper()
	if !nstest.Eventually(10*time.Second, func() bool { return s.in(text) >= n }) || s.in(text) > n {
		t.Fatalf("%q came in %d times, want %d", text, s.in(text), n)
	}
}
