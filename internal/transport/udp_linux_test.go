package transport

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// ownNamespace moves the rest of the test, and what it starts, into a fresh
// network namespace with loopback up. The thread ends with the test.
func ownNamespace(t *testing.T) {
	t.Helper()
	nstest.Need(t)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal("unshare:", err)
	}
	run(t, "ip link set lo up")
}

// run runs a command in the test's namespace.
func run(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// control calls f with a socket's descriptor.
func control(t testing.TB, c syscall.Conn, f func(fd int)) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// roomy gives a socket a buffer for the packets that a test leaves in it, and
// skips the test where the host does not allow one.
func roomy(t testing.TB, c *net.UDPConn, packets int) {
	t.Helper()
	control(t, c, func(fd int) {
		const each = 4096 // what the kernel counts for one, at the most
		setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, socketBuffer)
		if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || got < packets*each {
			t.Skipf("skipped: a receive buffer of %d bytes, %v, is too small for %d packets", got, err, packets)
		}
	})
}

// packetsOf makes packets of these sizes, each with content of its own, that lie
// one behind the other or each somewhere else in memory.
func packetsOf(sizes []int, contiguous bool) [][]byte {
	total := 0
	for _, n := range sizes {
		total += n + 1
	}
	arena := make([]byte, 0, total)
	packets := make([][]byte, len(sizes))
	for i, n := range sizes {
		if !contiguous {
			arena = append(arena, 0xee)
		}
		from := len(arena)
		for j := range n {
			arena = append(arena, byte(i*7+j*3+j>>8))
		}
		packets[i] = arena[from:]
	}
	return packets
}

// same is n times a size.
func same(n, size int) (sizes []int) {
	for range n {
		sizes = append(sizes, size)
	}
	return sizes
}

func join(lists ...[]int) (sizes []int) {
	for _, l := range lists {
		sizes = append(sizes, l...)
	}
	return sizes
}

// compare fails the test unless what arrived is what was sent, in its order; an
// empty packet is not sent.
func compare(t testing.TB, got, sent [][]byte) {
	t.Helper()
	i := 0
	for _, want := range sent {
		switch {
		case len(want) == 0:
			continue
		case i == len(got):
			t.Fatalf("%d packets arrived and no more", i)
		case !bytes.Equal(got[i], want):
			t.Fatalf("packet %d arrived with %d bytes, not the %d that were sent, or other ones", i, len(got[i]), len(want))
		}
		i++
	}
	if i != len(got) {
		t.Fatalf("%d packets arrived, and %d that nobody sent", i, len(got)-i)
	}
}

func filled(packets [][]byte) (n int) {
	for _, p := range packets {
		if len(p) > 0 {
			n++
		}
	}
	return n
}

// take reads n packets from a Conn.
func take(t testing.TB, c Conn, n int) (packets [][]byte) {
	t.Helper()
	for _, p := range gather(t, c, n) {
		packets = append(packets, []byte(p))
	}
	return packets
}

// takePlain reads n datagrams from a socket that knows nothing of packets.
func takePlain(t testing.TB, c *net.UDPConn, n int) (packets [][]byte) {
	t.Helper()
	buf := make([]byte, 1<<16)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for len(packets) < n {
		length, err := c.Read(buf)
		if err != nil {
			t.Fatalf("after %d of %d packets: %v", len(packets), n, err)
		}
		packets = append(packets, bytes.Clone(buf[:length]))
	}
	return packets
}

var batches = map[string][]int{
	"one":                     {1400},
	"equal":                   same(30, 1400),
	"a shorter last one":      join(same(10, 1400), []int{300}),
	"mixed":                   {60, 1400, 1400, 1400, 200, 200, 1, 1, 1, 1700, 60, 61, 62, 62, 61},
	"falling and rising":      {900, 800, 700, 600, 500, 400, 300, 400, 500, 600, 700},
	"more than 64":            same(200, 100),
	"more than 65507 bytes":   same(64, 1464),
	"empty ones among them":   {0, 500, 500, 0, 500, 0, 0, 300, 300, 0},
	"more pieces than a call": same(1500, 40),
	"more messages than a call": func() (sizes []int) {
		for i := range 150 {
			sizes = append(sizes, 100+i)
		}
		return sizes
	}(),
	"as long as can be": {65507, 60000, 60000, 10},
}

func TestUDPBatchesArriveWhole(t *testing.T) {
	for family, local := range map[string]netip.AddrPort{"IPv4": loopback, "IPv6": loopback6} {
		for name, sizes := range batches {
			for _, contiguous := range []bool{true, false} {
				packets := packetsOf(sizes, contiguous)
				t.Run(fmt.Sprintf("%s/%s/contiguous %v", family, name, contiguous), func(t *testing.T) {
					receiver, drops, _ := openUDP(t, UDPConfig{Local: local, MaxPacket: 65535})
					roomy(t, receiver.conn, len(packets))
					sender, refused, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{receiver.Local()}})
					if err := sender.WritePackets(packets); err != nil {
						t.Fatal(err)
					}
					compare(t, take(t, receiver, filled(packets)), packets)

					other := plain(t, local.String())
					roomy(t, other, len(packets))
					toPlain, refusedPlain, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(other)}})
					if err := toPlain.WritePackets(packets); err != nil {
						t.Fatal(err)
					}
					compare(t, takePlain(t, other, filled(packets)), packets)
					if n := drops.Read.Total() + refused.Write.Total() + refusedPlain.Write.Total(); n != 0 {
						t.Errorf("%d packets are counted as dropped", n)
					}
				})
			}
		}
	}
}

