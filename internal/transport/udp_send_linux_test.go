package transport

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// message is what one call brings of a socket with UDP_GRO: bytes long, joined of
// datagrams of a size, which is 0 where it is a datagram by itself.
type message struct{ bytes, size int }

// joining makes a socket that receives joined datagrams as they are.
func joining(t *testing.T, local string) *net.UDPConn {
	t.Helper()
	c := plain(t, local)
	control(t, c, func(fd int) {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
			t.Skip("skipped: this kernel joins no datagrams:", err)
		}
	})
	return c
}

// messages reads until so many bytes are there.
func messages(t *testing.T, c *net.UDPConn, bytes int) (all []message) {
	t.Helper()
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for bytes > 0 {
		n, noob, _, _, err := c.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			t.Fatalf("after %v, %d bytes before the end: %v", all, bytes, err)
		}
		m := message{bytes: n}
		controls, err := unix.ParseSocketControlMessage(oob[:noob])
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range controls {
			if c.Header.Level == unix.IPPROTO_UDP && c.Header.Type == unix.UDP_GRO {
				m.size = int(binary.NativeEndian.Uint32(c.Data))
			}
		}
		all = append(all, m)
		bytes -= n
	}
	return all
}

func sum(sizes []int) (n int) {
	for _, s := range sizes {
		n += s
	}
	return n
}

// TestUDPGroups: equal packets go through the kernel as one, which loopback does
// not cut.
func TestUDPGroups(t *testing.T) {
	for name, c := range map[string]struct {
		sizes []int
		want  []message
	}{
		"one":                     {[]int{700}, []message{{700, 0}}},
		"two":                     {same(2, 700), []message{{1400, 700}}},
		"a shorter last one":      {join(same(10, 1400), []int{300}), []message{{14300, 1400}}},
		"and behind it":           {[]int{1400, 1400, 300, 300, 1400}, []message{{3100, 1400}, {300, 0}, {1400, 0}}},
		"growing":                 {[]int{60, 1400, 1400}, []message{{60, 0}, {2800, 1400}}},
		"64 at the most":          {same(130, 100), []message{{6400, 100}, {6400, 100}, {200, 100}}},
		"65507 bytes at the most": {same(64, 1464), []message{{44 * 1464, 1464}, {20 * 1464, 1464}}},
		"empty ones between":      {[]int{0, 1400, 1400, 0, 1400, 1400}, []message{{2800, 1400}, {2800, 1400}}},
		"two of half a packet":    {[]int{32000, 32000, 32000}, []message{{64000, 32000}, {32000, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			receiver := joining(t, "127.0.0.1:0")
			for _, contiguous := range []bool{true, false} {
				packets := packetsOf(c.sizes, contiguous)
				for _, settled := range []bool{false, true} {
					u, _, _ := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{portOf(receiver)}})
					if settled {
						receiver.WriteToUDPAddrPort([]byte("hello"), u.Local())
						gather(t, u, 1)
					}
					u.WritePackets(packets)
					if got := messages(t, receiver, sum(c.sizes)); !slices.Equal(got, c.want) {
						t.Errorf("contiguous %v, settled %v: they go as %v, want %v", contiguous, settled, got, c.want)
					}
				}
			}
			u, _, _ := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{portOf(receiver)}, Plain: true})
			u.WritePackets(packetsOf(c.sizes, true))
			for i, m := range messages(t, receiver, sum(c.sizes)) {
				if m.size != 0 {
					t.Errorf("plain: message %d is joined of packets of %d bytes", i, m.size)
				}
			}
		})
	}
}

// TestPlainUDP: the kernel is not asked to join datagrams either.
func TestPlainUDP(t *testing.T) {
	for _, asked := range []bool{false, true} {
		u, _, _ := openUDP(t, UDPConfig{Plain: !asked})
		control(t, u.conn, func(fd int) {
			got, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO)
			if err != nil {
				t.Skip("skipped: this kernel does not tell:", err) // before 5.12
			}
			if (got == 1) != asked || u.joined != asked {
				t.Errorf("plain %v: UDP_GRO is %d, and joined datagrams are expected: %v", !asked, got, u.joined)
			}
		})
	}
}

