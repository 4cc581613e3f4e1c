package transport

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"tmelink/internal/openvpn"
)

// target is a server behind --port-share, which a test plays.
type target struct {
	*net.TCPListener
	share PortShare
}

func newTarget(t testing.TB) target {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return target{l, PortShare{Host: "127.0.0.1", Port: addrPort(l.Addr()).Port()}}
}

// takes waits for a connection that is passed on.
func (s target) takes(t testing.TB) *net.TCPConn {
	t.Helper()
	s.SetDeadline(time.Now().Add(patience))
	conn, err := s.AcceptTCP()
	if err != nil {
		t.Fatalf("nothing is passed on: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func expect(t testing.TB, conn io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got[:n], err, want)
	}
}

// hello is a TLS client's first packet, as far as it matters here.
const hello = "\x00\x0e\x38 and so on..."

var byClient = openvpn.Beginning{ByClient: true}

func TestConnectionsGoWhereTheyBelong(t *testing.T) {
	s := newTarget(t)
	l := listen(t, ListenConfig{Share: s.share, Beginning: byClient, Remote: from("127.0.0.2")})
	// Others are passed on, from wherever they come.
	for _, local := range []string{"127.0.0.2", "127.0.0.3"} {
		client := dialFrom(t, local, l.Local())
		client.SetDeadline(time.Now().Add(patience))
		io.WriteString(client, "GET / HTTP/1.0\r\n\r\n")
		server := s.takes(t)
		expect(t, server, "GET / HTTP/1.0\r\n\r\n")
		io.WriteString(server, "HTTP/1.0 200 OK\r\n\r\n")
		expect(t, client, "HTTP/1.0 200 OK\r\n\r\n")
	}
	// OpenVPN from elsewhere is nobody's.
	stranger := dialFrom(t, "127.0.0.3", l.Local())
	io.WriteString(stranger, hello)
	isClosed(t, stranger)
	// The peer has the link, with all that was read to know it; the socket stays.
	peer := dialFrom(t, "127.0.0.2", l.Local())
	io.WriteString(peer, hello[:2])
	time.Sleep(50 * time.Millisecond)
	io.WriteString(peer, hello[2:]+"\x00\x04more")
	conn := accept(t, l)
	if got := gather(t, conn, 2); got[0] != hello[2:] || got[1] != "more" {
		t.Errorf("the peer said %q", got)
	}
	second := dialFrom(t, "127.0.0.2", l.Local())
	io.WriteString(second, hello)
	isClosed(t, second)
	other := dialFrom(t, "127.0.0.2", l.Local())
	io.WriteString(other, "SSH-2.0\r\n")
	expect(t, s.takes(t), "SSH-2.0\r\n")
	conn.Close()
	again := dialFrom(t, "127.0.0.2", l.Local())
	io.WriteString(again, hello)
	if got := gather(t, accept(t, l), 1); got[0] != hello[2:] {
		t.Errorf("the peer said %q", got)
	}
}

// TestAByteASecond: both kinds of connection are told by their first bytes, however
// slowly these come.
func TestAByteASecond(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	l := listen(t, ListenConfig{Share: s.share, Beginning: byClient})
	slowly := func(conn *net.TCPConn, text string) {
		for i := range text {
			time.Sleep(time.Second)
			conn.Write([]byte{text[i]})
		}
	}
	web, peer := dialFrom(t, "127.0.0.1", l.Local()), dialFrom(t, "127.0.0.1", l.Local())
	var slow sync.WaitGroup
	defer slow.Wait()
	slow.Go(func() { slowly(web, "\x00\x20web") }) // its third byte tells
	slow.Go(func() { slowly(peer, hello[:6]); io.WriteString(peer, hello[6:]) })
	expect(t, s.takes(t), "\x00\x20web")
	if got := gather(t, accept(t, l), 1); got[0] != hello[2:] {
		t.Errorf("the peer said %q", got)
	}
}

// TestASilentPeerWithoutTLS counts as OpenVPN's after a while, where that may be.
func TestASilentPeerWithoutTLS(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	at := freeAddr(t)
	plain := listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at}, Share: s.share, Remote: from("127.0.0.2")})
	c := ListenConfig{TCPConfig: tcpConfig(), Beginning: byClient}
	c.Local = at
	byTLS := listen(t, c)
	silent, other := dialFrom(t, "127.0.0.2", at), dialFrom(t, "127.0.0.3", at)
	conn := accept(t, plain)
	say(silent, "at last")
	if got := gather(t, conn, 1); got[0] != "at last" {
		t.Errorf("got %q", got)
	}
	// A TLS client is never silent: the other one has still to show what it is.
	if !byTLS.free() {
		t.Error("a silent connection has become a TLS link's")
	}
	io.WriteString(other, hello)
	if got := gather(t, accept(t, byTLS), 1); got[0] != hello[2:] {
		t.Errorf("got %q", got)
	}
	// What begins well for the one link is foreign for the other.
	web := dialFrom(t, "127.0.0.3", at)
	io.WriteString(web, "\x00\x20web")
	expect(t, s.takes(t), "\x00\x20web")
}

