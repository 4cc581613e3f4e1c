package transport

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

func TestSocketOptionsAreSet(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: SO_MARK needs root")
	}
	const size = 300000
	s := Socket{SendBuffer: size, ReceiveBuffer: size, Mark: 77, Device: "lo"}
	u, _, _ := openUDP(t, UDPConfig{Socket: s})
	err := u.raw.Control(func(fd uintptr) {
		for name, c := range map[string]struct{ option, want int }{
			"SO_SNDBUF": {unix.SO_SNDBUF, 2 * size}, // the kernel doubles it, socket(7)
			"SO_RCVBUF": {unix.SO_RCVBUF, 2 * size},
			"SO_MARK":   {unix.SO_MARK, 77},
		} {
			if got, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, c.option); err != nil || got != c.want {
				t.Errorf("%s is %d, want %d; %v", name, got, c.want, err)
			}
		}
		if got, err := unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE); err != nil || got != "lo" {
			t.Errorf("SO_BINDTODEVICE is %q, %v", got, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSocketOptionsThatFailAreNamed(t *testing.T) {
	none := Socket{Device: "none7"}
	remote := netip.MustParseAddrPort("127.0.0.1:9")
	for begin, open := range map[string]func() error{
		"listen on udp 127.0.0.1:0: ": func() error {
			_, err := OpenUDP(context.Background(), UDPConfig{Socket: none, Local: loopback, MaxPacket: 100})
			return err
		},
		"listen on udp: ": func() error {
			_, err := OpenUDP(context.Background(), UDPConfig{Socket: none, Remotes: []netip.AddrPort{remote}, MaxPacket: 100})
			return err
		},
		"connect from tcp: ": func() error {
			_, err := Dial(context.Background(), TCPConfig{Socket: none, MaxPacket: 100}, to(remote), time.Second)
			return err
		},
	} {
		checkBind(t, open(), begin+"bind to interface none7", "")
	}
}

func TestDatagramsThatTheKernelDropsAreCounted(t *testing.T) {
	u, counters, _ := openUDP(t, UDPConfig{Socket: Socket{ReceiveBuffer: 1}}) // the kernel's least
	peer := plain(t, "127.0.0.1:0")
	const n = 100
	for range n {
		peer.WriteToUDPAddrPort(make([]byte, 1000), u.Local())
	}
	u.CountDropped()
	first := counters.Read.Count(ethernet.KernelDrop)
	if first == 0 || first >= n {
		t.Fatalf("%d of %d counted", first, n)
	}
	peer.WriteToUDPAddrPort(make([]byte, 1000), u.Local())
	u.Close()
	if got := counters.Read.Count(ethernet.KernelDrop); got != first+1 {
		t.Errorf("%d counted, then one more: %d", first, got)
	}
}

func TestZonesAreLookedUpSeldom(t *testing.T) {
	var z zoneCache
	if got := z.name(1); got != "lo" {
		t.Fatalf("interface 1 is %q", got)
	}
	if n := testing.AllocsPerRun(100, func() { z.name(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := z.name(1 << 30); got != "1073741824" {
		t.Errorf("an interface that is not there is %q", got)
	}
}
