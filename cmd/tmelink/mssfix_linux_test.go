package main

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/nstest"
)

var overUDP6 = linkOf("UDP over IPv6", "--local fd00::1 --remote fd00::2", "--local fd00::2 --remote fd00::1")

// fragmentsMade is how many fragments the hosts' IP has cut packets into, of
// tunnels and of what is inside.
func fragmentsMade(t *testing.T, hosts ...*nstest.Host) (n int) {
	t.Helper()
	for _, h := range hosts {
		text := h.Run("nstat", "-asz", "IpFragCreates", "Ip6FragCreates")
		found := fragCounter.FindAllStringSubmatch(text, -1)
		if len(found) != 2 {
			t.Fatalf("nstat in %s does not tell of IpFragCreates and Ip6FragCreates:\n%s", h.Name, text)
		}
		for _, m := range found {
			created, _ := strconv.Atoi(m[1])
			n += created
		}
	}
	return n
}

var fragCounter = regexp.MustCompile(`(?m)^Ip6?FragCreates +(\d+)`)

// TestTCPFitsThePath: over a path of MTU 1500 no packet of a link that carries TCP
// of a TAP of MTU 1500 goes in fragments, unless --mssfix asks for it.
func TestTCPFitsThePath(t *testing.T) {
	nstest.Need(t, "nstat", "ping")
	for _, c := range []struct {
		link   linkEnds
		mssfix string
		cut    bool
	}{
		{overUDP, "", false}, {overUDP, "--mssfix 0", true}, {overUDP, "--mssfix 1500 mtu", false}, {overUDP, "--mssfix 1512 mtu", true},
		{overUDP6, "", false}, {overUDP6, "--mssfix 0", true}, {overUDP6, "--mssfix 1452", false}, {overUDP6, "--mssfix 1450 fixed", true},
		{overUDP.with("without offloads", "--offload off"), "", false}, {overTCP, "--mssfix 0", false},
	} {
		t.Run(c.link.name+" "+c.mssfix, func(t *testing.T) {
			a, b := wired(t)
			u := dig(t, a, b, c.link.with("", c.mssfix), "", "")
			for _, e := range tapEnds {
				before := fragmentsMade(t, a, b)
				u.tcp(t, e, 1_000_000)
				if n := fragmentsMade(t, a, b) - before; (n > 0) != c.cut {
					t.Errorf("TCP over %v was sent in %d fragments; want any: %v", e, n, c.cut)
				}
			}
			if c.link.name != overTCP.name {
				fullSize(t, a, b)
			}
			endsWell(t, u.ours[:], "control")
		})
	}
}

// fullSize pings with packets of 1500 bytes, which must arrive, in fragments of
// the path's. It shows too that fragments are counted.
func fullSize(t *testing.T, a, b *nstest.Host) {
	t.Helper()
	before := fragmentsMade(t, a, b)
	// One at a time: after an answer ping waits for the next as long as two answers took.
	a.Run("ping", "-M", "do", "-s", "1472", "-c", "1", "-W", "5", "10.0.77.2")
	b.Run("ping", "-6", "-M", "do", "-s", "1452", "-c", "1", "-W", "5", "fd77::1")
	if n := fragmentsMade(t, a, b) - before; n < 2*2*2 {
		t.Errorf("2 pings of 1500 bytes and their answers were sent in %d fragments, want 8 at least", n)
	}
}