// TestUDPGroupsThatDoNotFitThePath: the kernel sends long packets in fragments,
// but not groups of them.
func TestUDPGroupsThatDoNotFitThePath(t *testing.T) {
	ownNamespace(t)
	run(t, "ip link set lo mtu 1500")
	for _, local := range []string{"127.0.0.1:0", "[::1]:0"} {
		receiver := joining(t, local)
		u, counters, _ := openUDP(t, UDPConfig{Local: netip.MustParseAddrPort(local), Remotes: []netip.AddrPort{portOf(receiver)}})
		singly := func(n, size int) (all []message) {
			for range n {
				all = append(all, message{size, 0})
			}
			return all
		}
		step := func(what string, sizes []int, want []message, limit int) {
			t.Helper()
			u.WritePackets(packetsOf(sizes, true))
			if got := messages(t, receiver, sum(sizes)); !slices.Equal(got, want) {
				t.Errorf("%s, %s: they go as %v, want %v", local, what, got, want)
			}
			if u.tx.groupSize != limit {
				t.Errorf("%s, %s: packets of up to %d bytes go in groups, want %d", local, what, u.tx.groupSize, limit)
			}
		}
		// The group stands between others, which are not sent twice.
		step("too long", join(same(3, 1000), same(10, 1600), []int{700}, same(3, 1000)),
			slices.Concat([]message{{3000, 1000}}, singly(10, 1600), []message{{700, 0}, {3000, 1000}}), 1599)
		step("long ones again", same(4, 1600), singly(4, 1600), 1599)
		step("shorter ones", join(same(10, 1400), []int{30}), []message{{14030, 1400}}, 1599)
		step("between", same(2, 1560), singly(2, 1560), 1559)
		run(t, "ip link set lo mtu 65536")
		step("before they are tried again", same(4, 1600), singly(4, 1600), 1559)
		u.tx.groupAgain = time.Now().Add(-time.Second)
		step("after a while", same(4, 1600), []message{{6400, 1600}}, maxDatagram)
		run(t, "ip link set lo mtu 1500")
		step("and the old way", same(4, 1600), singly(4, 1600), 1599)
		if n := counters.Write.Total(); n != 0 {
			t.Errorf("%s: %d packets are counted as not sent", local, n)
		}
	}
}

// TestUDPGroupsThatTheKernelRefuses takes sockets that the kernel does not send
// groups by: of UDP-Lite with EIO, as where the way has IPsec on it, and those
// without checksums with EINVAL.
func TestUDPGroupsThatTheKernelRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		protocol int
		checksum bool
		limit    int
	}{
		"EIO":    {unix.IPPROTO_UDPLITE, true, 0},
		"EINVAL": {unix.IPPROTO_UDP, false, 1399},
	} {
		t.Run(name, func(t *testing.T) {
			receiver, sender := socketOf(t, c.protocol), socketOf(t, c.protocol)
			u, counters, _ := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{portOf(receiver)}})
			u.conn.Close()
			u.conn = sender
			u.raw, _ = sender.SyscallConn()
			if !c.checksum {
				control(t, sender, func(fd int) {
					if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
						t.Fatal(err)
					}
				})
			}
			packets := packetsOf(join([]int{50}, same(10, 1400), []int{300}), false)
			for range 2 {
				u.WritePackets(packets)
				compare(t, takePlain(t, receiver, len(packets)), packets)
			}
			if u.tx.groupSize != c.limit || u.tx.groupAgain.Before(time.Now()) {
				t.Errorf("packets of up to %d bytes go in groups, want %d; until %v", u.tx.groupSize, c.limit, u.tx.groupAgain)
			}
			if n := counters.Write.Total(); n != 0 {
				t.Errorf("%d packets are counted as not sent", n)
			}
		})
	}
}

