package link

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
	"tmelink/internal/transport"
)

const (
	ping       = "\x2a\x18\x7b\xf3\x64\x1e\xb4\xcb\x07\xed\x2d\x0a\x98\x1f\xc7\x48"
	occRequest = "\x28\x7f\x34\x6b\xd4\xef\x7a\x81\x2d\x56\xb8\xd3\xaf\xc5\x45\x9c\x00"
)

func TestUDPLinksCarryFramesBothWays(t *testing.T) {
	floating := start(t, "--dev tap --local 127.0.0.1 --lport 0")
	fixed := start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d", floating.local().Port()))
	fixed.write(series(100)...)
	floating.expectSeries(100)
	floating.write(series(100)...)
	fixed.expectSeries(100)
	if n := floating.port.Counters().Read.Total() + fixed.port.Counters().Read.Total(); n != 0 {
		t.Errorf("%d dropped", n)
	}
	if !strings.Contains(floating.status(), fixed.local().String()) || !strings.Contains(floating.log.String(), "peer="+fixed.local().String()) {
		t.Errorf("the peer is not told: %s; log:\n%s", floating.status(), floating.log)
	}
	if _, waits := floating.elem.(element.Waiter); waits {
		t.Error("a machine would wait for a UDP link")
	}
}

func TestUDPOverIPv6AndByInterfaceName(t *testing.T) {
	a := start(t, "--local ::1 --lport 0 --proto udp6")
	b := start(t, fmt.Sprintf("--nobind --proto udp6 --remote ::1 %d", a.local().Port()))
	b.write(series(3)...)
	a.expectSeries(3)
	c := start(t, "--local lo --lport 0 --proto udp4")
	d := start(t, fmt.Sprintf("--nobind --remote 127.0.0.1 %d", c.local().Port()))
	d.write(series(3)...)
	c.expectSeries(3)
	c.write(series(3)...)
	d.expectSeries(3)
}

func TestFloatingLinkWithoutPeerDropsAndCounts(t *testing.T) {
	l := start(t, "--local 127.0.0.1 --lport 0 --ping 1 --ping-restart 2")
	l.write(series(5)...)
	if n := l.port.Counters().Write.Count(ethernet.NoPeer); n != 5 {
		t.Errorf("%d counted, want 5", n)
	}
	if !strings.Contains(l.status(), "not known yet") {
		t.Errorf("status %q", l.status())
	}
}

func TestControlMessagesNeverReachTheMachine(t *testing.T) {
	peer := socket(t, "127.0.0.1:0")
	l := start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d --ifconfig 10.9.8.7 255.255.0.0", portOf(peer.LocalAddr())))
	to := net.UDPAddrFromAddrPort(l.local())
	for _, packet := range []string{ping, occRequest, "short", string(make([]byte, 1523)), string(make([]byte, 4000)), string(numbered(0))} {
		peer.WriteToUDP([]byte(packet), to)
	}
	l.expectSeries(1)
	if got, want := receive(peer, patience), occRequest[:16]+"\x01V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto UDPv4,ifconfig 10.9.0.0 255.255.0.0\x00"; got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
	drops := &l.port.Counters().Read
	if drops.Count(ethernet.Control) != 2 || drops.Count(ethernet.Runt) != 1 || drops.Count(ethernet.Oversize) != 2 || drops.Total() != 5 {
		t.Errorf("control %d, runt %d, oversize %d", drops.Count(ethernet.Control), drops.Count(ethernet.Runt), drops.Count(ethernet.Oversize))
	}
	if got := receive(peer, 1500*time.Millisecond); got != "" {
		t.Errorf("sent unasked: %x", got)
	}
}

func TestPingsAreSentWhenAsked(t *testing.T) {
	peer := socket(t, "127.0.0.1:0")
	start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --ping 1 --remote 127.0.0.1 %d", portOf(peer.LocalAddr())))
	for range 2 {
		if got := receive(peer, patience); got != ping {
			t.Fatalf("got %x", got)
		}
	}
}

func TestStrangersAreDropped(t *testing.T) {
	peer, stranger := socket(t, "127.0.0.1:0"), socket(t, "127.0.0.2:0")
	l := start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d", portOf(peer.LocalAddr())))
	to := net.UDPAddrFromAddrPort(l.local())
	stranger.WriteToUDP(numbered(7), to)
	peer.WriteToUDP(numbered(0), to)
	l.expectSeries(1)
	if n := l.port.Counters().Read.Count(ethernet.Stranger); n != 1 {
		t.Errorf("%d counted, want 1", n)
	}
}