// TestTCPFitsThePathToOpenVPN is TestTCPFitsThePath where the other end is the
// real OpenVPN.
func TestTCPFitsThePathToOpenVPN(t *testing.T) {
	nstest.Need(t, "nstat", "ping", "openvpn")
	for _, c := range []struct {
		link    linkEnds
		openvpn []string
	}{
		{overUDP, []string{"--proto", "udp", "--local", "192.168.0.2", "--remote", "192.168.0.1"}},
		{overUDP6, []string{"--proto", "udp6", "--local", "fd00::2", "--remote", "fd00::1"}},
	} {
		for _, theirs := range [][]string{nil, {"--mssfix", "0"}} { // one end that sees to it is enough
			t.Run(fmt.Sprint(c.link.name, " ", theirs), func(t *testing.T) {
				a, b := wired(t)
				peer := b.Start("openvpn", append(append(c.openvpn, theirs...), "--dev", "tap0", "--lladdr", "02:00:00:00:77:02",
					"--ifconfig", "10.0.77.2", "255.255.255.0", "--ifconfig-ipv6", "fd77::2/64", "fd77::1", "--verb", "3")...)
				ours := runs(t, a, tapLine("tap0", 1, "")+"link0 at tap0: "+c.link.a+"\n")
				ours.Expect(t, "up after", 20*time.Second)
				peer.Expect(t, "Initialization Sequence Completed", 30*time.Second)
				if !nstest.Eventually(10*time.Second, func() bool { return b.IP("-6", "addr", "show", "dev", "tap0", "tentative") == "" }) {
					t.Fatalf("OpenVPN's addresses stay tentative:\n%s", b.IP("addr", "show", "dev", "tap0"))
				}
				r := reach{a, b, "tap0", "tap0", 2, false}
				for _, e := range tapEnds {
					before := fragmentsMade(t, a, b)
					r.tcp(t, e, 1_000_000)
					if n := fragmentsMade(t, a, b) - before; n > 0 {
						t.Errorf("TCP over %v was sent in %d fragments", e, n)
					}
				}
				fullSize(t, a, b)
				complaints(t, peer.Output())
				endsWell(t, []*nstest.Process{ours}, "control")
			})
		}
	}
}

const pathIsShorter = "the path to the peer takes shorter packets"

// TestPathGetsShorter: what is carried stays whole while the wire's MTU becomes
// 1400, and as before when it is 1500 again.
func TestPathGetsShorter(t *testing.T) {
	nstest.Need(t, "nstat", "ping")
	for _, link := range []linkEnds{overUDP, overUDP6, overUDP.with("UDP without offloads", "--offload off"), overTCP} {
		t.Run(link.name, func(t *testing.T) {
			a, b := wired(t)
			u := dig(t, a, b, link, "", "")
			for _, mtu := range []string{"1400", "1500"} {
				for _, e := range tapEnds {
					x, y := u.dial(t, e)
					result := make(chan error, 1)
					go func() { result <- exchange(x, y, 8_000_000) }()
					time.Sleep(10 * time.Millisecond)
					a.IP("link", "set", "eth0", "mtu", mtu)
					b.IP("link", "set", "eth0", "mtu", mtu)
					if err := <-result; err != nil {
						t.Fatalf("TCP over %v while the wire's MTU becomes %s: %v", e, mtu, err)
					}
					u.udp(t, e, true)
					// The kernel sends what is too long for its own interface in
					// fragments and tells nobody; it refuses only groups of it, at
					// which a link asks. Connections made from then on fit.
					if link.name == overUDP.name || link.name == overUDP6.name {
						u.ours[0].Expect(t, pathIsShorter, 10*time.Second)
					}
					before := fragmentsMade(t, a, b)
					u.tcp(t, e, 500_000)
					n := fragmentsMade(t, a, b) - before
					if n > 0 && (mtu == "1500" || strings.Contains(u.ours[0].Output(), pathIsShorter)) {
						t.Errorf("with an MTU of %s a new TCP connection over %v was sent in %d fragments", mtu, e, n)
					}
				}
				if link.name != overTCP.name {
					fullSize(t, a, b)
				}
			}
			// While one end of a wire has the larger MTU, its longest packets are dropped there.
			endsWell(t, u.ours[:], "control", "send-failed")
		})
	}
}