// socketOf makes a datagram socket of a protocol on loopback.
func socketOf(t *testing.T, protocol int) *net.UDPConn {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		t.Skip("skipped: this kernel has no such socket:", err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// TestUDPCountsEachOfARefusedGroup has a group go where there is no way.
func TestUDPCountsEachOfARefusedGroup(t *testing.T) {
	ownNamespace(t)
	u, counters, l := openUDP(t, UDPConfig{
		Local: netip.MustParseAddrPort("0.0.0.0:0"), Remotes: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:9")},
	})
	if err := u.WritePackets(packetsOf(join(same(10, 500), []int{0}, same(3, 700)), false)); err != nil {
		t.Fatal(err)
	}
	if n := counters.Write.Count(ethernet.SendFailed); n != 13 || counters.Write.Total() != 13 {
		t.Errorf("%d packets counted of %d, want 13", n, counters.Write.Total())
	}
	if !l.has("network is unreachable") {
		t.Errorf("the log does not say why: %s", l.b.String())
	}
	run(t, "ip addr add 192.0.2.1/32 dev lo")
	receiver := plain(t, "192.0.2.1:9")
	packets := packetsOf(same(10, 500), false)
	u.WritePackets(packets)
	compare(t, takePlain(t, receiver, len(packets)), packets)
}

func TestUngroup(t *testing.T) {
	for errno, c := range map[unix.Errno]struct {
		again bool
		limit int
	}{
		unix.EMSGSIZE:     {true, 999},
		unix.EINVAL:       {true, 999},
		unix.EIO:          {true, 0},
		unix.EOPNOTSUPP:   {true, 0},
		unix.ENOBUFS:      {false, maxDatagram},
		unix.ECONNREFUSED: {false, maxDatagram},
	} {
		s := sender{groupSize: maxDatagram, batch: new(sendBatch)}
		binary.NativeEndian.PutUint16(s.batch.control[0].data[:], 1000)
		if again := s.ungroup(errno); again != c.again || s.groupSize != c.limit || s.groupAgain.IsZero() == again {
			t.Errorf("%v: sent again %v, then groups of up to %d until %v; want %v, %d", errno, again, s.groupSize, s.groupAgain, c.again, c.limit)
		}
	}
}

func TestGatherPieces(t *testing.T) {
	arena := make([]byte, 100)
	for name, c := range map[string]struct {
		packets [][]byte
		room    int
		want    gathered
		lengths []int
	}{
		"one behind the other": {[][]byte{arena[:10], arena[10:20], arena[20:25]}, 3, gathered{3, 1}, []int{25}},
		"scattered":            {[][]byte{arena[:10], arena[11:20], arena[20:25]}, 3, gathered{3, 2}, []int{10, 14}},
		"backwards":            {[][]byte{arena[10:20], arena[:10]}, 3, gathered{2, 2}, []int{10, 10}},
		"no room for the last": {[][]byte{arena[:10], arena[11:20], arena[20:25], arena[50:51]}, 2, gathered{3, 2}, []int{10, 14}},
	} {
		t.Run(name, func(t *testing.T) {
			iovs := make([]unix.Iovec, c.room)
			if got := gatherPieces(iovs, c.packets); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			var lengths []int
			for _, v := range iovs[:c.want.pieces] {
				lengths = append(lengths, int(v.Len))
			}
			if fmt.Sprint(lengths) != fmt.Sprint(c.lengths) {
				t.Errorf("pieces of %v, want %v", lengths, c.lengths)
			}
		})
	}
}

// TestUDPFullQueueOnTheWay: what a queue of the host has no room for is counted,
// and nothing is sent twice for it.
func TestUDPFullQueueOnTheWay(t *testing.T) {
	ownNamespace(t)
	run(t, "tc qdisc add dev lo root tbf rate 1mbit burst 4000 limit 60000")
	receiver := plain(t, "127.0.0.1:0")
	u, counters, _ := openUDP(t, UDPConfig{Local: loopback, Remotes: []netip.AddrPort{portOf(receiver)}})
	const n = 400
	packets := make([][]byte, n)
	for i := range packets {
		packets[i] = binary.BigEndian.AppendUint32(make([]byte, 0, 1000), uint32(i))[:1000-i/40] // groups of 40
	}
	if err := u.WritePackets(packets); err != nil {
		t.Fatal(err)
	}
	refused := int(counters.Write.Count(ethernet.SendFailed))
	if refused == 0 || refused >= n {
		t.Errorf("%d of %d packets are counted as refused", refused, n)
	}
	seen := make([]int, n)
	buf := make([]byte, 2000)
	receiver.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	for {
		if _, err := receiver.Read(buf); err != nil {
			break
		}
		seen[binary.BigEndian.Uint32(buf)]++
	}
	for i, times := range seen {
		if times > 1 {
			t.Errorf("packet %d came %d times", i, times)
		}
	}
}