func TestPingRestartMovesToTheNextRemote(t *testing.T) {
	first, second := socket(t, "127.0.0.1:0"), socket(t, "127.0.0.2:0")
	l := start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --ping 1 --ping-restart 1 --connect-retry 0 --remote 127.0.0.1 %d --remote 127.0.0.2 %d",
		portOf(first.LocalAddr()), portOf(second.LocalAddr())))
	if receive(first, patience) != ping || receive(second, patience) != ping {
		t.Fatal("both should be pinged, one after the other")
	}
	if !strings.Contains(l.log.String(), "silent") {
		t.Errorf("the log does not say why:\n%s", l.log)
	}
	// The second is there: it is kept, also beyond a restart.
	before := strings.Count(l.log.String(), "link is open")
	deadline := time.Now().Add(2500 * time.Millisecond)
	for time.Now().Before(deadline) {
		second.WriteToUDP([]byte(ping), net.UDPAddrFromAddrPort(l.local()))
		receive(second, 200*time.Millisecond)
	}
	if now := strings.Count(l.log.String(), "link is open"); now > before+1 {
		t.Errorf("%d restarts although the peer is heard", now-before)
	}
	if !strings.Contains(l.status(), "peer "+second.LocalAddr().String()) {
		t.Errorf("status %q, want peer %v", l.status(), second.LocalAddr())
	}
}

func TestPingsHoldALink(t *testing.T) {
	a := start(t, "--local 127.0.0.1 --lport 0 --ping-restart 2 --ping-timer-rem")
	b := start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d --ping 1", a.local().Port()))
	eventually(t, "pings", func() bool { return a.port.Counters().Read.Count(ethernet.Control) >= 4 })
	if strings.Contains(a.log.String(), "lost") || len(a.got())+len(b.got()) > 0 {
		t.Errorf("log:\n%s", a.log)
	}
}

func TestStartErrorsNameTheThing(t *testing.T) {
	taken := socket(t, "127.0.0.1:0")
	for text, want := range map[string]string{
		fmt.Sprintf("--local 127.0.0.1 --lport %d", portOf(taken.LocalAddr())): "listen on udp " + taken.LocalAddr().String() + ": address already in use",
		"--local 192.0.2.1":                       "listen on udp 192.0.2.1:1194: cannot assign requested address",
		"--local 192.0.2.1 --proto tcp-server":    "listen on tcp 192.0.2.1:1194: cannot assign requested address",
		"--local 127.0.0.1 --remote peer.invalid": `--remote: resolve "peer.invalid"`,
		"--local nowhere.invalid":                 `--local: no interface is named "nowhere.invalid", and no host: resolve`,
	} {
		l := build(t, text)
		err := l.elem.Start(context.Background())
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
		l.elem.Close()
	}
}