func TestUDPRandomBatches(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	a, _, _ := openUDP(t, UDPConfig{MaxPacket: 65535})
	b, _, _ := openUDP(t, UDPConfig{MaxPacket: 65535, Remotes: []netip.AddrPort{a.Local()}})
	roomy(t, a.conn, 150)
	roomy(t, b.conn, 150)
	b.WritePackets(texts("hello", 1))
	gather(t, a, 1)
	for range 300 {
		var sizes []int
		for want := 1 + r.IntN(150); len(sizes) < want; {
			size := r.IntN(1800)
			if r.IntN(20) == 0 {
				size = r.IntN(30000)
			}
			sizes = append(sizes, same(1+r.IntN(1+r.IntN(100)), size)...)
		}
		packets := packetsOf(sizes[:min(len(sizes), 150)], r.IntN(2) == 0)
		if filled(packets) == 0 {
			continue
		}
		from, to := a, b
		if r.IntN(2) == 0 {
			from, to = b, a
		}
		if err := from.WritePackets(packets); err != nil {
			t.Fatal(err)
		}
		compare(t, take(t, to, filled(packets)), packets)
	}
}

// TestUDPSettles: once the peer is heard, the kernel lets in nobody else.
func TestUDPSettles(t *testing.T) {
	for name, local := range map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			peer := plain(t, local)
			u, counters, _ := openUDP(t, UDPConfig{Local: netip.MustParseAddrPort(local), Remotes: []netip.AddrPort{portOf(peer)}})
			stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(u.Local()))
			if err != nil {
				t.Fatal(err)
			}
			defer stranger.Close()
			stranger.Write([]byte("evil"))
			peer.WriteToUDPAddrPort([]byte("good"), u.Local())
			if got := gather(t, u, 1); got[0] != "good" || counters.Read.Count(ethernet.Stranger) != 1 {
				t.Fatalf("got %q, %d of strangers", got, counters.Read.Count(ethernet.Stranger))
			}
			if !u.connected.Load() {
				t.Fatal("the kernel does not know the peer")
			}
			stranger.Write([]byte("evil"))
			stranger.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := stranger.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("the stranger is not told that nobody listens to it: %v", err)
			}
			for _, packets := range [][][]byte{packetsOf([]int{100}, true), packetsOf(join(same(20, 1000), []int{7, 1500}), false)} {
				u.WritePackets(packets)
				compare(t, takePlain(t, peer, len(packets)), packets)
				for _, p := range packets {
					peer.WriteToUDPAddrPort(p, u.Local())
				}
				compare(t, take(t, u, len(packets)), packets)
			}
			if err := u.Send([]byte("beside"), netip.AddrPort{}); err != nil || receive(t, peer) != "beside" {
				t.Errorf("Send: %v", err)
			}
			if n := counters.Read.Total(); n != 1 || counters.Write.Total() != 0 {
				t.Errorf("%d dropped while reading, want the one of the stranger, and %d while writing", n, counters.Write.Total())
			}
			if err := u.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUDPDoesNotSettle(t *testing.T) {
	peer, second := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.2:0")
	any4 := netip.MustParseAddrPort("0.0.0.0:0")
	for name, c := range map[string]UDPConfig{
		"float":            {Local: loopback, Remotes: []netip.AddrPort{portOf(peer)}, Float: true},
		"several remotes":  {Local: loopback, Remotes: []netip.AddrPort{portOf(peer), portOf(second)}},
		"no remote":        {Local: loopback},
		"wildcard address": {Local: any4, Remotes: []netip.AddrPort{portOf(peer)}},
		"dual stack":       {Local: netip.MustParseAddrPort("[::]:0"), Remotes: []netip.AddrPort{portOf(peer)}},
	} {
		t.Run(name, func(t *testing.T) {
			u, counters, _ := openUDP(t, c)
			to := netip.AddrPortFrom(loopback.Addr(), u.Local().Port())
			for range 2 {
				peer.WriteToUDPAddrPort([]byte("hello"), to)
				gather(t, u, 1)
			}
			if u.connected.Load() {
				t.Error("the kernel lets in this peer only")
			}
			fixed := len(c.Remotes) == 1 && !c.Float
			second.WriteToUDPAddrPort([]byte("and I"), to)
			if fixed {
				peer.WriteToUDPAddrPort([]byte("again"), to)
			}
			if got := gather(t, u, 1)[0]; fixed != (got == "again") || fixed != (counters.Read.Count(ethernet.Stranger) == 1) {
				t.Errorf("got %q, %d of strangers", got, counters.Read.Count(ethernet.Stranger))
			}
		})
	}
}

// TestUDPWithoutBoundAddressDoesNotSettle: such a socket has the address that the
// way to the peer has, which may change.
func TestUDPWithoutBoundAddressDoesNotSettle(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	l := &log{}
	counters := &ethernet.Counters{}
	u, err := OpenUDP(t.Context(), UDPConfig{Remotes: []netip.AddrPort{portOf(peer)}, MaxPacket: 1768, Counters: counters, Log: l.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.WritePackets(texts("hello", 1))
	buf := make([]byte, 100)
	peer.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, from, err := peer.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		peer.WriteToUDPAddrPort([]byte("hello"), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		gather(t, u, 1)
	}
	if u.connected.Load() {
		t.Error("the kernel knows the peer")
	}
}