func TestHalfClosedConnectionsStayHalfOpen(t *testing.T) {
	s := newTarget(t)
	l := listen(t, ListenConfig{Share: s.share, Beginning: byClient})
	for _, clientFirst := range []bool{true, false} {
		client := dialFrom(t, "127.0.0.1", l.Local())
		client.SetDeadline(time.Now().Add(patience))
		io.WriteString(client, "GET")
		server := s.takes(t)
		expect(t, server, "GET")
		one, other := client, server
		if !clientFirst {
			one, other = server, client
		}
		io.WriteString(one, "the last")
		one.CloseWrite()
		if got, err := io.ReadAll(other); err != nil || string(got) != "the last" {
			t.Fatalf("got %q, %v", got, err)
		}
		for range 3 { // the other direction goes on
			io.WriteString(other, "answer")
			expect(t, one, "answer")
		}
		other.CloseWrite()
		if got, err := io.ReadAll(one); err != nil || len(got) > 0 {
			t.Fatalf("got %q, %v", got, err)
		}
		eventually(t, "the end of the passage", func() bool { return l.passages() == 0 })
	}
	// Bytes that do not suffice, and an end, are another protocol's too.
	client := dialFrom(t, "127.0.0.1", l.Local())
	client.SetDeadline(time.Now().Add(patience))
	client.Write([]byte{0, 20})
	client.CloseWrite()
	server := s.takes(t)
	if got, err := io.ReadAll(server); err != nil || string(got) != "\x00\x14" {
		t.Fatalf("got %q, %v", got, err)
	}
	io.WriteString(server, "what?")
	expect(t, client, "what?")
}

// passages is how many connections are passed on.
func (l *Listener) passages() int {
	entrances.Lock()
	defer entrances.Unlock()
	l.entrance.share.mu.Lock()
	defer l.entrance.share.mu.Unlock()
	return len(l.entrance.share.passed)
}

// TestMuchIsPassedOnUnchanged compares 20 MB in each direction at once.
func TestMuchIsPassedOnUnchanged(t *testing.T) {
	s := newTarget(t)
	l := listen(t, ListenConfig{Share: s.share, Beginning: byClient})
	data := make([]byte, 20_000_000)
	rand.Read(data)
	data[0] = 0xff // not OpenVPN's
	client := dialFrom(t, "127.0.0.1", l.Local())
	client.SetDeadline(time.Now().Add(2 * patience))
	var flows sync.WaitGroup
	flow := func(from, to *net.TCPConn) {
		flows.Go(func() {
			if _, err := from.Write(data); err != nil {
				t.Error(err)
			}
			from.CloseWrite()
		})
		flows.Go(func() {
			sum := sha256.New()
			if _, err := io.Copy(sum, to); err != nil {
				t.Error(err)
			}
			if want := sha256.Sum256(data); !bytes.Equal(sum.Sum(nil), want[:]) {
				t.Error("what was passed on has changed")
			}
		})
	}
	client.Write(data[:1])
	server := s.takes(t)
	server.SetDeadline(time.Now().Add(2 * patience))
	expect(t, server, "\xff")
	flow(client, server)
	flow(server, client)
	flows.Wait()
}

