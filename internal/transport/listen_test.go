package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
	"tmelink/internal/openvpn"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func listen(t testing.TB, c ListenConfig) *Listener {
	t.Helper()
	if c.MaxPacket == 0 {
		c.MaxPacket, c.Beginning.MaxPacket, c.Counters = 1768, 1768, &ethernet.Counters{}
	}
	if !c.Local.IsValid() {
		c.Local = loopback
	}
	if c.Log == nil {
		c.Log = (&log{}).logger()
	}
	l, err := Listen(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// from is the Remote of a peer at a few addresses.
func from(addrs ...string) func(context.Context) ([]netip.Addr, error) {
	var parsed []netip.Addr
	for _, a := range addrs {
		parsed = append(parsed, netip.MustParseAddr(a))
	}
	return func(context.Context) ([]netip.Addr, error) { return parsed, nil }
}

func accept(t testing.TB, l *Listener) *TCP {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := l.Accept(ctx)
	if err != nil {
		t.Fatalf("nobody is let in: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// freeAddr is an address with a port that nobody listens on.
func freeAddr(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return addrPort(l.Addr())
}

// dialFrom connects from an address of 127.0.0.0/8.
func dialFrom(t testing.TB, local string, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn, err := tryFrom(local, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func tryFrom(local string, to netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: patience}
	conn, err := d.Dial("tcp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// isClosed waits until a connection is, and says so if something comes instead.
func isClosed(t testing.TB, conn *net.TCPConn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection from %v is not closed: %d bytes, %v", conn.LocalAddr(), n, err)
	}
}

func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	if !nstest.Eventually(patience, ask) {
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// expectFrom says whose connection a link has got, by what comes over it.
func expectFrom(t testing.TB, l *Listener, text string) *TCP {
	t.Helper()
	conn := accept(t, l)
	if got := gather(t, conn, 1); got[0] != text {
		t.Errorf("%q came to the link of %q", got[0], text)
	}
	return conn
}

func say(conn *net.TCPConn, text string) {
	conn.Write(openvpn.AppendStream(nil, [][]byte{[]byte(text)}))
}

func TestAListenerLetsOnlyItsPeerIn(t *testing.T) {
	logged := &log{}
	l := listen(t, ListenConfig{TCPConfig: TCPConfig{Log: logged.logger()}, Remote: from("127.0.0.2")})
	for range 3 {
		isClosed(t, dialFrom(t, "127.0.0.3", l.Local()))
	}
	say(dialFrom(t, "127.0.0.2", l.Local()), "peer")
	expectFrom(t, l, "peer")
	if n := logged.count("from=127.0.0.3"); n != 1 {
		t.Errorf("the stranger is logged %d times, want once", n)
	}
}

// TestALoneListenerIsClosedWhileItsPeerIsThere: as with OpenVPN the kernel refuses
// others; and afterwards it is the same as before.
func TestALoneListenerIsClosedWhileItsPeerIsThere(t *testing.T) {
	at := freeAddr(t)
	l := listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at}})
	for i := range 3 {
		say(dialFrom(t, "127.0.0.1", at), fmt.Sprint(i))
		conn := expectFrom(t, l, fmt.Sprint(i))
		if second, err := tryFrom("127.0.0.1", at); err == nil {
			second.Close()
			t.Error("a second peer is not refused")
		}
		if err := l.Again(context.Background()); err != nil { // it must not listen yet
			t.Fatal(err)
		}
		if second, err := tryFrom("127.0.0.1", at); err == nil {
			second.Close()
			t.Error("a second peer is not refused")
		}
		conn.Close()
		if err := l.Again(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLinksShareASocketByTheirPeers(t *testing.T) {
	at := freeAddr(t)
	logged := &log{}
	member := func(remote func(context.Context) ([]netip.Addr, error)) *Listener {
		return listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at, Log: logged.logger()}, Remote: remote})
	}
	two, anybody, three := member(from("127.0.0.2")), member(nil), member(from("127.0.0.3", "127.0.0.4"))
	conns := map[string]*net.TCPConn{}
	for _, a := range []string{"127.0.0.9", "127.0.0.4", "127.0.0.2"} {
		conns[a] = dialFrom(t, a, at)
		say(conns[a], a)
	}
	atTwo := expectFrom(t, two, "127.0.0.2")
	atAny := expectFrom(t, anybody, "127.0.0.9")
	expectFrom(t, three, "127.0.0.4")
	for range 3 { // all have one
		for _, a := range []string{"127.0.0.9", "127.0.0.3", "127.0.0.2"} {
			isClosed(t, dialFrom(t, a, at))
		}
	}
	for _, a := range []string{"127.0.0.9", "127.0.0.3", "127.0.0.2"} {
		if n := logged.count("the link has one\" from=" + a + " "); n != 1 {
			t.Errorf("%s is logged %d times, want once", a, n)
		}
	}
	// After a loss the next connection waits for its link; the others go on.
	atTwo.Close()
	say(dialFrom(t, "127.0.0.2", at), "again")
	expectFrom(t, two, "again")
	say(conns["127.0.0.9"], "still here")
	if got := gather(t, atAny, 1); got[0] != "still here" {
		t.Errorf("got %q", got)
	}
	// One that leaves takes only its own peers with it.
	two.Close()
	isClosed(t, dialFrom(t, "127.0.0.2", at)) // the other link has one
	atAny.Close()
	say(dialFrom(t, "127.0.0.2", at), "to anybody")
	expectFrom(t, anybody, "to anybody")
	// And who comes later joins.
	again := member(from("127.0.0.2"))
	say(dialFrom(t, "127.0.0.2", at), "to its own")
	expectFrom(t, again, "to its own")
	again.Close()
	three.Close()
	if conn, err := tryFrom("127.0.0.5", at); err == nil { // anybody is alone, and has one
		conn.Close()
		t.Error("the socket is open for one link that has its peer")
	}
	anybody.Close()
	free, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatalf("the port is not free after all: %v", err)
	}
	free.Close()
}

func TestASocketOpensForTheSecondLink(t *testing.T) {
	at := freeAddr(t)
	first := listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at}, Remote: from("127.0.0.2")})
	say(dialFrom(t, "127.0.0.2", at), "two")
	conn := expectFrom(t, first, "two") // and its socket is closed
	second := listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at}, Remote: from("127.0.0.3")})
	say(dialFrom(t, "127.0.0.3", at), "three")
	expectFrom(t, second, "three")
	second.Close()
	if c, err := tryFrom("127.0.0.2", at); err == nil {
		c.Close()
		t.Error("the socket is still open")
	}
	conn.Close()
	if err := first.Again(context.Background()); err != nil {
		t.Fatal(err)
	}
	say(dialFrom(t, "127.0.0.2", at), "again")
	expectFrom(t, first, "again")
}

