package nat

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"tmelink/internal/netstack"
	"tmelink/internal/nstest"
)

func dial(t testing.TB, guest *netstack.Host, to netip.AddrPort) *netstack.Stream {
	t.Helper()
	c, err := guest.DialTCP(within(t), to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// A guest sends 10 MB and its end, and after that reads as much until the end.
func TestTCP(t *testing.T) {
	data := random(10 << 20)
	for _, address := range loopbacks {
		n, guest, _ := run(t, "loopback allow")
		server := listen(t, address, func(c *net.TCPConn) {
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes arrived outside (%v), which are not the %d that were sent", len(got), err, len(data))
			}
			c.Write(got)
		})
		c := dial(t, guest, at(server))
		if _, err := c.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back (%v), which are not the %d that were sent", len(got), err, len(data))
		}
		if !nstest.Eventually(20*time.Second, func() bool { return n.conns.count() == 0 }) {
			t.Errorf("the connection has ended, and is carried on: %s", n.Status())
		}
	}
}

// The outside says all and ends; the guest goes on sending after that.
func TestOutsideEndsFirst(t *testing.T) {
	_, guest, _ := run(t, "loopback allow")
	heard := make(chan string, 1)
	server := listen(t, loopbacks[0], func(c *net.TCPConn) {
		c.Write([]byte("all"))
		c.CloseWrite()
		got, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		heard <- string(got)
	})
	c := dial(t, guest, at(server))
	if got, err := io.ReadAll(c); err != nil || string(got) != "all" {
		t.Fatalf("read %q, %v", got, err)
	}
	for _, word := range []string{"still ", "here"} {
		if _, err := c.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // so that each is a segment of its own
	}
	c.CloseWrite()
	select {
	case got := <-heard:
		if got != "still here" {
			t.Errorf("the outside heard %q", got)
		}
	case <-within(t).Done():
		t.Fatal("the outside did not hear the guest's end")
	}
}

// A sender is held up by a receiver that takes nothing, in either direction, and
// what is between them is bounded.
func TestBackPressure(t *testing.T) {
	const bound = 24 << 20 // the sockets' own buffers are most of it
	_, guest, _ := run(t, "loopback allow")
	quiet := make(chan struct{})
	server := listen(t, loopbacks[0], func(*net.TCPConn) { <-quiet })
	t.Cleanup(func() { close(quiet) })
	c := dial(t, guest, at(server))
	c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	sent, err := c.Write(make([]byte, 2*bound))
	if err == nil || sent > bound {
		t.Errorf("%d bytes went to a server that reads none, %v", sent, err)
	}

	taken := make(chan int, 1)
	server = listen(t, loopbacks[0], func(c *net.TCPConn) {
		c.SetWriteDeadline(time.Now().Add(3 * time.Second))
		sent, err := c.Write(make([]byte, 2*bound))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a server that is not read from has written %d bytes, %v", sent, err)
		}
		taken <- sent
	})
	dial(t, guest, at(server))
	select {
	case sent := <-taken:
		if sent > bound {
			t.Errorf("%d bytes went to a guest that reads none", sent)
		}
	case <-within(t).Done():
		t.Fatal("the server writes for ever")
	}
}

// free is a port of loopback where nobody listens.
func free(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", loopbacks[0])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return at(l.Addr())
}

func TestRefused(t *testing.T) {
	n, guest, _ := run(t, "loopback allow")
	began := time.Now()
	if c, err := guest.DialTCP(within(t), free(t)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("dial where nobody listens: %v, %v", c, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the guest was told only after %v", took)
	}
	if n.conns.count() != 0 {
		t.Errorf("%s", n.Status())
	}
}

// A reset outside is one inside, and the other way round.
func TestReset(t *testing.T) {
	_, guest, _ := run(t, "loopback allow")
	ended := make(chan error, 1)
	server := listen(t, loopbacks[0], func(c *net.TCPConn) {
		var b [1]byte
		io.ReadFull(c, b[:])
		if b[0] == 'r' {
			c.SetLinger(0)
			return
		}
		_, err := c.Read(b[:])
		ended <- err
	})
	c := dial(t, guest, at(server))
	c.Write([]byte("r"))
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("the outside has reset: %v", err)
	}
	c = dial(t, guest, at(server))
	c.Write([]byte("g"))
	time.Sleep(50 * time.Millisecond) // a reset would overtake it
	c.Abort()
	select {
	case err := <-ended:
		if !errors.Is(err, errReset) {
			t.Errorf("the guest has reset: %v", err)
		}
	case <-within(t).Done():
		t.Fatal("the outside does not hear that the guest has reset")
	}
}