func TestStartWithoutAnAddressOfTheLocalFamily(t *testing.T) {
	l := build(t, "--local 127.0.0.1 --remote peer")
	l.elem.(*Link).names = fakeNames(map[string][]string{"peer": {"::1"}})
	const want = "--remote: peer has addresses ([::1]), but none of the family of --local"
	if err := l.elem.Start(context.Background()); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestStartTriesEveryRemote(t *testing.T) {
	peer := socket(t, "127.0.0.1:0")
	l := start(t, fmt.Sprintf("--nobind --remote peer.invalid --remote 127.0.0.1 %d --ping 1", portOf(peer.LocalAddr())))
	if got := receive(peer, patience); got != ping {
		t.Fatalf("got %q; log:\n%s", got, l.log)
	}
}

func TestCloseWithoutStartAndTwice(t *testing.T) {
	for _, text := range []string{"--local 127.0.0.1", "--local 127.0.0.1 --proto tcp-server"} {
		l := build(t, text)
		l.elem.Close()
		l.port.Close()
		l.elem.Close()
		if _, err := l.port.ReadFrames(); err != net.ErrClosed {
			t.Errorf("read: %v", err)
		}
		if err := l.port.WriteFrames([]ethernet.Frame{{Data: numbered(0)}}); err != net.ErrClosed {
			t.Errorf("write: %v", err)
		}
	}
}

func TestClaims(t *testing.T) {
	for text, want := range map[string]string{
		"--local 127.0.0.1":                                       "[udp 127.0.0.1 port 1194]",
		"--local eth0 --lport 5 --proto tcp-server":               "[tcp eth0 port 5]",
		"--local 127.0.0.1 --proto tcp-client --remote 127.0.0.1": "[tcp 127.0.0.1 port 1194]",
		"--nobind --remote a":                                     "[]",
		"--local 127.0.0.1 --lport 0":                             "[]",
	} {
		if text == "--local 127.0.0.1 --proto tcp-client --remote 127.0.0.1" {
			text += " 1195"
		}
		l := build(t, text)
		claims := l.elem.(element.Claimer).Claims()
		if got := fmt.Sprint(claims); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if len(claims) > 0 && claims[0].Pos.Column != 1 {
			t.Errorf("%s: claim at %v", text, claims[0].Pos)
		}
	}
}

func TestWhatClaimsCanBeSharedFor(t *testing.T) {
	dir := keyFolder(t)
	for text, want := range map[string]string{
		"--local a":            "[]",
		"--local a --remote B": "[B port 1194]",
		"--local a --remote B 7 --remote 0:0::1 8 --rport 9":                             "[B port 7 ::1 port 8]",
		"--local a --remote B --float":                                                   "[]",
		"--local a --remote B --float --secret static --cipher AES-256-CBC":              "[B port 1194]",
		"--local a --remote B --proto tcp-server":                                        "[B]",
		"--local a --remote B --proto tcp-client":                                        "nobody",
		"--local a --remote B --socks-proxy C":                                           "nobody",
		"--local a --remote B --sndbuf 1 --rcvbuf 2 --mark 3 --bind-dev d --offload off": "[B port 1194] --sndbuf 1 --rcvbuf 2 --mark 3 --bind-dev d --offload off",
		"--local a --proto tcp-server --offload off --mark 1":                            "[] --mark 1",
	} {
		args, _ := argsOf(text)
		c, err := parse(args, dir)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := "nobody"
		if s := c.sharing(c.ways); s != nil {
			got = strings.TrimSpace(fmt.Sprint(s.Peers, " ", s.Terms))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestConnectionTakesNoWords(t *testing.T) {
	l := build(t, "--local 127.0.0.1")
	if _, err := l.elem.Attach(element.Args{Words: words("promisc")}); err == nil || !strings.HasPrefix(err.Error(), "t:1:1") {
		t.Errorf("got %v", err)
	}
}

func TestUDPLinkAllocatesNothing(t *testing.T) {
	a := build(t, "--local 127.0.0.1 --lport 0 --ping 10 --ping-restart 60")
	if err := a.elem.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	b := build(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d --ping 10 --ping-restart 60", a.local().Port()))
	if err := b.elem.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	checkAllocations(t, b.port, a.port)
}

// checkAllocations sends batches of 32 frames from one port to the other.
func checkAllocations(t *testing.T, from, to ethernet.Port) {
	t.Helper()
	batch := make([]ethernet.Frame, 32)
	data := numbered(1)
	n := testing.AllocsPerRun(100, func() {
		for i := range batch {
			batch[i].Data = data
		}
		if err := from.WriteFrames(batch); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(batch); {
			frames, err := to.ReadFrames()
			if err != nil {
				t.Fatal(err)
			}
			n += len(frames)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for 32 frames", n)
	}
}

func TestMaxFrame(t *testing.T) {
	if got := build(t, "--local 127.0.0.1 --tun-mtu 9000").port.MaxFrame(); got != 9022 {
		t.Errorf("got %d", got)
	}
	if got := build(t, "--local 127.0.0.1").port.MaxFrame(); got != 1522 {
		t.Errorf("got %d", got)
	}
}

func TestLargeFrames(t *testing.T) {
	for _, mtu := range []int{9000, maxMTU} {
		a := start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --tun-mtu %d", mtu))
		b := start(t, fmt.Sprintf("--nobind --remote 127.0.0.1 %d --tun-mtu %d", a.local().Port(), mtu))
		s := start(t, fmt.Sprintf("%s --tun-mtu %d", server, mtu))
		c := start(t, fmt.Sprintf("%s --tun-mtu %d", client(int(s.local().Port())), mtu))
		s.wait()
		c.wait()
		largest := bytes.Repeat([]byte{0xab}, a.port.MaxFrame())
		for _, way := range [][2]*testLink{{b, a}, {a, b}, {c, s}, {s, c}} {
			way[0].write(largest)
			eventually(t, "the frame", func() bool { return len(way[1].got()) == 1 })
			if !bytes.Equal(way[1].got()[0], largest) {
				t.Errorf("MTU %d: the frame has changed", mtu)
			}
		}
	}
}

func TestUDPOverLinkLocalAddresses(t *testing.T) {
	nstest.Need(t)
	nstest.InNamespace(t)
	t.Cleanup(func() { exec.Command("ip", "link", "del", "d0").Run() })
	ip(t, "link add d0 type veth peer name d1", "addr add 2001:db8::1/64 dev d0 nodad", "addr add fe80::1/64 dev d0 nodad",
		"addr add fe80::2/64 dev d0 nodad", "link set d1 up", "link set d0 up")
	own(t, "d0", "fe80::1", "fe80::2")
	index, err := net.InterfaceByName("d0")
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, fmt.Sprintf("--local fe80::1%%d0 --lport 5001 --remote fe80::2%%%d 5002", index.Index))
	b := start(t, "--local fe80::2%d0 --lport 5002 --remote fe80::1%d0 5001")
	a.write(series(3)...)
	b.expectSeries(3)
	b.write(series(3)...)
	a.expectSeries(3)
}

func TestLinkLocalPeerWithoutItsZone(t *testing.T) {
	nstest.Need(t)
	nstest.InNamespace(t)
	t.Cleanup(func() { exec.Command("ip", "link", "del", "d4").Run() })
	ip(t, "link add d4 type veth peer name d5", "link set d4 addrgenmode none", "addr add 2001:dba::1/64 dev d4 nodad", "addr add fe80::1/64 dev d4 nodad",
		"addr add fe80::2/64 dev d4 nodad", "link set d5 up", "link set d4 up")
	own(t, "d4", "fe80::1", "fe80::2")
	for _, words := range []string{
		"--local fe80::1%d4", // binds the socket to the interface
		"--local d4",         // whose global address would not do
		"--local fe80::1 --bind-dev d4",
	} {
		peer := start(t, "--local fe80::2%d4 --lport 5004")
		l := start(t, words+" --lport 5003 --remote fe80::2 5004")
		l.write(series(3)...)
		peer.expectSeries(3)
		peer.write(series(3)...)
		l.expectSeries(3)
		if !l.local().Addr().IsLinkLocalUnicast() {
			t.Errorf("%s: the peer sees %v", words, l.local())
		}
		l.elem.Close()
		peer.elem.Close()
	}
	server := start(t, "--local fe80::2%d4 --lport 5005 --proto tcp-server --remote fe80::1")
	client := start(t, "--local fe80::1%d4 --lport 0 --proto tcp-client --remote fe80::2 5005")
	client.wait()
	client.write(series(3)...)
	server.expectSeries(3)
}

// ip changes the network of the tests' own namespace.
func ip(t *testing.T, commands ...string) {
	t.Helper()
	for _, args := range commands {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
}

// own waits until the kernel takes IPv6 addresses for an interface's own, which it
// does by and by once the interface is up.
func own(t *testing.T, iface string, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		eventually(t, a+" to be the host's own", func() bool {
			out, err := exec.Command("ip", "-6", "route", "get", a, "oif", iface).Output()
			return err == nil && strings.HasPrefix(string(out), "local ")
		})
	}
}

func TestNoErrorOfTheKernelEndsAUDPLink(t *testing.T) {
	nstest.Need(t, "nft")
	nstest.InNamespace(t)
	const come, leave = "ip addr add 192.0.2.77/32 dev lo", "ip addr del 192.0.2.77/32 dev lo"
	run := func(commands ...string) {
		t.Helper()
		for _, command := range commands {
			words := strings.Fields(command)
			if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
		}
	}
	run(come)
	t.Cleanup(func() { run(leave) })
	peer := start(t, "--local 0.0.0.0 --lport 5006")
	l := start(t, "--local 127.0.0.1 --lport 5008 --remote 192.0.2.77 5006")
	for name, c := range map[string]struct{ on, off []string }{
		"ENETUNREACH":  {[]string{leave}, []string{come}},
		"EHOSTUNREACH": {[]string{leave, "ip route add unreachable 192.0.2.77"}, []string{"ip route del unreachable 192.0.2.77", come}},
		"EPERM": {
			[]string{"nft add table ip refuse", "nft add chain ip refuse out { type filter hook output priority 0 ; }", "nft add rule ip refuse out udp dport 5006 drop"},
			[]string{"nft delete table ip refuse"},
		},
	} {
		before, seen := l.port.Counters().Write.Count(ethernet.SendFailed), len(peer.got())
		run(c.on...)
		l.write(series(70)...)
		run(c.off...)
		if n := l.port.Counters().Write.Count(ethernet.SendFailed) - before; n != 70 {
			t.Errorf("%s: %d of 70 counted", name, n)
		}
		l.write(numbered(0))
		eventually(t, "a frame after "+name, func() bool { return len(peer.got()) > seen })
	}
	if strings.Contains(l.log.String(), "lost") {
		t.Error("the link was lost")
	}
}

func TestInterfaceThatGoesAndComes(t *testing.T) {
	nstest.Need(t)
	nstest.InNamespace(t)
	up := []string{"link add d2 type veth peer name d3", "addr add 10.77.9.1/24 dev d2", "link set d2 up"}
	t.Cleanup(func() { exec.Command("ip", "link", "del", "d2").Run() })
	ip(t, up...)
	peer := start(t, "--local 127.0.0.1 --lport 5007 --ping 1")
	l := start(t, "--local d2 --lport 5007 --remote 127.0.0.1 5007 --ping 1 --ping-restart 2 --connect-retry 0")
	l.write(numbered(0))
	eventually(t, "a frame", func() bool { return len(peer.got()) > 0 })
	ip(t, "link del d2")
	eventually(t, "a line", func() bool { return strings.Contains(l.log.String(), "link cannot be opened") })
	l.write(numbered(0))
	if n := l.port.Counters().Write.Count(ethernet.Disconnected); n == 0 {
		t.Error("not counted")
	}
	ip(t, up...)
	seen := len(peer.got())
	l.writeUntil("a frame over the new interface", func() bool { return len(peer.got()) > seen }, numbered(0))
	if n := strings.Count(l.log.String(), "\n"); n > 20 {
		t.Errorf("%d lines in the log:\n%s", n, l.log)
	}
}

func TestNameThatStopsResolving(t *testing.T) {
	first, second := socket(t, "127.0.0.1:0"), socket(t, "127.0.0.2:0")
	var names names
	names.set("127.0.0.1")
	port := portOf(first.LocalAddr())
	second.Close()
	second = socket(t, fmt.Sprintf("127.0.0.2:%d", port))
	text := fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote peer.example %d --ping 1 --ping-restart 1 --connect-retry 0", port)
	l := build(t, text)
	l.elem.(*Link).names = names.resolve
	l.begin(text)
	receive(first, patience)
	names.set("")
	eventually(t, "a line", func() bool { return strings.Contains(l.log.String(), "link cannot be opened") })
	asked := names.asked.Load()
	time.Sleep(time.Second / 2) // in which a link that never pauses would ask thousands of times
	if n := names.asked.Load() - asked; n > 1 {
		t.Errorf("asked %d times in half a second", n)
	}
	names.set("127.0.0.2") // where it has moved meanwhile
	if receive(second, patience) != ping {
		t.Error("the new address is not tried")
	}
}

// names resolves every name to one address, which may change; "": none.
type names struct {
	addr  atomic.Pointer[string]
	asked atomic.Int64
}

func (n *names) set(addr string) { n.addr.Store(&addr) }

func (n *names) resolve(context.Context, string, transport.Family) ([]netip.Addr, error) {
	n.asked.Add(1)
	addr := *n.addr.Load()
	if addr == "" {
		return nil, &net.DNSError{Err: "no such host", Name: "peer.example"}
	}
	return []netip.Addr{netip.MustParseAddr(addr)}, nil
}

func TestKernelDropsAreCounted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: only Linux tells what a socket has lost")
	}
	l := build(t, "--local 127.0.0.1 --lport 0 --rcvbuf 1") // and nobody reads it
	if err := l.elem.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	peer := socket(t, "127.0.0.1:0")
	for range 100 {
		peer.WriteToUDP(make([]byte, 1514), net.UDPAddrFromAddrPort(l.local()))
	}
	if n := l.port.Counters().Read.Count(ethernet.KernelDrop); n == 0 || n >= 100 {
		t.Errorf("%d of 100 counted", n)
	}
}
