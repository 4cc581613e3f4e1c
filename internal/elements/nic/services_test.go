package nic

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	lineA = "inet 10.0.0.1 netmask 255.255.255.0 inet6 fd00::1/64"
	lineB = "inet 10.0.0.2 netmask 255.255.255.0 inet6 fd00::2/64 hwaddr 02:00:00:00:00:02"
)

var bothAddrs = []string{"10.0.0.2", "fd00::2"}

func TestPing(t *testing.T) {
	a, _ := pair(t, lineA, lineB)
	for _, to := range append(bothAddrs, "fe80::ff:fe00:2", "10.0.0.1") {
		out, err := command(t, a, "ping "+to+" count 3 interval 0.02 size 100")
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		want := fmt.Sprintf(`^PING %[1]s \(%[1]s\): 100 data bytes
(108 bytes from %[1]s: icmp_seq=[123] ttl=64 time=\d+\.\d{3} ms
){3}--- %[1]s ping statistics ---
3 packets transmitted, 3 packets received, 0\.0%% packet loss
round-trip min/avg/max = \d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3} ms
$`, regexp.QuoteMeta(to))
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("ping printed:\n%swant:\n%s", out, want)
		}
	}
}

func TestPingNobody(t *testing.T) {
	a, _ := pair(t, lineA+" gateway 10.0.0.99", lineB)
	out, err := command(t, a, "ping 192.0.2.1 count 2 interval 0.01 timeout 50")
	if err == nil || err.Error() != "ping 192.0.2.1: no answer to 2 requests" {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"From 10.0.0.1: icmp_seq=1 Destination Host Unreachable\n", "icmp_seq=2 Dest", "\n2 packets transmitted, 0 packets received, 100.0% packet loss\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing from:\n%s", want, out)
		}
	}
	if out, err := command(t, a, "ping 2001:db8::1 count 1"); err == nil || !strings.Contains(err.Error(), "destination net unreachable") {
		t.Errorf("without a route: %v\n%s", err, out)
	}
	if out, err := command(t, a, "ping 192.0.2.1 count 1 timeout 0.01"); err == nil {
		t.Errorf("no answer within 10 ms is no failure:\n%s", out)
	}
	if out, _ := command(t, a, "arp"); !strings.Contains(out, "? (10.0.0.99) at <incomplete> on le0\n") {
		t.Errorf("arp printed:\n%s", out)
	}
}

func TestGet(t *testing.T) {
	a, b := pair(t, lineA, lineB)
	for _, to := range []string{"10.0.0.2", "[fd00::2]"} {
		out, err := command(t, a, "get http://"+to+"/")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"ie0 of machine m\n", "\n10.0.0.2/24\n", "\nfd00::2/64\n", "\n" + b.host.HardwareAddr().String() + "\n", "/bytes/N"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing from the page:\n%s", want, out)
			}
		}
	}
	numbers := []byte("0000000\n0000001\n0000002\n0000003\n")
	for n := range len(numbers) {
		if out, err := command(t, a, fmt.Sprintf("get http://10.0.0.2/bytes/%d", n)); err != nil || out != string(numbers[:n]) {
			t.Errorf("/bytes/%d gave %q (%v)", n, out, err)
		}
	}
	for path, want := range map[string]string{"bytes/-1": "400", "bytes/1073741825": "400", "bytes/x": "400", "nothing": "404"} {
		if out, err := command(t, a, "get http://10.0.0.2/"+path); err == nil || !strings.Contains(err.Error(), "the server answers "+want) || out != "" {
			t.Errorf("%s: %v, want %s; it printed %q", path, err, want, out)
		}
	}
	if _, err := command(t, a, "get http://10.0.0.2:81/"); err == nil || strings.Count(err.Error(), "http://") != 1 {
		t.Errorf("a port where nobody listens: %v", err)
	}
}