func TestListenersThatCannotShare(t *testing.T) {
	at := freeAddr(t)
	share := PortShare{Host: "127.0.0.1", Port: 9}
	listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at}, Share: share})
	for want, c := range map[string]ListenConfig{
		"another link listens there with another --port-share": {Share: PortShare{Host: "127.0.0.1", Port: 10}},
		"another link listens there with another --sndbuf":     {TCPConfig: TCPConfig{Socket: Socket{SendBuffer: 1 << 20}}},
	} {
		c.Local = at
		_, err := Listen(context.Background(), c)
		checkBind(t, err, "listen on tcp "+at.String()+": "+want, "")
	}
	same := listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at}, Share: share})
	same.Close()
	listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at}})

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Listen(context.Background(), ListenConfig{TCPConfig: TCPConfig{Local: addrPort(taken.Addr())}})
	checkBind(t, err, "listen on tcp "+taken.Addr().String()+": address already in use (another program or link has that port", "")
}

// TestASlowNameHoldsUpOnlyItsLink: a link whose peer's name is not found out keeps
// nobody else waiting longer than it must.
func TestASlowNameHoldsUpOnlyItsLink(t *testing.T) {
	at := freeAddr(t)
	asked := make(chan struct{}, 1)
	never := func(ctx context.Context) ([]netip.Addr, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	slow := listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at}, Remote: never})
	quick := listen(t, ListenConfig{TCPConfig: TCPConfig{Local: at}, Remote: from("127.0.0.2")})
	for range 2 * maxNewcomers {
		dialFrom(t, "127.0.0.3", at)
	}
	<-asked
	say(dialFrom(t, "127.0.0.2", at), "two")
	expectFrom(t, quick, "two")
	// Close ends what is waited for.
	quick.Close()
	slow.Close()
}

func TestCloseEndsAccept(t *testing.T) {
	l := listen(t, ListenConfig{})
	ended := make(chan error)
	go func() {
		_, err := l.Accept(context.Background())
		ended <- err
	}()
	l.Close()
	l.Close()
	if err := <-ended; err != net.ErrClosed {
		t.Errorf("Accept: %v", err)
	}
	if err := l.Again(context.Background()); err != net.ErrClosed {
		t.Errorf("Again: %v", err)
	}
	// A connection that nobody has accepted is closed with it.
	l = listen(t, ListenConfig{})
	conn := dialFrom(t, "127.0.0.1", l.Local())
	eventually(t, "the connection to be taken", func() bool { return !l.free() })
	l.Close()
	isClosed(t, conn)
	// One that somebody has stays.
	l = listen(t, ListenConfig{})
	conn = dialFrom(t, "127.0.0.1", l.Local())
	server := accept(t, l)
	l.Close()
	server.Send([]byte("still here"), netip.AddrPort{})
	got := make([]byte, 12)
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(conn, got); err != nil || string(got[2:]) != "still here" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTellingIsBounded(t *testing.T) {
	now := time.Now()
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	var once telling
	each := telling{every: time.Minute}
	for i := range 3 * maxTold {
		if want := i < maxTold; once.due(address(i), now) != want || each.due(address(i), now) != want {
			t.Fatalf("address %d: told %v", i, !want)
		}
	}
	later := now.Add(time.Minute)
	if once.due(address(0), later) || !each.due(address(0), later) || each.due(address(0), later) || !each.due(address(2*maxTold), later) {
		t.Error("a minute later it is not as it should be")
	}
	if len(once.last) > maxTold || len(each.last) > maxTold {
		t.Errorf("%d and %d addresses are kept", len(once.last), len(each.last))
	}
}

func TestWhoOpensManyKeepsOutHimself(t *testing.T) {
	newcomers := func(froms ...string) (all []*newcomer) {
		for _, f := range froms {
			n := &newcomer{}
			shown := strings.HasSuffix(f, "!")
			n.from = netip.MustParseAddr(strings.TrimSuffix(f, "!"))
			n.shown.Store(shown)
			all = append(all, n)
		}
		return all
	}
	for _, c := range []struct {
		waiting []*newcomer
		want    int
	}{
		{newcomers("10.0.0.1", "10.0.0.2", "10.0.0.2"), 1},
		{newcomers("10.0.0.1", "10.0.0.2"), 0},
		{newcomers("10.0.0.1!", "10.0.0.1!", "10.0.0.2"), 2},
		{newcomers("10.0.0.1!", "10.0.0.1", "10.0.0.2", "10.0.0.2"), 2},
		{newcomers("10.0.0.1!", "10.0.0.2!"), 0},
	} {
		if got := leastWelcome(c.waiting); got != c.waiting[c.want] {
			t.Errorf("%v is closed of %v", got.from, c.waiting)
		}
	}
}
