package nat

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

func TestWay(t *testing.T) {
	own := netip.MustParseAddr("192.0.2.9")
	for _, tt := range []struct {
		words, to string
		want      verdict
		leads     string // "" to where it says
	}{
		{"", "203.0.113.1", allowed, ""},
		{"", "2001:db8::1", allowed, ""},
		{"", "127.0.0.1", denied, ""},
		{"", "127.255.0.1", denied, ""},
		{"", "::1", denied, ""},
		{"", "0.0.0.0", denied, ""},
		{"", "0.1.2.3", denied, ""},
		{"", "::", denied, ""},
		{"", "::ffff:127.0.0.1", denied, ""},
		{"", "::ffff:192.0.2.9", denied, ""},
		{"", "169.254.169.254", denied, ""},
		{"", "fe80::1", denied, ""},
		{"", "192.0.2.9", denied, ""},
		{"", gateway4, denied, ""},
		{"", gateway6, denied, ""},
		{"", "10.0.77.9", nowhere, ""},
		{"", "fd00:77::9", nowhere, ""},
		{"", "224.0.0.251", nowhere, ""},
		{"", "255.255.255.255", nowhere, ""},
		{"", "ff02::fb", nowhere, ""},
		{"loopback allow", gateway4, allowed, "127.0.0.1"},
		{"loopback allow", gateway6, allowed, "::1"},
		{"loopback allow", "127.0.0.1", denied, ""},
		{"loopback allow", "0.0.0.0", denied, ""},
		{"loopback allow", "192.0.2.9", allowed, ""},
		{"loopback allow", "169.254.1.1", allowed, ""},
		{"outbound deny 203.0.113.0/24", "203.0.113.1", denied, ""},
		{"outbound deny 203.0.113.0/24", "::ffff:203.0.113.1", denied, ""},
		{"outbound deny 203.0.113.0/24", "203.0.114.1", allowed, ""},
		{"outbound allow 203.0.113.1 outbound deny 203.0.113.0/24 2001:db8::/32", "203.0.113.1", allowed, ""},
		{"outbound allow 203.0.113.1 outbound deny 203.0.113.0/24 2001:db8::/32", "203.0.113.2", denied, ""},
		{"outbound allow 203.0.113.1 outbound deny 203.0.113.0/24 2001:db8::/32", "2001:db8::1", denied, ""},
		{"outbound deny 203.0.113.0/24 outbound allow 203.0.113.1", "203.0.113.1", denied, ""},
		{"outbound allow 127.0.0.0/8", "127.0.0.1", denied, ""},
	} {
		n, _ := build(t, "inet 10.0.77.1/24 inet6 fd00:77::1/64 "+tt.words)
		n.policy.own, n.policy.ownRead = map[netip.Addr]bool{own: true}, time.Now().Add(time.Hour)
		if tt.leads == "" {
			tt.leads = tt.to
		}
		to := netip.AddrPortFrom(netip.MustParseAddr(tt.to), 80)
		got, verdict := n.policy.way(to)
		if verdict != tt.want || got != netip.AddrPortFrom(netip.MustParseAddr(tt.leads), 80) {
			t.Errorf("%q: %s leads to %s, %d; want %s, %d", tt.words, tt.to, got, verdict, tt.leads, tt.want)
		}
	}
}

// A guest is told what it is denied.
func TestDenied(t *testing.T) {
	n, guest, log := run(t, "outbound deny 203.0.113.0/24 2001:db8::/32")
	refused := func(to string) {
		t.Helper()
		if _, err := guest.DialTCP(within(t), netip.MustParseAddrPort(to)); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("dial %s: %v", to, err)
		}
	}
	server := listen(t, loopbacks[0], func(*net.TCPConn) { t.Error("a guest has reached loopback") })
	refused(at(server).String())
	refused("203.0.113.1:80")
	refused("[2001:db8::1]:80")
	for _, to := range []string{"203.0.113.1", "2001:db8::1"} {
		c, err := guest.DialUDP(netip.AddrPortFrom(netip.MustParseAddr(to), 53))
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("x"))
		c.Close()
		e, err := guest.OpenEcho(netip.MustParseAddr(to))
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if err := e.Send(1, nil); err != nil {
			t.Fatal(err)
		}
	}
	c, err := guest.DialUDP(netip.MustParseAddrPort(gateway4 + ":5000"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("x"))
	if !nstest.Eventually(20*time.Second, func() bool { return strings.Contains(log.String(), "icmp 3 3\n") }) {
		t.Errorf("a closed port of the gateway's own is not told as one:\n%s", log)
	}
	for _, message := range []string{"icmp 3 13\n", "icmp6 1 1\n"} {
		if !nstest.Eventually(20*time.Second, func() bool { return strings.Count(log.String(), message) == 2 }) {
			t.Errorf("%q did not come twice, for a datagram and a ping:\n%s", message, log)
		}
	}
	if got := n.denied.Load(); got != 8 {
		t.Errorf("%d counted, want 8: %s", got, n.Status())
	}
}
