package nat

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/nstest"
)

// port is one that is free for the moment.
func port(t testing.TB) uint16 { return free(t).Port() }

func TestForwardTCP(t *testing.T) {
	testForwardTCP(t, "127.0.0.1", "10.0.77.2", gateway4)
	testForwardTCP(t, "::1", "fd00:77::2", gateway6)
}

func testForwardTCP(t *testing.T, local, inside, gateway string) {
	outside := port(t)
	from, to := netip.AddrPortFrom(netip.MustParseAddr(local), outside), netip.AddrPortFrom(netip.MustParseAddr(inside), 80)
	n, guest, _ := run(t, fmt.Sprintf("forward tcp %s=%s", from, to))
	l, err := guest.ListenTCP(80)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		sender, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		got, _ := io.ReadAll(c)
		io.WriteString(c, "hello "+sender)
		heard <- string(got)
	}()
	dial := func() *net.TCPConn {
		c, err := net.Dial("tcp", from.String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		return c.(*net.TCPConn)
	}
	c := dial()
	io.WriteString(c, "from outside")
	c.CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "hello "+gateway {
		t.Errorf("read %q, %v", got, err)
	}
	c.Close()
	if got := <-heard; got != "from outside" {
		t.Errorf("the guest heard %q", got)
	}
	l.Close()
	// The reset may come before the dialler has looked.
	refused, err := net.Dial("tcp", from.String())
	if err == nil {
		defer refused.Close()
		refused.SetDeadline(time.Now().Add(time.Minute))
		_, err = refused.Read(make([]byte, 1))
	}
	if !errors.Is(err, errReset) {
		t.Errorf("the guest refuses: %v, want a reset", err)
	}
	if !nstest.Eventually(20*time.Second, func() bool { return n.conns.count() == 0 }) {
		t.Error(n.Status())
	}
}

func TestForwardUDP(t *testing.T) {
	outside := port(t)
	n, guest, _ := run(t, fmt.Sprintf("forward udp 127.0.0.1:%d=10.0.77.2:7", outside))
	inside, err := guest.ListenUDP(netip.MustParseAddrPort("10.0.77.2:7"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 100)
		for {
			size, from, err := inside.ReadFrom(b)
			if err != nil {
				return
			}
			inside.WriteTo(b[:size], from)
		}
	}()
	for i := range 3 { // each client hears what it has said
		c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", outside))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		said := fmt.Sprintf("client %d", i)
		io.WriteString(c, said)
		b := make([]byte, 100)
		if size, err := c.Read(b); err != nil || string(b[:size]) != said {
			t.Errorf("%s heard %q, %v", said, b[:size], err)
		}
	}
	in := n.inbounds[0]
	count := func() int {
		in.mu.Lock()
		defer in.mu.Unlock()
		return len(in.byClient)
	}
	n.sweepOnce(n.now() + idleUDP + time.Second)
	if count() != 3 {
		t.Errorf("%d visitors after two minutes, want 3 that were answered", count())
	}
	n.sweepOnce(n.now() + idleAnswered + time.Second)
	if count() != 0 {
		t.Errorf("%d visitors after five minutes", count())
	}
	for i := range maxVisitors + 10 {
		if in.visitor(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(1000+i))) == nil {
			t.Fatal("no visitor")
		}
	}
	if count() != maxVisitors || n.dropped.Load() != 10 {
		t.Errorf("%d visitors, %d dropped", count(), n.dropped.Load())
	}
	inside.Close()
	<-ended
}

func TestForwardFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for words, want := range map[string]string{
		"forward tcp " + taken + "=10.0.77.2:80":      "forward tcp " + taken + " to 10.0.77.2:80: listen tcp4 " + taken + ": bind: address already in use (another program has that port; stop it, or forward another port)",
		"forward udp 203.0.113.9:5353=10.0.77.2:5353": "(no interface of this computer has that address; give one that it has, or 0.0.0.0)",
	} {
		n, _ := build(t, "inet 10.0.77.1/24 "+words)
		err := n.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", words, err)
		}
		n.Close()
	}
}

