package link

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn"
)

const server = "--dev tap --local 127.0.0.1 --lport 0 --proto tcp-server"

func client(port int) string {
	return fmt.Sprintf("--dev tap --nobind --proto tcp-client --remote 127.0.0.1 %d", port)
}

// freePort is a TCP port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return portOf(l.Addr())
}

// dial connects to a link that listens, once it does.
func dial(t *testing.T, to *testLink, from string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	var conn net.Conn
	eventually(t, "a connection", func() (ok bool) {
		var err error
		conn, err = d.Dial("tcp", to.local().String())
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func TestTCPLinksWaitForEachOtherAndCarryFrames(t *testing.T) {
	s := start(t, server)
	if who := s.elem.(element.Waiter).WaitingFor(); who != "a tcp peer at 127.0.0.1 port 0" {
		t.Errorf("waiting for %q", who)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.elem.(element.Waiter).Wait(ctx); err != context.DeadlineExceeded {
		t.Fatalf("the server does not wait: %v", err)
	}
	s.write(numbered(0))
	if n := s.port.Counters().Write.Count(ethernet.Disconnected); n != 1 {
		t.Errorf("%d counted, want 1", n)
	}
	port := int(s.local().Port())
	c := start(t, client(port))
	if who := c.elem.(element.Waiter).WaitingFor(); who != fmt.Sprintf("tcp peer 127.0.0.1 port %d", port) {
		t.Errorf("waiting for %q", who)
	}
	s.wait()
	c.wait()
	s.write(series(100)...)
	c.expectSeries(100)
	c.write(series(100)...)
	s.expectSeries(100)
	if !strings.Contains(s.status(), "connected") || !strings.Contains(c.status(), "peer "+s.local().String()) {
		t.Errorf("status %q and %q", s.status(), c.status())
	}
}

func TestTCPFramesOfSingleBytesAndOfOneSegment(t *testing.T) {
	s := start(t, server)
	conn := dial(t, s, "127.0.0.1")
	s.wait()
	stream := openvpn.AppendStream(nil, append(series(50), []byte(ping), []byte(occRequest)))
	for i := range stream {
		conn.Write(stream[i : i+1])
	}
	s.expectSeries(50)
	var rest [][]byte
	for i := range 100 {
		rest = append(rest, numbered(50+i))
	}
	conn.Write(openvpn.AppendStream(nil, rest))
	s.expectSeries(150)
	want := occRequest[:16] + "\x01V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto TCPv4_SERVER\x00"
	conn.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, 2+len(want))
	for n := 0; n < len(got); {
		m, err := conn.Read(got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if string(got[2:]) != want {
		t.Errorf("answer %q", got)
	}
	if n := s.port.Counters().Read.Count(ethernet.Control); n != 2 {
		t.Errorf("%d control messages, want 2", n)
	}
}

func TestTCPServerTakesOnePeerAtATime(t *testing.T) {
	s := start(t, server)
	first := dial(t, s, "127.0.0.1")
	s.wait()
	if second, err := net.DialTimeout("tcp", s.local().String(), patience); err == nil {
		second.Close()
		t.Error("a second peer is let in")
	}
	addr := s.local()
	first.Close()
	// The port of --lport 0 is another one each time.
	eventually(t, "another socket", func() bool { return s.local() != addr })
	second := dial(t, s, "127.0.0.1")
	second.Write(openvpn.AppendStream(nil, series(1)))
	s.expectSeries(1)
	if !strings.Contains(s.status(), "restarts 1") {
		t.Errorf("status %q", s.status())
	}
}

func TestTCPServerTakesOnlyItsRemote(t *testing.T) {
	s := start(t, server+" --remote 127.0.0.2")
	for range 3 {
		stranger := dial(t, s, "127.0.0.3")
		stranger.SetReadDeadline(time.Now().Add(patience))
		if _, err := stranger.Read(make([]byte, 1)); err == nil {
			t.Fatal("the stranger is spoken to")
		}
	}
	peer := dial(t, s, "127.0.0.2")
	s.wait()
	peer.Write(openvpn.AppendStream(nil, series(1)))
	s.expectSeries(1)
	if n := strings.Count(s.log.String(), "127.0.0.3"); n != 1 {
		t.Errorf("the stranger is logged %d times, want once:\n%s", n, s.log)
	}
}

func TestTCPConnectionIsMadeAgain(t *testing.T) {
	port := freePort(t)
	c := start(t, client(port)+" --connect-retry 0")
	serverWords := fmt.Sprintf("--local 127.0.0.1 --lport %d --proto tcp-server", port)
	s := start(t, serverWords)
	c.wait()
	s.wait()
	c.writeUntil("a frame to the server", func() bool { return len(s.got()) > 0 }, numbered(0))
	if err := s.elem.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss to be seen", func() bool { return strings.Contains(c.log.String(), "link is lost") })
	c.writeUntil("a drop", func() bool { return c.port.Counters().Write.Count(ethernet.Disconnected) > 0 }, numbered(0))
	if c.ended() != nil {
		t.Fatalf("the port has ended: %v", c.ended())
	}
	again := start(t, serverWords)
	again.wait()
	c.writeUntil("a frame to the new server", func() bool { return len(again.got()) > 0 }, numbered(0))
	again.writeUntil("a frame to the client", func() bool { return len(c.got()) > 0 }, numbered(0))
	if !strings.Contains(c.log.String(), "next attempt") {
		t.Errorf("log:\n%s", c.log)
	}
}

func TestTCPClientIsMadeAgain(t *testing.T) {
	port := freePort(t)
	s := start(t, fmt.Sprintf("--local 127.0.0.1 --lport %d --proto tcp-server", port))
	words := fmt.Sprintf("--local 127.0.0.1 --lport %d --proto tcp-client --connect-retry 0 --remote 127.0.0.1 %d", freePort(t), port)
	for range 2 { // with the same port at its own end too
		c := start(t, words)
		c.wait()
		n := len(s.got())
		c.writeUntil("a frame to the server", func() bool { return len(s.got()) > n }, numbered(0))
		s.writeUntil("a frame to the client", func() bool { return len(c.got()) > 0 }, numbered(0))
		c.elem.Close()
	}
}

func TestTCPForeignStreamIsCutOff(t *testing.T) {
	s := start(t, server)
	conn := dial(t, s, "127.0.0.1")
	conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Fatal("it is answered")
	}
	eventually(t, "a line", func() bool { return strings.Contains(s.log.String(), "packet length 18245") })
	dial(t, s, "127.0.0.1").Write(openvpn.AppendStream(nil, series(1)))
	s.expectSeries(1)
}

func TestTCPPingRestart(t *testing.T) {
	s := start(t, server+" --ping 1 --ping-restart 1")
	conn := dial(t, s, "127.0.0.1")
	conn.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, 18)
	if n, err := conn.Read(got); err != nil || string(got[:n]) != "\x00\x10"+ping {
		t.Fatalf("no ping: %x, %v", got, err)
	}
	for {
		if _, err := conn.Read(got); err != nil {
			break
		}
	}
	eventually(t, "a line", func() bool { return strings.Contains(s.log.String(), "silent") })
}

func TestTCPBlockedPeerDelaysNobody(t *testing.T) {
	s := build(t, server+" --ping 1")
	if err := s.elem.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	dial(t, s, "127.0.0.1") // and never read
	s.wait()
	wrote := make(chan struct{}, 1)
	ended := make(chan error)
	go func() {
		batch := []ethernet.Frame{{Data: make([]byte, 1500)}}
		for {
			if err := s.port.WriteFrames(batch); err != nil {
				ended <- err
				return
			}
			select {
			case wrote <- struct{}{}:
			default:
			}
		}
	}()
	for blocked := false; !blocked; {
		select {
		case <-wrote:
		case <-time.After(300 * time.Millisecond):
			blocked = true
		}
	}
	if s.status() == "" {
		t.Error("no status")
	}
	closed := make(chan struct{})
	go func() { s.elem.Close(); close(closed) }()
	for range 2 {
		select {
		case <-closed:
			closed = nil
		case err := <-ended:
			if err != net.ErrClosed {
				t.Errorf("write: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("a blocked write holds up Close")
		}
	}
}

func TestTCPBlockedPeerIsRestarted(t *testing.T) {
	s := start(t, server+" --ping 1 --ping-restart 2")
	dial(t, s, "127.0.0.1") // it neither reads nor speaks
	s.wait()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		batch := []ethernet.Frame{{Data: make([]byte, 1500)}}
		for {
			select {
			case <-stop:
				return
			default:
				s.port.WriteFrames(batch)
			}
		}
	}()
	eventually(t, "the silence to be seen", func() bool { return strings.Contains(s.log.String(), "silent") })
	close(stop)
	<-done
}

func TestTCPClientWithoutItsAddressFailsAtOnce(t *testing.T) {
	l := start(t, fmt.Sprintf("--local 192.0.2.1 --proto tcp-client --remote 127.0.0.1 %d", freePort(t)))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := l.elem.(element.Waiter).Wait(ctx)
	if err == nil || !strings.HasPrefix(err.Error(), "connect from tcp 192.0.2.1:1194: cannot assign requested address") {
		t.Errorf("got %v", err)
	}
	eventually(t, "the port to end", func() bool { return l.ended() != nil })
}

func TestTCPClientGivesUp(t *testing.T) {
	l := start(t, client(freePort(t))+" --connect-retry 0 --connect-retry-max 3")
	eventually(t, "the end", func() bool { return l.ended() != nil })
	if err := l.ended(); !strings.Contains(err.Error(), "--connect-retry-max") {
		t.Errorf("got %v", err)
	}
	if n := strings.Count(l.log.String(), "msg=connecting"); n != 3 {
		t.Errorf("%d attempts, want 3:\n%s", n, l.log)
	}
	if err := l.elem.(element.Waiter).Wait(context.Background()); err == nil {
		t.Error("Wait does not tell")
	}
}

func TestCloseWhileConnecting(t *testing.T) {
	for _, text := range []string{
		server,
		client(freePort(t)),
		"--nobind --proto tcp-client --remote 192.0.2.1", // goes nowhere
	} {
		l := start(t, text)
		if err := l.elem.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.elem.(element.Waiter).Wait(context.Background()); err != net.ErrClosed {
			t.Errorf("%s: wait: %v", text, err)
		}
		eventually(t, "the port to end", func() bool { return l.ended() == net.ErrClosed })
	}
}

func TestTCPLinkAllocatesNothing(t *testing.T) {
	s := build(t, server+" --ping 10 --ping-restart 60")
	if err := s.elem.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c := build(t, client(int(s.local().Port()))+" --ping 10 --ping-restart 60")
	if err := c.elem.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.wait()
	c.wait()
	checkAllocations(t, c.port, s.port)
}

func TestTCPClientLeavesARemoteThatHangsUp(t *testing.T) {
	front, err := net.Listen("tcp", "127.0.0.1:0") // of a server that is not there
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	go func() {
		for {
			conn, err := front.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	s := start(t, server)
	c := start(t, fmt.Sprintf("%s --connect-retry 0 --remote 127.0.0.1 %d", client(portOf(front.Addr())), s.local().Port()))
	s.wait()
	c.writeUntil("a frame at the next remote", func() bool { return len(s.got()) > 0 }, numbered(0))
}

func TestTCPClientWhoseSocketIsRefusedFailsAtOnce(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: --bind-dev is Linux's")
	}
	l := start(t, client(freePort(t))+" --bind-dev none7")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := l.elem.(element.Waiter).Wait(ctx)
	if err == nil || !strings.HasPrefix(err.Error(), "connect from tcp: bind to interface none7: ") {
		t.Errorf("got %v", err)
	}
}

func TestTCPServerListensWhileItsPeersNameDoesNotResolve(t *testing.T) {
	var names names
	names.set("127.0.0.2")
	text := server + " --remote peer.example"
	s := build(t, text)
	s.elem.(tcpLink).names = names.resolve
	s.begin(text)
	addr := s.local()
	first := dial(t, s, "127.0.0.2")
	s.wait()
	names.set("")
	first.Close()
	eventually(t, "another socket", func() bool { return s.local() != addr })
	stranger := dial(t, s, "127.0.0.2")
	stranger.SetReadDeadline(time.Now().Add(patience))
	if _, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Error("who cannot be told to be the peer is let in")
	}
	names.set("127.0.0.2")
	dial(t, s, "127.0.0.2").Write(openvpn.AppendStream(nil, series(1)))
	s.expectSeries(1)
}
