package link

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenVPNsTaggedFrames(t *testing.T) {
	needOpenVPN(t)
	for i, c := range []struct{ ours, theirs string }{
		{"--local 127.0.4.1 --remote 127.0.4.2", "--local 127.0.4.2 --remote 127.0.4.1"},
		{"--local 127.0.4.1 --proto tcp-server", "--local 127.0.4.2 --remote 127.0.4.1 --proto tcp-client"},
	} {
		dev, n := fmt.Sprintf("tap%d", 40+i), 40+i
		p := startOpenVPN(t, dev, n, c.theirs)
		s := newStation(t, fmt.Sprintf("10.8.%d.2", n), c.ours)
		s.ping(p.addr, 1, 56)
		ip(t, "link set "+dev+" mtu 1504") // the kernel counts the second tag to the payload
		for _, frame := range [][]byte{tagged(0), tagged(1), tagged(2)} {
			transmit(t, dev, frame)
			eventually(t, fmt.Sprintf("a frame of %d bytes", len(frame)), func() bool {
				return slices.ContainsFunc(s.got(), func(f []byte) bool { return bytes.Equal(f, frame) })
			})
			before := received(t, dev)
			s.write(frame)
			eventually(t, fmt.Sprintf("a frame of %d bytes to the TAP", len(frame)), func() bool { return received(t, dev) >= before+len(frame) })
		}
		p.Stop()
	}
}

// tagged is the largest frame of MTU 1500 with a number of VLAN tags.
func tagged(tags int) []byte {
	frame := append([]byte(nil), "\x02\x00\x00\x00\x00\x0a\x02\x00\x00\x00\x00\x09"...)
	for range tags {
		frame = append(frame, 0x81, 0x00, 0x00, 0x05)
	}
	frame = append(frame, 0x88, 0xb5)
	return append(frame, make([]byte, 1500)...)
}

// transmit has the kernel send a frame out of an interface.
func transmit(t *testing.T, iface string, frame []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: 0x0081 /* 802.1Q, as a wire has it */}); err != nil {
		t.Fatalf("send %d bytes out of %s: %v", len(frame), iface, err)
	}
}

// received is how many bytes the kernel has taken in by an interface.
func received(t *testing.T, iface string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, counters, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == iface {
			n, _ := strconv.Atoi(strings.Fields(counters)[0])
			return n
		}
	}
	t.Fatalf("no counters of %s", iface)
	return 0
}