func TestClaims(t *testing.T) {
	n, _ := build(t, "inet 10.0.77.1/24 forward tcp 127.0.0.1:8080=10.0.77.2:80 forward udp [::]:53=10.0.77.3:53")
	claims := n.Claims()
	if len(claims) != 2 || claims[0].String() != "tcp 127.0.0.1 port 8080" || claims[1].String() != "udp :: port 53" {
		t.Errorf("%v", claims)
	}
}

// Faults of a description are told where they are, before anything is opened.
func TestWrongWords(t *testing.T) {
	typ, _ := element.Lookup("tme/host/nat")
	for words_, want := range map[string]string{
		"":                       "the guests' network is missing",
		"dhcp 10.0.0.1-10.0.0.9": "the guests' network is missing",
		"inet 10.0.77.1":         `"10.0.77.1" is not an IPv4 address with its prefix length`,
		"inet fd00::1/64":        "is not an IPv4 address with its prefix length",
		"inet 10.0.77.0/24":      "first or last address",
		"inet 0.0.0.0/0":         "not the address of one station",
		"inet6 fe80::1/64":       "link-local",
		"inet 10.0.77.1/24 forward tcp 127.0.0.1:80":                                  "is not an address and port of this computer with a guest's",
		"inet 10.0.77.1/24 forward tcp 127.0.0.1:0=10.0.77.2:80":                      "is not an address and port",
		"inet 10.0.77.1/24 forward sctp 127.0.0.1:80=10.0.77.2:80":                    "neither tcp nor udp",
		"inet 10.0.77.1/24 forward tcp 127.0.0.1:80=10.0.78.2:80":                     "10.0.78.2 is not in the guests' network 10.0.77.0/24",
		"inet 10.0.77.1/24 forward tcp 127.0.0.1:80=10.0.77.1:80":                     "the gateway's own address",
		"inet 10.0.77.1/24 forward tcp 127.0.0.1:80=[fd00::2]:80":                     "is not in the guests' network",
		"inet 10.0.77.1/24 loopback maybe":                                            "neither deny nor allow",
		"inet 10.0.77.1/24 outbound deny":                                             "outbound wants allow|deny CIDR",
		"inet 10.0.77.1/24 outbound deny everything":                                  "is not a network",
		"inet 10.0.77.1/24 outbound maybe 0.0.0.0/0":                                  "neither allow nor deny",
		"inet 10.0.77.1/24 dhcp 10.0.77.10":                                           "is not a range",
		"inet 10.0.77.1/24 dhcp 10.0.77.10-10.0.77.9":                                 "ends before it begins",
		"inet 10.0.77.1/24 dhcp 10.0.77.10-10.0.78.10":                                "10.0.78.10 is not in the guests' network",
		"inet 10.0.77.1/16 dhcp 10.0.0.10-10.0.77.10":                                 "more than 4096",
		"inet6 fd00::1/64 dhcp 10.0.77.10-10.0.77.20":                                 "it needs inet",
		"inet 10.0.77.1/24 lease 10.0.77.5":                                           "is not a station's hardware address",
		"inet 10.0.77.1/24 lease ff:ff:ff:ff:ff:ff=10.0.77.5":                         "is not a station's hardware address",
		"inet 10.0.77.1/24 lease 8:0:20:1:2:3=10.0.77.5 lease 8:0:20:1:2:3=10.0.77.6": "has 10.0.77.5 already",
		"inet 10.0.77.1/24 domain lab.example":                                        "give dhcp FROM-TO or lease",
		"inet 10.0.77.1/24 next-server 10.0.77.5":                                     "give dhcp FROM-TO or lease",
		"inet 10.0.77.1/24 dhcp 10.0.77.10-10.0.77.20 domain lab..example":            "is not a domain name",
		"inet 10.0.77.1/24 dns nobody":                                                "neither a name server's address nor host nor off",
		"inet 10.0.77.1/24 dns 192.0.2.1 dns off":                                     "dns is given already",
	} {
		_, err := typ.New(element.Env{}, words(words_))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", words_, err, want)
		}
	}
}
