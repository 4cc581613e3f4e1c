package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	loopback  = netip.MustParseAddrPort("127.0.0.1:0")
	loopback6 = netip.MustParseAddrPort("[::1]:0")
)

// log collects what is logged.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) has(text string) bool { return l.count(text) > 0 }

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func openUDP(t testing.TB, c UDPConfig) (*UDP, *ethernet.Counters, *log) {
	t.Helper()
	l := &log{}
	c.Counters, c.Log = &ethernet.Counters{}, l.logger()
	if c.MaxPacket == 0 {
		c.MaxPacket = 1768
	}
	if !c.Local.IsValid() {
		c.Local = loopback
	}
	u, err := OpenUDP(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u, c.Counters, l
}

// plain is a socket that knows nothing of packets.
func plain(t testing.TB, local string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func portOf(c *net.UDPConn) netip.AddrPort {
	p := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// gather reads from a Conn until n packets are there, and gives copies.
func gather(t testing.TB, c Conn, n int) []string {
	t.Helper()
	stop := time.AfterFunc(10*time.Second, func() { c.Close() })
	defer stop.Stop()
	var all []string
	for len(all) < n {
		packets, err := c.ReadPackets()
		if err != nil {
			t.Fatalf("after %d of %d packets: %v", len(all), n, err)
		}
		for _, p := range packets {
			all = append(all, string(p))
		}
	}
	return all
}

func texts(format string, n int) (out [][]byte) {
	for i := range n {
		out = append(out, fmt.Appendf(nil, format, i))
	}
	return out
}

func receive(t testing.TB, c *net.UDPConn) string {
	t.Helper()
	buf := make([]byte, 4000)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestUDPCarriesBatches(t *testing.T) {
	for name, local := range map[string]netip.AddrPort{"IPv4": loopback, "IPv6": loopback6} {
		t.Run(name, func(t *testing.T) {
			a, _, _ := openUDP(t, UDPConfig{Local: local})
			b, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{a.Local()}})
			if err := b.WritePackets(append(texts("packet %d", 150), nil)); err != nil {
				t.Fatal(err)
			}
			for i, got := range gather(t, a, 150) {
				if want := fmt.Sprintf("packet %d", i); got != want {
					t.Fatalf("packet %d is %q", i, got)
				}
			}
			if a.Peer() != b.Local() {
				t.Fatalf("peer %v, want %v", a.Peer(), b.Local())
			}
			if err := a.WritePackets(texts("answer %d", 1)); err != nil {
				t.Fatal(err)
			}
			if err := a.Send([]byte("beside"), netip.AddrPort{}); err != nil {
				t.Fatal(err)
			}
			if got := gather(t, b, 2); got[0] != "answer 0" || got[1] != "beside" {
				t.Fatalf("got %q", got)
			}
		})
	}
}

func TestUDPFloatingPeer(t *testing.T) {
	u, counters, l := openUDP(t, UDPConfig{})
	if err := u.WritePackets(texts("lost %d", 3)); err != nil || counters.Write.Count(ethernet.NoPeer) != 3 {
		t.Fatalf("without a peer: %v, %d counted", err, counters.Write.Count(ethernet.NoPeer))
	}
	if err := u.Send([]byte("x"), netip.AddrPort{}); err != ErrNoPeer || u.Peer().IsValid() {
		t.Fatalf("without a peer: %v, peer %v", err, u.Peer())
	}
	first, second := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.2:0")
	for _, peer := range []*net.UDPConn{first, second, first} {
		peer.WriteToUDPAddrPort([]byte("hello"), u.Local())
		gather(t, u, 1)
		if u.Peer() != portOf(peer) {
			t.Fatalf("peer %v, want %v", u.Peer(), portOf(peer))
		}
		u.WritePackets(texts("to you", 1))
		if got := receive(t, peer); !strings.HasPrefix(got, "to you") {
			t.Fatalf("got %q", got)
		}
	}
	if !l.has("peer has changed") || !l.has(portOf(second).String()) {
		t.Error("the change is not logged")
	}
}

func TestUDPFixedPeerHearsNobodyElse(t *testing.T) {
	peer, stranger := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	u, counters, l := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{portOf(peer)}})
	for range 5 {
		stranger.WriteToUDPAddrPort([]byte("evil"), u.Local())
	}
	peer.WriteToUDPAddrPort([]byte("good"), u.Local())
	stranger.WriteToUDPAddrPort([]byte("evil"), u.Local())
	peer.WriteToUDPAddrPort([]byte("good again"), u.Local())
	if got := gather(t, u, 2); got[0] != "good" || got[1] != "good again" {
		t.Fatalf("got %q", got)
	}
	if n := counters.Read.Count(ethernet.Stranger); n != 6 {
		t.Errorf("%d strangers counted, want 6", n)
	}
	if u.Peer() != portOf(peer) || !l.has(portOf(stranger).String()) {
		t.Errorf("peer %v; the stranger is not logged: %s", u.Peer(), l.b.String())
	}
}

func TestUDPFloatFollowsThePeer(t *testing.T) {
	first, second := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	u, counters, _ := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{portOf(first)}, Float: true})
	u.WritePackets(texts("first", 1))
	receive(t, first)
	second.WriteToUDPAddrPort([]byte("moved"), u.Local())
	gather(t, u, 1)
	u.WritePackets(texts("second", 1))
	receive(t, second)
	if counters.Read.Total() != 0 {
		t.Error("something was dropped")
	}
}