func TestUDP(t *testing.T) {
	n, guest, _ := run(t, "loopback allow")
	for _, address := range loopbacks {
		server := listenUDP(t, address, func(b []byte) []byte { return append([]byte("echo "), b...) })
		c, err := guest.DialUDP(at(server))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		buf := make([]byte, 65535)
		for _, size := range []int{0, 1, 1400, 1473, 20000, 60000} { // the longer ones in fragments
			sent := random(size)
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			got, err := c.Read(buf)
			if err != nil || !bytes.Equal(buf[:got], append([]byte("echo "), sent...)) {
				t.Fatalf("%d bytes to %s: %d came back, %v", size, server, got, err)
			}
		}
	}
	if udp, _ := n.flows.count(); udp != 2 {
		t.Errorf("%d flows, want 2", udp)
	}
	n.sweepOnce(n.now() + idleUDP + time.Second)
	if udp, _ := n.flows.count(); udp != 2 {
		t.Errorf("%d flows after two minutes, want 2 that were answered", udp)
	}
	n.sweepOnce(n.now() + idleAnswered + time.Second)
	if udp, _ := n.flows.count(); udp != 0 {
		t.Errorf("%d flows after five minutes, want none", udp)
	}
}

// A datagram to a port where nobody is comes back as an error to its sender.
func TestUDPUnreachable(t *testing.T) {
	_, guest, log := run(t, "loopback allow")
	c, err := guest.DialUDP(free(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The guest's stack tells of it with the next call, and wakes nobody.
	if !nstest.Eventually(20*time.Second, func() bool {
		_, err := c.Write([]byte("anybody?"))
		return err != nil && strings.Contains(err.Error(), "refused")
	}) {
		t.Errorf("the guest is not told: %s", log)
	}
}

// What a guest's one port sends comes from one port, wherever to; and it hears every
// port of those that it has sent to, as TFTP needs, and nobody else.
func TestUDPMapping(t *testing.T) {
	haveElsewhere(t)
	n, guest, _ := run(t, "loopback allow")
	socket := func(address string) *net.UDPConn {
		c, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		return c.(*net.UDPConn)
	}
	first, second, stranger := socket("127.0.0.1:0"), socket(elsewhere4+":0"), socket("127.0.0.2:0")
	other := socket("127.0.0.1:0") // another port of the first
	c, err := guest.ListenUDP(netip.MustParseAddrPort("10.0.77.2:1000"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 100)
	var mapped [2]netip.AddrPort
	for i, server := range []*net.UDPConn{first, second} {
		to := server.LocalAddr().(*net.UDPAddr).AddrPort()
		if to.Addr().IsLoopback() {
			to = at(server.LocalAddr())
		}
		if _, err := c.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
		if _, mapped[i], err = server.ReadFromUDPAddrPort(buf); err != nil {
			t.Fatal(err)
		}
	}
	if mapped[0].Port() != mapped[1].Port() {
		t.Errorf("the guest's port is %v to one and %v to another", mapped[0], mapped[1])
	}
	for _, from := range []*net.UDPConn{stranger, other, second} {
		if _, err := from.WriteToUDPAddrPort([]byte(from.LocalAddr().String()), mapped[0]); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []netip.AddrPort{at(other.LocalAddr()), second.LocalAddr().(*net.UDPAddr).AddrPort()} {
		size, sender, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if sender.String() != from.String() {
			t.Errorf("the guest has heard %q from %s, want %s", buf[:size], sender, from)
		}
	}
	if udp, _ := n.flows.count(); udp != 1 {
		t.Errorf("%d flows, want 1", udp)
	}
}

// The addresses that one port sends to are bounded.
func TestPeersAreBounded(t *testing.T) {
	n, _, _ := run(t, "loopback allow")
	key := flowKey{kind: udpFlow, from: netip.MustParseAddrPort("10.0.77.2:1000")}
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	fl := n.flows.add(key, c, backUDP)
	if fl == nil {
		t.Fatal("no flow")
	}
	for i := range maxPeers + 10 {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		if n.flows.meet(fl, netip.AddrPortFrom(a, 7), a, 1) == nil {
			t.Fatalf("no peer %d", i)
		}
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if _, stays := fl.peers[netip.AddrFrom4([4]byte{192, 0, 2, maxPeers + 9})]; len(fl.peers) != maxPeers || !stays {
		t.Errorf("%d peers, want %d; the last one is there: %v", len(fl.peers), maxPeers, stays)
	}
}

// One guest's flows do not grow beyond the bound, and what is used stays.
func TestFlowsAreBounded(t *testing.T) {
	n, guest, log := run(t, "loopback allow")
	server := listenUDP(t, loopbacks[0], func(b []byte) []byte { return b })
	used, err := guest.DialUDP(at(server))
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	echo := func() { // a flood may overrun the server's socket
		t.Helper()
		if !nstest.Eventually(20*time.Second, func() bool {
			used.Write([]byte("x"))
			used.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, err := used.Read(make([]byte, 1))
			return err == nil
		}) {
			t.Fatal("the flow that is in use carries nothing")
		}
	}
	echo()
	from := netip.MustParsePrefix(guest4).Addr()
	for i := range maxFlows + 100 {
		n.datagram(netstack.Datagram{From: netip.AddrPortFrom(from, uint16(1+i)), To: at(server), Payload: []byte("y")})
		if i%500 == 0 {
			echo()
		}
	}
	if udp, _ := n.flows.count(); udp != maxFlows {
		t.Errorf("%d flows, want %d", udp, maxFlows)
	}
	if n.dropped.Load() == 0 || strings.Count(log.String(), "too many UDP flows") != 1 {
		t.Errorf("%d dropped; the log says\n%s", n.dropped.Load(), log)
	}
	key := flowKey{kind: udpFlow, from: netip.AddrPortFrom(from, uint16(used.LocalAddr().(*net.UDPAddr).Port))}
	if n.flows.find(key) == nil {
		t.Error("the flow that is in use has made room")
	}
}

// askEcho sends one echo request and gives what comes of it.
func askEcho(t testing.TB, guest *netstack.Host, to string, size int) netstack.Answer {
	t.Helper()
	e, err := guest.OpenEcho(netip.MustParseAddr(to))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Send(3, random(size)); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-e.Answers():
		return a
	case <-within(t).Done():
		t.Fatalf("nothing came of the request to %s", to)
		return netstack.Answer{}
	}
}

func TestPing(t *testing.T) {
	haveElsewhere(t)
	n, guest, _ := run(t, "loopback allow")
	for _, to := range []string{elsewhere4, elsewhere6, gateway4, gateway6} {
		for _, size := range []int{0, 56, 1473, 9000} {
			if a := askEcho(t, guest, to, size); a.Err != nil || a.From.String() != to || a.Seq != 3 || a.Size != size+8 || a.Dup {
				t.Errorf("ping %s with %d bytes: %+v", to, size, a)
			}
		}
	}
	if _, echo := n.flows.count(); echo == 0 {
		t.Error("no ping went outside")
	}
	n.sweepOnce(n.now() + idleEcho + time.Second)
	if _, echo := n.flows.count(); echo != 0 {
		t.Errorf("%d flows of pings after a minute", echo)
	}
	// No route leads there in the test's namespace.
	for _, to := range []string{"192.0.2.77", "2001:db8:77::1"} {
		if a := askEcho(t, guest, to, 56); a.Err != netstack.ErrNetUnreachable && a.Err != netstack.ErrHostUnreachable {
			t.Errorf("ping %s: %+v, want an error", to, a)
		}
	}
}

// What has no route outside is told as such inside.
func TestNoRoute(t *testing.T) {
	nstest.InNamespace(t)
	_, guest, _ := run(t, "")
	began := time.Now()
	if _, err := guest.DialTCP(within(t), netip.MustParseAddrPort("192.0.2.77:80")); err == nil || !strings.Contains(err.Error(), "unreachable") && !strings.Contains(err.Error(), "no route") {
		t.Errorf("dial: %v after %v", err, time.Since(began))
	}
}

// A guest's own kind of addresses outside: the guest sees the address that it
// asked for, in TCP and UDP.
func TestAddressesStay(t *testing.T) {
	haveElsewhere(t)
	_, guest, _ := run(t, "loopback allow")
	for _, host := range []string{elsewhere4, elsewhere6} {
		server := listen(t, net.JoinHostPort(host, "0"), func(c *net.TCPConn) { io.WriteString(c, "hello") })
		c := dial(t, guest, server.(*net.TCPAddr).AddrPort())
		if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
			t.Errorf("from %s: %q, %v", server, got, err)
		}
		udp := listenUDP(t, net.JoinHostPort(host, "0"), func(b []byte) []byte { return b })
		u, err := guest.DialUDP(udp.(*net.UDPAddr).AddrPort())
		if err != nil {
			t.Fatal(err)
		}
		u.SetDeadline(time.Now().Add(time.Minute))
		u.Write([]byte("hello"))
		buf := make([]byte, 10)
		if got, err := u.Read(buf); err != nil || string(buf[:got]) != "hello" {
			t.Errorf("from %s over UDP: %q, %v", server, buf[:got], err)
		}
		u.Close()
	}
}