func TestGetLarge(t *testing.T) {
	a, _ := pair(t, lineA, lineB)
	const size = 10_000_000
	hash := sha256.New()
	for i := range size / 8 {
		fmt.Fprintf(hash, "%07d\n", i)
	}
	out, err := command(t, a, fmt.Sprintf("get http://10.0.0.2/bytes/%d sum", size))
	if want := fmt.Sprintf("%d bytes, sha256 %x, ", size, hash.Sum(nil)); err != nil || !strings.HasPrefix(out, want) {
		t.Errorf("%v: %swant %s", err, out, want)
	}
	if _, err = command(t, a, "get http://10.0.0.2/bytes/1000000000 sum timeout 0.05"); err == nil || !strings.HasSuffix(err.Error(), ": not done within 50ms") {
		t.Errorf("a gigabyte within 50 ms: %v", err)
	}
}

func TestEchoAndDiscard(t *testing.T) {
	a, _ := pair(t, lineA, lineB)
	sent := bytes.Repeat([]byte("tmelink "), 20_000)
	for _, to := range bothAddrs {
		conn, err := a.host.DialTCP(within(t), netip.AddrPortFrom(netip.MustParseAddr(to), echoPort))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := conn.Write(sent)
			done <- err
		}()
		got := make([]byte, len(sent))
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("tcp echo by %s: %v", to, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		conn.CloseWrite()
		if n, err := conn.Read(got); err != io.EOF {
			t.Errorf("behind the end came %d bytes, %v", n, err)
		}
		conn.Close()

		conn, err = a.host.DialTCP(within(t), netip.AddrPortFrom(netip.MustParseAddr(to), discardPort))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(sent); err != nil {
			t.Error(err)
		}
		conn.CloseWrite()
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
			t.Errorf("discard answered with %d bytes, %v", len(rest), err)
		}
		conn.Close()
	}
}

func TestUDPServices(t *testing.T) {
	a, _ := pair(t, lineA, lineB)
	for _, to := range bothAddrs {
		addr := netip.MustParseAddr(to)
		local := netip.AddrPortFrom(a.host.Addrs()[0].Addr(), 900)
		if addr.Is6() {
			local = netip.AddrPortFrom(a.host.Addrs()[1].Addr(), 900)
		}
		privileged, err := a.host.ListenUDP(local)
		if err != nil {
			t.Fatal(err)
		}
		client, err := a.host.DialUDP(netip.AddrPortFrom(addr, echoPort))
		if err != nil {
			t.Fatal(err)
		}
		discards, err := a.host.DialUDP(netip.AddrPortFrom(addr, discardPort))
		if err != nil {
			t.Fatal(err)
		}
		discards.Write([]byte("x"))
		// What comes from a service's port is not answered; what is sent
		// behind it is, so the answer shows that the first was looked at.
		if _, err := privileged.WriteTo([]byte("ping-pong"), &net.UDPAddr{IP: addr.AsSlice(), Port: echoPort}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		client.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := client.Read(buf); err != nil || string(buf[:n]) != "hello" {
			t.Errorf("udp echo by %s: %q, %v", to, buf[:n], err)
		}
		privileged.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, _, err := privileged.ReadFrom(buf); err == nil {
			t.Errorf("echo answered a service with %q", buf[:n])
		}
		privileged.Close()
		client.Close()
		discards.SetReadDeadline(time.Now().Add(time.Millisecond))
		// It has had as long as the echo.
		if n, err := discards.Read(buf); err == nil || !strings.Contains(err.Error(), "timeout") {
			t.Errorf("discard answered with %d bytes, %v", n, err)
		}
		discards.Close()
	}
}

// Close must not wait for those who have a connection open.
func TestCloseEndsConnections(t *testing.T) {
	a, b := pair(t, lineA, lineB)
	for _, port := range []uint16{echoPort, discardPort, httpPort} {
		for range 3 {
			conn, err := a.host.DialTCP(within(t), netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.Write([]byte("G"))
		}
	}
	closed := make(chan struct{})
	go func() {
		b.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-within(t).Done():
		t.Fatal("Close waits for open connections")
	}
}
