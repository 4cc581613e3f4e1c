package nat

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"tmelink/internal/netstack"
	"tmelink/internal/nstest"
)

// Many connections at a time each carry their own bytes, also those beyond the
// number that may hold as much as they like.
func TestManyConnections(t *testing.T) {
	n, guest, _ := run(t, "loopback allow")
	server := listen(t, loopbacks[0], func(c *net.TCPConn) { io.Copy(c, c) })
	const conns = 2*crowd + 50
	data := random(100_000 + conns)
	var running, open sync.WaitGroup
	open.Add(conns)
	for i := range conns {
		running.Go(func() {
			c, err := guest.DialTCP(within(t), at(server))
			open.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			open.Wait()
			c.SetDeadline(time.Now().Add(time.Minute))
			sent := data[i : i+100_000]
			go func() {
				c.Write(sent)
				c.CloseWrite()
			}()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("connection %d: %d bytes came back, %v", i, len(got), err)
			}
		})
	}
	running.Wait()
	if !nstest.Eventually(20*time.Second, func() bool { return n.conns.count() == 0 }) {
		t.Error(n.Status())
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	n, guest, log := run(t, "loopback allow")
	n.conns.most = 2
	server := listen(t, loopbacks[0], func(c *net.TCPConn) { io.Copy(c, c) })
	first := dial(t, guest, at(server))
	dial(t, guest, at(server))
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	go func() {
		_, err := guest.DialTCP(ctx, at(server))
		ended <- err
	}()
	if !nstest.Eventually(20*time.Second, func() bool { return n.dropped.Load() > 0 }) {
		t.Error("a third connection was not dropped")
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("a third connection was made")
	}
	if strings.Count(log.String(), "too many TCP connections") != 1 {
		t.Errorf("the log says\n%s", log)
	}
	first.Close()
	if !nstest.Eventually(20*time.Second, func() bool { return n.conns.count() == 1 }) {
		t.Fatal(n.Status())
	}
	dial(t, guest, at(server))
}

func TestIdleConnectionEnds(t *testing.T) {
	n, guest, _ := run(t, "loopback allow")
	ended := make(chan error, 1)
	server := listen(t, loopbacks[0], func(c *net.TCPConn) {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	})
	c := dial(t, guest, at(server))
	if !nstest.Eventually(20*time.Second, func() bool { return n.conns.count() == 1 }) {
		t.Fatal(n.Status())
	}
	n.sweepOnce(n.now() + idleTCP - time.Minute)
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("before its time: %v", err)
	}
	n.sweepOnce(n.now() + idleTCP + time.Minute)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("the guest's end: %v, want a reset", err)
	}
	select {
	case err := <-ended:
		if err == nil || err == io.EOF {
			t.Errorf("the outside's end: %v, want a reset", err)
		}
	case <-within(t).Done():
		t.Fatal("the outside is not told")
	}
	if !nstest.Eventually(20*time.Second, func() bool { return n.conns.count() == 0 }) {
		t.Error(n.Status())
	}
}

// A destination that is silent stays so, attempts to reach it are bounded, and the
// end of the gateway ends them.
func TestSilence(t *testing.T) {
	nstest.InNamespace(t)
	for _, args := range []string{
		"link add silent0 type veth peer name silent1", "link set silent0 up", "link set silent1 up", "addr add 198.18.0.1/32 dev silent0",
		"route add 203.0.113.0/24 dev silent0", "neigh add 203.0.113.1 lladdr 02:00:00:00:00:99 dev silent0", // nobody's address
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("ip", "link", "del", "silent0").Run() })
	n, guest, log := run(t, "")
	ctx, cancel := context.WithCancel(within(t))
	var dialing sync.WaitGroup
	for i := range maxAttempts + 10 {
		dialing.Go(func() {
			c, err := guest.DialTCP(ctx, netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), uint16(1000+i)))
			if err == nil || ctx.Err() == nil {
				t.Errorf("attempt %d: %v, %v", i, c, err)
			}
		})
	}
	if !nstest.Eventually(20*time.Second, func() bool { return n.dropped.Load() >= 10 }) {
		t.Errorf("more than %d attempts at a time: %s", maxAttempts, n.Status())
	}
	if !nstest.Eventually(20*time.Second, func() bool { return n.conns.count() == maxAttempts }) {
		t.Errorf("%d attempts are carried, want %d", n.conns.count(), maxAttempts)
	}
	if strings.Count(log.String(), "too many connections are being made") != 1 {
		t.Errorf("the log says\n%s", log)
	}
	cancel()
	dialing.Wait()
}

// Without leave to send pings the gateway says so once, and what to do.
func TestPingIsNotPermitted(t *testing.T) {
	haveElsewhere(t)
	forbid := func(ids string) {
		t.Helper()
		if out, err := exec.Command("sysctl", "-qw", "net.ipv4.ping_group_range="+ids).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	forbid("1\t0")
	n, guest, log := run(t, "loopback allow")
	e, err := guest.OpenEcho(netip.MustParseAddr(elsewhere4))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for seq := range uint16(3) {
		e.Send(seq, nil)
	}
	if !nstest.Eventually(20*time.Second, func() bool { return n.dropped.Load() == 3 }) {
		t.Errorf("%d pings dropped, want 3", n.dropped.Load())
	}
	if strings.Count(log.String(), "widen it") != 1 {
		t.Errorf("the log says\n%s", log)
	}
	select {
	case a := <-e.Answers():
		t.Errorf("an answer: %+v", a)
	default:
	}
}

// What comes from elsewhere than the guests' network is not carried.
func TestStrangersAreDropped(t *testing.T) {
	n, _, _ := run(t, "loopback allow")
	server := listenUDP(t, loopbacks[0], func([]byte) []byte {
		t.Error("a stranger's datagram was carried")
		return nil
	})
	for i, from := range []string{"192.0.2.1:1", gateway4 + ":1", "[2001:db8::1]:1"} {
		n.datagram(netstack.Datagram{From: netip.MustParseAddrPort(from), To: at(server), Payload: []byte("x")})
		if n.dropped.Load() != uint64(i+1) {
			t.Errorf("what comes from %s is not dropped", from)
		}
	}
	// Who has no address yet is none; he asks for one where nobody gives any.
	n.datagram(netstack.Datagram{From: netip.MustParseAddrPort("0.0.0.0:68"), To: netip.MustParseAddrPort("255.255.255.255:67"), Payload: []byte("x")})
	if n.dropped.Load() != 3 {
		t.Errorf("%d dropped, want 3", n.dropped.Load())
	}
	if udp, _ := n.flows.count(); udp != 0 {
		t.Errorf("%d flows", udp)
	}
}

// What both sides have ended counts as a connection until the guest has taken all,
// and nothing of it is lost.
func TestGuestReadsLate(t *testing.T) {
	n, guest, _ := run(t, "loopback allow")
	data := random(1500 << 10) // more than a guest takes without reading
	served := make(chan struct{})
	server := listen(t, loopbacks[0], func(c *net.TCPConn) {
		defer close(served)
		c.Write(data)
		io.Copy(io.Discard, c)
	})
	c := dial(t, guest, at(server))
	c.CloseWrite()
	select {
	case <-served:
	case <-within(t).Done():
		t.Fatal("the server is not done")
	}
	time.Sleep(500 * time.Millisecond) // in which nothing changes
	if n.conns.count() != 1 {
		t.Errorf("before the guest has read: %s", n.Status())
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came of %d, %v", len(got), len(data), err)
	}
	if !nstest.Eventually(20*time.Second, func() bool { return n.conns.count() == 0 }) {
		t.Errorf("after it: %s", n.Status())
	}
}