func TestUDPAnyOfSeveralAddressesIsThePeer(t *testing.T) {
	first, second := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.2:0")
	u, _, _ := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{portOf(first), portOf(second)}})
	second.WriteToUDPAddrPort([]byte("here"), u.Local())
	gather(t, u, 1)
	u.WritePackets(texts("second", 1))
	receive(t, second)
}

func TestUDPDropsEmptyAndLongDatagrams(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	u, counters, _ := openUDP(t, UDPConfig{MaxPacket: 100})
	stranger := plain(t, "127.0.0.1:0")
	for _, size := range []int{0, 100, 101, 5000, 1} {
		peer.WriteToUDPAddrPort(make([]byte, size), u.Local())
		stranger.WriteToUDPAddrPort(nil, u.Local())
	}
	if got := gather(t, u, 2); len(got[0]) != 100 || len(got[1]) != 1 {
		t.Fatalf("got %d and %d bytes", len(got[0]), len(got[1]))
	}
	if !nstest.Eventually(5*time.Second, func() bool { return counters.Read.Count(ethernet.Runt) >= 5 }) ||
		counters.Read.Count(ethernet.Oversize) != 2 {
		t.Errorf("%d runts and %d oversize", counters.Read.Count(ethernet.Runt), counters.Read.Count(ethernet.Oversize))
	}
	if u.Peer() != portOf(peer) {
		t.Errorf("an empty datagram has made %v the peer", u.Peer())
	}
}

func TestUDPSurvivesRefusal(t *testing.T) {
	dead := plain(t, "127.0.0.1:0")
	addr := portOf(dead)
	dead.Close()
	u, _, _ := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{addr}})
	for range 10 {
		if err := u.WritePackets(texts("to nobody %d", 3)); err != nil {
			t.Fatal(err)
		}
	}
	back := plain(t, addr.String())
	back.WriteToUDPAddrPort([]byte("back"), u.Local())
	if got := gather(t, u, 1); got[0] != "back" {
		t.Fatalf("got %q", got)
	}
	u.WritePackets(texts("welcome", 1))
	receive(t, back)
}

func TestUDPCountsWhatTheKernelRefuses(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	u, counters, l := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{portOf(peer)}})
	if err := u.WritePackets([][]byte{[]byte("one"), make([]byte, 65600), []byte("two")}); err != nil {
		t.Fatal(err)
	}
	if receive(t, peer) != "one" || receive(t, peer) != "two" {
		t.Error("a refused datagram has taken others with it")
	}
	if counters.Write.Count(ethernet.SendFailed) != 1 || !l.has("refuses") {
		t.Errorf("%d counted", counters.Write.Count(ethernet.SendFailed))
	}
}

func TestBindErrorsSayWhatToDo(t *testing.T) {
	taken, _, _ := openUDP(t, UDPConfig{})
	_, err := OpenUDP(context.Background(), UDPConfig{Local: taken.Local(), MaxPacket: 100})
	checkBind(t, err, "listen on udp "+taken.Local().String()+": address already in use", "--lport")
	_, err = OpenUDP(context.Background(), UDPConfig{Local: netip.MustParseAddrPort("192.0.2.1:1194"), MaxPacket: 100})
	checkBind(t, err, "listen on udp 192.0.2.1:1194: cannot assign requested address", "--local")

	l := listen(t, ListenConfig{})
	_, err = Listen(context.Background(), ListenConfig{TCPConfig: TCPConfig{Local: l.Local()}})
	checkBind(t, err, "listen on tcp "+l.Local().String()+": address already in use", "--lport")
	_, err = Dial(context.Background(), TCPConfig{MaxPacket: 100}, []Route{{Local: netip.MustParseAddrPort("192.0.2.1:1194"), To: l.Local()}}, time.Second)
	checkBind(t, err, "connect from tcp 192.0.2.1:1194: cannot assign requested address", "--local")
}

func checkBind(t *testing.T, err error, begin, advice string) {
	t.Helper()
	var bind *BindError
	if !errors.As(err, &bind) || !strings.HasPrefix(err.Error(), begin) || !strings.Contains(err.Error(), advice) {
		t.Errorf("%v (%T): want %q and %q", err, err, begin, advice)
	}
}

func TestCloseWakesReaders(t *testing.T) {
	u, _, _ := openUDP(t, UDPConfig{})
	a, b := tcpPair(t)
	for _, c := range []Conn{u, a, b} {
		done := make(chan error)
		go func() {
			_, err := c.ReadPackets()
			done <- err
		}()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			// A TCP reader may see the other end's close before its own.
			if c == Conn(u) && err != net.ErrClosed {
				t.Errorf("%T: %v", c, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%T: the reader still waits", c)
		}
		if err := c.WritePackets(texts("x", 1)); c == Conn(u) && err != nil {
			t.Errorf("a floating socket writes nowhere: %v", err)
		} else if c != Conn(u) && err != net.ErrClosed {
			t.Errorf("%T: write after close: %v", c, err)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		address, sender string
		want            bool
	}{
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"fe80::1%eth0", "fe80::1%eth0", true},
		{"fe80::1%eth0", "fe80::1%eth1", false},
		{"fe80::1", "fe80::1%eth1", true},
		{"fe80::1", "fe80::2%eth1", false},
	} {
		if got := Matches(netip.MustParseAddr(c.address), netip.MustParseAddr(c.sender)); got != c.want {
			t.Errorf("%s, %s: %v", c.address, c.sender, got)
		}
	}
}