// TestAThousandSilentConnections keep nobody out, and do not pile up.
func TestAThousandSilentConnections(t *testing.T) {
	s := newTarget(t)
	logged := &log{}
	c := ListenConfig{TCPConfig: tcpConfig(), Share: s.share, Beginning: byClient}
	c.Log = logged.logger()
	l := listen(t, c)
	for i := range 1000 {
		dialFrom(t, fmt.Sprintf("127.0.1.%d", i%3), l.Local())
	}
	eventually(t, "most to be closed", func() bool {
		entrances.Lock()
		defer entrances.Unlock()
		if n := len(l.entrance.waiting); n > maxNewcomers {
			t.Fatalf("%d connections are kept", n)
		}
		return len(l.entrance.waiting) == maxNewcomers
	})
	peer, web := dialFrom(t, "127.0.0.1", l.Local()), dialFrom(t, "127.0.0.1", l.Local())
	for range maxNewcomers { // and on they come
		dialFrom(t, "127.0.1.1", l.Local())
	}
	io.WriteString(peer, hello)
	if got := gather(t, accept(t, l), 1); got[0] != hello[2:] {
		t.Errorf("the peer said %q", got)
	}
	io.WriteString(web, "GET")
	expect(t, s.takes(t), "GET")
	if n := logged.count("has not shown what it is"); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
}

// TestASilentConnectionIsClosed after its time, though there is room.
func TestASilentConnectionIsClosed(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	l := listen(t, ListenConfig{TCPConfig: tcpConfig(), Share: s.share, Beginning: byClient})
	silent := dialFrom(t, "127.0.0.1", l.Local())
	io.WriteString(silent, hello[:2])
	silent.SetReadDeadline(time.Now().Add(newcomerTime + patience))
	begin := time.Now()
	if n, err := silent.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("it is not closed: %v", err)
	}
	if d := time.Since(begin); d < newcomerTime/2 {
		t.Errorf("it is closed after %v", d)
	}
}

func TestATargetThatIsDown(t *testing.T) {
	s := newTarget(t)
	s.Close()
	logged := &log{}
	c := ListenConfig{TCPConfig: tcpConfig(), Share: s.share, Beginning: byClient}
	c.Log = logged.logger()
	l := listen(t, c)
	for range 3 {
		web := dialFrom(t, "127.0.0.1", l.Local())
		io.WriteString(web, "GET")
		isClosed(t, web)
	}
	peer := dialFrom(t, "127.0.0.1", l.Local())
	io.WriteString(peer, hello)
	gather(t, accept(t, l), 1)
	if n := logged.count("cannot pass a connection on"); n != 1 || !logged.has("refused") {
		t.Errorf("%d lines, want 1", n)
	}
}

func TestPassedConnectionsAreBounded(t *testing.T) {
	s := newTarget(t)
	logged := &log{}
	c := ListenConfig{TCPConfig: tcpConfig(), Share: s.share, Beginning: byClient}
	c.Log = logged.logger()
	l := listen(t, c)
	for i := range maxPassed {
		io.WriteString(dialFrom(t, "127.0.0.1", l.Local()), "GET")
		s.takes(t)
		if n := l.passages(); n > i+1 {
			t.Fatalf("%d connections are passed on", n)
		}
	}
	for range 3 {
		more := dialFrom(t, "127.0.0.1", l.Local())
		io.WriteString(more, "GET")
		isClosed(t, more)
	}
	if n := logged.count("there are too many"); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
	peer := dialFrom(t, "127.0.0.1", l.Local())
	io.WriteString(peer, hello)
	gather(t, accept(t, l), 1)
}

// TestTheShareGoesWithItsLink: the other links go on, and so does their socket.
func TestTheShareGoesWithItsLink(t *testing.T) {
	s := newTarget(t)
	at := freeAddr(t)
	c := ListenConfig{TCPConfig: tcpConfig(), Share: s.share, Beginning: byClient}
	c.Local = at
	sharing := listen(t, c)
	c.Share = PortShare{}
	c.Remote = from("127.0.0.2")
	other := listen(t, c)
	web := dialFrom(t, "127.0.0.1", at)
	io.WriteString(web, "GET")
	expect(t, s.takes(t), "GET")
	sharing.Close()
	isClosed(t, web)
	dialFrom(t, "127.0.0.2", at)
	accept(t, other) // at once, and whatever it is
	c.Share = PortShare{Host: "127.0.0.1", Port: 9}
	listen(t, c) // another one may be had now
}
