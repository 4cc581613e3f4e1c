package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/lab"
	"tmelink/internal/nstest"
	"tmelink/internal/transport"
)

// manyLinks is how many links one process is to hold with ease.
const manyLinks = 1000

// loopbackAddress is an address of loopback's on which nobody else has a port.
func loopbackAddress() netip.Addr {
	n := rand.Uint32()
	return netip.AddrFrom4([4]byte{127, byte(64 + n>>24&63), byte(n >> 8), byte(1 + n%254)})
}

// linksOnASwitch describes n links, whose ports are 20000 and on, joined by a
// switch. The first ones have the remotes given, all others the last of them.
func linksOnASwitch(n int, local netip.Addr, remotes ...netip.AddrPort) string {
	var text strings.Builder
	text.WriteString("sw0: tme/generic/switch\n")
	for i := range n {
		remote := remotes[min(i, len(remotes)-1)]
		fmt.Fprintf(&text, "link%d at sw0: tme/host/openvpn/socket/link --dev tap --local %v --lport %d --remote %v %d\n",
			i, local, 20000+i, remote.Addr(), remote.Port())
	}
	return text.String()
}

// built says whether the test binary was built with an option of the go command.
func built(option string) bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == option && s.Value == "true" })
}

// resident is the memory that a process holds, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes int
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		t.Fatalf("%v in\n%s", err, status)
	}
	return kilobytes << 10
}

// processorTime is what a process has used of the processors.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // behind the name; proc(5)
	fields := strings.Fields(rest)
	var user, system time.Duration
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatalf("%v in %s", err, stat)
	}
	const tick = 10 * time.Millisecond // USER_HZ
	return (user + system) * tick
}

// TestManyLinks runs a thousand idle links in one process and carries frames
// between two of them.
func TestManyLinks(t *testing.T) {
	local := loopbackAddress()
	socket := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	at := func(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }
	a, b, nobody := socket(), socket(), socket() // the last one reads nothing
	file := write(t, "m.tme", linksOnASwitch(manyLinks, local, at(a), at(b), at(nobody)))

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Max < manyLinks+100 {
		t.Skipf("skipped: the host allows only %d descriptors, %v", limit.Max, err)
	}
	// As on most systems the limit of descriptors is too low at first.
	began := time.Now()
	p := nstest.Start(t, "sh", "-c", `ulimit -Sn 256 && exec tmelink run "$0"`, file)
	p.Expect(t, "m: up after", 60*time.Second)
	took := time.Since(began)
	used, memory := processorTime(t, p.Cmd.Process.Pid), resident(t, p.Cmd.Process.Pid)
	t.Logf("%d links were up after %v, took %v of the processors, and hold %.1f MB",
		manyLinks, took.Round(time.Millisecond), used, float64(memory)/1e6)
	// On a busy machine all takes longer, but not more of the processors.
	if !built("-race") && (used > 2*time.Second || took > 20*time.Second) {
		t.Errorf("it took too much: want 2s of the processors, and far less than 20s")
	}
	if !built("-race") && memory > 100e6 {
		t.Errorf("the process holds %d bytes, want 100 MB", memory)
	}

	macA, macB := ethernet.Addr{2, 0, 0, 0, 0, 0xa}, ethernet.Addr{2, 0, 0, 0, 0, 0xb}
	buf := make([]byte, 2000)
	carries := func(from, to *net.UDPConn, link uint16, dst, src ethernet.Addr, text string) {
		t.Helper()
		frame := append(append(append(dst[:], src[:]...), 0x88, 0xb5), text...)
		if _, err := from.WriteToUDPAddrPort(frame, netip.AddrPortFrom(local, 20000+link)); err != nil {
			t.Fatal(err)
		}
		to.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, _, err := to.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:n]) != string(frame) {
			t.Fatalf("%q: came %q, %v", text, buf[:n], err)
		}
	}
	for i := range 20 {
		carries(a, b, 0, macB, macA, fmt.Sprintf("there %d", i)) // the first one goes to all
		carries(b, a, 1, macA, macB, fmt.Sprintf("back %d", i))
	}
	if after := resident(t, p.Cmd.Process.Pid); !built("-race") && after > 100e6 {
		t.Errorf("after some frames the process holds %d bytes, want 100 MB", after)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
}

// BenchmarkOneOfManyLinks carries frames from one link to another of a switch on
// which there are no more links, or many.
func BenchmarkOneOfManyLinks(b *testing.B) {
	for _, n := range []int{2, manyLinks} {
		b.Run(fmt.Sprintf("%d links", n), func(b *testing.B) { benchmarkLinks(b, n) })
	}
}

func benchmarkLinks(b *testing.B, links int) {
	local := loopbackAddress()
	peer := func(link uint16) *transport.UDP {
		u, err := transport.OpenUDP(b.Context(), transport.UDPConfig{
			Local: netip.AddrPortFrom(local, 0), Remotes: []netip.AddrPort{netip.AddrPortFrom(local, 20000+link)},
			MaxPacket: 2000, Counters: &ethernet.Counters{}, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { u.Close() })
		return u
	}
	from, to := peer(0), peer(1)
	nobody := peer(2)
	text := linksOnASwitch(links, local, from.Local(), to.Local(), nobody.Local())
	l, _, faults := lab.Load([]string{"m.tme"}, func(string) ([]byte, error) { return []byte(text), nil }, quiet.logger, quiet.level)
	if len(faults) > 0 {
		b.Fatal(faults)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	progress := &nstest.Buffer{}
	go func() { ended <- l.Run(ctx, lab.Options{Output: io.Discard, Progress: progress}) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	if !nstest.Eventually(60*time.Second, func() bool { return strings.Contains(progress.String(), "up after") }) {
		b.Fatal("not up: ", progress)
	}

	stuck := time.AfterFunc(20*time.Second, func() { from.Close(); to.Close() })
	defer stuck.Stop()
	carry := func(from, to *transport.UDP, batch [][]byte) {
		stuck.Reset(20 * time.Second)
		if err := from.WritePackets(batch); err != nil {
			b.Fatal(err)
		}
		for n := 0; n < len(batch); {
			packets, err := to.ReadPackets()
			if err != nil {
				b.Fatalf("after %d of %d frames: %v", n, len(batch), err)
			}
			n += len(packets)
		}
	}
	macA, macB := ethernet.Addr{2, 0, 0, 0, 0, 0xa}, ethernet.Addr{2, 0, 0, 0, 0, 0xb}
	batch := make([][]byte, 64)
	for i := range batch {
		batch[i] = append(append(append(append([]byte(nil), macB[:]...), macA[:]...), 0x88, 0xb5), make([]byte, 86)...)
	}
	back := append(append(append(append([]byte(nil), macA[:]...), macB[:]...), 0x88, 0xb5), make([]byte, 86)...)
	carry(from, to, batch[:1]) // the switch learns where both are
	carry(to, from, [][]byte{back})
	b.ReportAllocs()
	for b.Loop() {
		carry(from, to, batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/frame")
}