// beyondRouter makes two hosts with a router between them, which alone knows that
// the way to b takes no more than 1300 bytes.
func beyondRouter(t *testing.T) (a, router, b *nstest.Host) {
	t.Helper()
	a, router, b = nstest.New(t, "a"), nstest.New(t, "router"), nstest.New(t, "b")
	router.Run("sh", "-c", "cd /proc/sys/net && echo 1 >ipv4/ip_forward && echo 1 >ipv6/conf/all/forwarding")
	for i, h := range []*nstest.Host{a, b} {
		port, net4, net6 := fmt.Sprintf("eth%d", i), fmt.Sprintf("192.168.%d.", i+1), fmt.Sprintf("fd0%d::", i+1)
		nstest.Cable(t, h, "eth0", net4+"1/24", router, port, net4+"254/24")
		h.IP("addr", "add", net6+"1/64", "dev", "eth0", "nodad")
		router.IP("addr", "add", net6+"fe/64", "dev", port, "nodad")
		h.IP("route", "add", "default", "via", net4+"254")
		h.IP("-6", "route", "add", "default", "via", net6+"fe")
	}
	router.IP("route", "replace", "192.168.2.0/24", "dev", "eth1", "mtu", "1300")
	router.IP("-6", "route", "replace", "fd02::/64", "dev", "eth1", "metric", "256", "mtu", "1300")
	return a, router, b
}

// TestRouterKnowsThePath: where a router says that the path takes no more than
// 1300 bytes, TCP connections made afterwards keep to it, and nothing that comes
// is other than it was sent.
func TestRouterKnowsThePath(t *testing.T) {
	nstest.Need(t, "nstat", "ping")
	across := linkOf("UDP", "--local 192.168.1.1 --remote 192.168.2.1", "--local 192.168.2.1 --remote 192.168.1.1")
	for _, c := range []struct {
		link linkEnds
		// A group over IPv4 goes without the flag that forbids routers to cut it
		// up (DF; __ip_make_skb of net/ipv4/ip_output.c), and so no router tells.
		told     bool
		overhead int // of a link's packet around a frame
	}{
		{across, false, 20 + 8}, {across.with("UDP without offloads", "--offload off"), true, 20 + 8},
		{linkOf("UDP over IPv6", "--local fd01::1 --remote fd02::1", "--local fd02::1 --remote fd01::1"), true, 40 + 8},
	} {
		t.Run(c.link.name, func(t *testing.T) {
			a, router, b := beyondRouter(t)
			u := dig(t, a, b, c.link, "", "")
			u.tcp(t, tapEnds[0], 1_000_000) // at full length
			if c.told {
				u.ours[0].Expect(t, pathIsShorter, 10*time.Second)
			}
			// A frame alone, which the router does not let pass the first time.
			if !nstest.Eventually(10*time.Second, func() bool {
				_, err := a.Try("ping", "-c", "1", "-W", "1", "-s", "1400", "10.0.77.2")
				return err == nil
			}) {
				t.Fatal("a ping of 1400 bytes is not answered")
			}
			u.ours[0].Expect(t, pathIsShorter, 10*time.Second)
			if !strings.Contains(u.ours[0].Output(), "mtu=1300") {
				t.Errorf("the link should know that the path takes 1300 bytes:\n%s", u.ours[0].Output())
			}
			for i, e := range tapEnds {
				before := fragmentsMade(t, a, router, b)
				x, y := u.dial(t, e)
				if err := exchange(x, y, 1_000_000); err != nil {
					t.Fatalf("TCP over %v: %v", e, err)
				}
				if n := fragmentsMade(t, a, router, b) - before; n > 0 {
					t.Errorf("TCP over %v was sent in %d fragments", e, n)
				}
				const timestamps = 12
				most := 1300 - c.overhead - 14 - []int{20, 40}[i] - 20
				for _, end := range []*net.TCPConn{x, y} {
					if mss := segmentSize(t, end); mss > most || mss < most-timestamps {
						t.Errorf("TCP over %v sends segments of %d bytes, want %d at the most, and little less", e, mss, most)
					}
				}
				u.udp(t, e, true)
			}
			fullSize(t, a, b)
			endsWell(t, u.ours[:], "control")
		})
	}
}

// segmentSize is what the kernel sends at the most in a segment of a connection.
func segmentSize(t *testing.T, c *net.TCPConn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil {
		t.Fatalf("TCP_INFO: %v", err)
	}
	return int(info.Snd_mss)
}
