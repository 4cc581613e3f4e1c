package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
	"tmelink/internal/transport/proxy"
)

// relay is a SOCKS proxy that relays datagrams of one client, and knows some names.
type relay struct {
	t        testing.TB
	tcp      net.Listener
	client   *net.UDPConn // towards the one who asks
	peers    *net.UDPConn
	names    map[string]netip.AddrPort
	mu       sync.Mutex
	last     netip.AddrPort // from where the client sends
	asked    net.Conn
	headers  []string // of the client's datagrams
	dropping sync.WaitGroup
}

func newRelay(t testing.TB, host string, names map[string]netip.AddrPort) *relay {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	any := net.JoinHostPort(host, "0")
	r := &relay{t: t, tcp: l, client: plain(t, any), peers: plain(t, any), names: names}
	r.dropping.Go(r.accept)
	r.dropping.Go(r.out)
	r.dropping.Go(r.in)
	t.Cleanup(func() {
		l.Close()
		r.client.Close()
		r.peers.Close()
		r.hangUp()
		r.dropping.Wait()
	})
	return r
}

func (r *relay) at() netip.AddrPort { return netip.MustParseAddrPort(r.tcp.Addr().String()) }

func (r *relay) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked != nil {
		r.asked.Close()
	}
}

func (r *relay) accept() {
	for {
		conn, err := r.tcp.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.asked = conn
		r.mu.Unlock()
		io.ReadFull(conn, make([]byte, 3))
		conn.Write([]byte("\x05\x00"))
		request := make([]byte, 4)
		io.ReadFull(conn, request)
		header := proxy.AppendAddrHeader(nil, portOf(r.client))
		conn.Write(append([]byte{5, 0, 0}, header[3:]...))
	}
}

func (r *relay) out() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := r.client.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		to, begin, ok := proxy.CutHeader(b[:n])
		if !ok && n > 5 && b[3] == 3 { // a name
			begin = 5 + int(b[4]) + 2
			to = r.names[string(b[5:begin-2])]
		}
		r.mu.Lock()
		r.last = from
		r.headers = append(r.headers, string(b[:begin]))
		r.mu.Unlock()
		r.peers.WriteToUDPAddrPort(b[begin:n], to)
	}
}

func (r *relay) in() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := r.peers.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		r.say(append(proxy.AppendAddrHeader(nil, from), b[:n]...))
	}
}

// say sends the client a datagram as it is.
func (r *relay) say(datagram []byte) {
	r.mu.Lock()
	to := r.last
	r.mu.Unlock()
	r.client.WriteToUDPAddrPort(datagram, to)
}

func associate(t testing.TB, r *relay, c UDPConfig, to proxy.Target) (*Relayed, *ethernet.Counters, *log) {
	t.Helper()
	l := &log{}
	c.Counters, c.Log, c.MaxPacket = &ethernet.Counters{}, l.logger(), 1768
	conn, err := Associate(context.Background(), RelayedConfig{UDP: c, Proxy: []Route{{Local: c.Local, To: r.at()}}, Remote: to, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, c.Counters, l
}

func targetOf(a netip.AddrPort) proxy.Target {
	return proxy.Target{Host: a.Addr().String(), Port: a.Port()}
}

func TestRelayedCarriesBatches(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		peer := plain(t, net.JoinHostPort(host, "0"))
		r := newRelay(t, host, nil)
		conn, _, _ := associate(t, r, UDPConfig{}, targetOf(portOf(peer)))
		size := proxy.HeaderIPv4
		if host == "::1" {
			size = proxy.HeaderIPv6
		}
		if conn.Framing() != size || conn.Overhead() != size+ipHeader(r.at().Addr())+udpHeader || conn.Peer() != portOf(peer) {
			t.Errorf("%s: framing %d, overhead %d, peer %v", host, conn.Framing(), conn.Overhead(), conn.Peer())
		}
		batch := slices.Insert(texts("packet %d", 20), 5, []byte{})
		if err := conn.WritePackets(batch); err != nil {
			t.Fatal(err)
		}
		conn.Send([]byte("beside"), netip.AddrPort{})
		for i := range 20 {
			if got, want := receive(t, peer), fmt.Sprintf("packet %d", i); got != want {
				t.Fatalf("%s: %q, want %q", host, got, want)
			}
		}
		if got := receive(t, peer); got != "beside" {
			t.Fatalf("%s: %q", host, got)
		}
		for i := range 20 {
			peer.WriteToUDPAddrPort(fmt.Appendf(nil, "answer %d", i), portOf(r.peers))
		}
		for i, got := range gather(t, conn, 20) {
			if want := fmt.Sprintf("answer %d", i); got != want {
				t.Fatalf("%s: %q, want %q", host, got, want)
			}
		}
	}
}

func TestRelayedHearsNobodyElse(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	r := newRelay(t, "127.0.0.1", nil)
	conn, counters, l := associate(t, r, UDPConfig{}, targetOf(portOf(peer)))
	conn.WritePackets([][]byte{[]byte("hello")})
	receive(t, peer)
	header := proxy.AppendAddrHeader(nil, portOf(peer))
	r.say(append(proxy.AppendAddrHeader(nil, netip.MustParseAddrPort("10.0.0.9:1")), "forged"...))
	r.say([]byte("short"))
	r.say(append([]byte{0, 0, 1}, append(header[3:], "a fragment"...)...))
	r.say(header) // and nothing behind it
	r.say(append(header, make([]byte, 1769)...))
	r.say(append(header, "good"...))
	if got := gather(t, conn, 1); got[0] != "good" {
		t.Errorf("%q came through", got)
	}
	for reason, want := range map[ethernet.Reason]uint64{ethernet.Stranger: 1, ethernet.Malformed: 2, ethernet.Runt: 1, ethernet.Oversize: 1} {
		if got := counters.Read.Count(reason); got != want {
			t.Errorf("%d are %v, want %d", got, reason, want)
		}
	}
	if !l.has("dropped what another than the peer sent") {
		t.Error("the log does not tell of the stranger")
	}
}

// The relay itself is asked with a socket of somebody else: the kernel keeps him out.
func TestRelayedHearsOnlyItsRelay(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	r := newRelay(t, "127.0.0.1", nil)
	conn, counters, _ := associate(t, r, UDPConfig{Local: loopback}, targetOf(portOf(peer)))
	conn.WritePackets([][]byte{[]byte("hello")})
	receive(t, peer)
	stranger := plain(t, "127.0.0.1:0")
	stranger.WriteToUDPAddrPort(append(proxy.AppendAddrHeader(nil, portOf(peer)), "forged"...), conn.Local())
	peer.WriteToUDPAddrPort([]byte("good"), portOf(r.peers))
	if got := gather(t, conn, 1); got[0] != "good" || counters.Read.Count(ethernet.Stranger) != 1 {
		t.Errorf("%q, %d strangers", got, counters.Read.Count(ethernet.Stranger))
	}
}

func TestRelayedPeerHasAName(t *testing.T) {
	peer, other := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	r := newRelay(t, "127.0.0.1", map[string]netip.AddrPort{"peer.example": portOf(peer)})
	asked := 0
	conn, counters, _ := associate(t, r, UDPConfig{Introduce: func(p []byte, from netip.AddrPort) bool {
		asked++
		return string(p) == "key" && from == portOf(peer)
	}}, proxy.Target{Host: "peer.example", Port: portOf(peer).Port()})
	if conn.Peer() != portOf(r.client) || conn.Framing() != 4+1+12+2 {
		t.Errorf("peer %v, framing %d", conn.Peer(), conn.Framing())
	}
	conn.WritePackets([][]byte{[]byte("hello")})
	if got := receive(t, peer); got != "hello" {
		t.Fatalf("%q", got)
	}
	other.WriteToUDPAddrPort([]byte("from another port"), portOf(r.peers))
	peer.WriteToUDPAddrPort([]byte("no key"), portOf(r.peers))
	peer.WriteToUDPAddrPort([]byte("key"), portOf(r.peers))
	if got := gather(t, conn, 1); got[0] != "key" || asked != 2 || counters.Read.Count(ethernet.Stranger) != 1 {
		t.Errorf("%q, asked %d times, %d strangers", got, asked, counters.Read.Count(ethernet.Stranger))
	}
	if conn.Peer() != portOf(peer) || conn.Framing() != proxy.HeaderIPv4 {
		t.Errorf("then peer %v, framing %d", conn.Peer(), conn.Framing())
	}
	conn.Send([]byte("to another"), portOf(other))
	if got := receive(t, other); got != "to another" {
		t.Errorf("%q", got)
	}
}

func TestRelayedFloats(t *testing.T) {
	first, second := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	r := newRelay(t, "127.0.0.1", nil)
	conn, _, l := associate(t, r, UDPConfig{Float: true}, targetOf(portOf(first)))
	conn.WritePackets([][]byte{[]byte("hello")})
	receive(t, first)
	second.WriteToUDPAddrPort([]byte("I have moved"), portOf(r.peers))
	gather(t, conn, 1)
	conn.WritePackets([][]byte{[]byte("hello")})
	receive(t, second)
	if !l.has(portOf(second).String()) {
		t.Error("the log does not tell of the move")
	}
}

func TestRelayedEndsWithItsConnection(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	r := newRelay(t, "127.0.0.1", nil)
	conn, counters, _ := associate(t, r, UDPConfig{}, targetOf(portOf(peer)))
	lost := make(chan error, 1)
	go func() {
		_, err := conn.ReadPackets()
		lost <- err
	}()
	conn.WritePackets([][]byte{[]byte("hello")})
	receive(t, peer)
	r.hangUp()
	select {
	case err := <-lost:
		if err != errRelayEnded {
			t.Errorf("the reader gets %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the reader is not woken")
	}
	if err := conn.WritePackets(texts("lost %d", 3)); err != errRelayEnded || counters.Write.Count(ethernet.Disconnected) != 3 {
		t.Errorf("the writer gets %v, %d are counted", err, counters.Write.Count(ethernet.Disconnected))
	}
	conn.Close()
	if _, err := conn.ReadPackets(); err != net.ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

// Over the connection that keeps the relay a proxy may say a little, but not without end.
func TestRelayedEndsWithATalkativeProxy(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	r := newRelay(t, "127.0.0.1", nil)
	conn, _, _ := associate(t, r, UDPConfig{}, targetOf(portOf(peer)))
	say := func(n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked.Write(make([]byte, n))
	}
	say(10)
	conn.WritePackets([][]byte{[]byte("hello")})
	receive(t, peer)
	peer.WriteToUDPAddrPort([]byte("good"), portOf(r.peers))
	gather(t, conn, 1)
	say(maxIdleTalk)
	if _, err := conn.ReadPackets(); err != errRelayTalks {
		t.Errorf("the reader gets %v", err)
	}
}

// Whoever floats can make a line in the log with each datagram: not more than a few.
func TestRelayedTellsOfFewMoves(t *testing.T) {
	first, second := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	r := newRelay(t, "127.0.0.1", nil)
	conn, _, l := associate(t, r, UDPConfig{Float: true}, targetOf(portOf(first)))
	conn.WritePackets([][]byte{[]byte("hello")})
	receive(t, first)
	for range 20 {
		for _, from := range []*net.UDPConn{second, first} {
			from.WriteToUDPAddrPort([]byte("it is me"), portOf(r.peers))
			gather(t, conn, 1)
		}
	}
	if n := l.count("peer heard through the proxy"); n == 0 || n > 30 {
		t.Errorf("%d of 40 moves are logged", n)
	}
}

func TestRelayedBatchesAllocateNothing(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	r := newRelay(t, "127.0.0.1", nil)
	conn, _, _ := associate(t, r, UDPConfig{}, targetOf(portOf(peer)))
	batch := texts("packet %d", 40)
	header := string(proxy.AppendAddrHeader(nil, portOf(peer)))
	r.mu.Lock() // or what the relay allocates would count
	defer r.mu.Unlock()
	if n := testing.AllocsPerRun(100, func() { conn.WritePackets(batch) }); n != 0 {
		t.Errorf("writing allocates %v times", n)
	}
	datagrams := make([][]byte, 40)
	from := make([][]byte, 40)
	for i := range from {
		from[i] = append([]byte(header), "data"...)
	}
	if n := testing.AllocsPerRun(100, func() {
		copy(datagrams, from)
		if len(conn.unwrap(datagrams)) != 40 {
			t.Fatal("datagrams of the peer are dropped")
		}
	}); n != 0 {
		t.Errorf("reading allocates %v times", n)
	}
}

func TestRelayBatchesAreFilledToTheBrim(t *testing.T) {
	packets := make([][]byte, 10)
	for i := range packets {
		packets[i] = make([]byte, 65507)
	}
	b := new(relayBatch)
	header := make([]byte, proxy.MaxHeader)
	if n := b.fill(packets, header); n != 2 || len(b.datagrams) != 2 || len(b.datagrams[1]) != 65507+len(header) {
		t.Errorf("%d packets, %d datagrams", n, len(b.datagrams))
	}
	if n := b.fill([][]byte{{}, {1}, {}}, header); n != 3 || len(b.datagrams) != 1 {
		t.Errorf("%d packets, %d datagrams", n, len(b.datagrams))
	}
}

// silent is a proxy that accepts and says nothing, or what is given.
func silent(t *testing.T, says string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.Map
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(c, true)
			running.Go(func() { io.WriteString(c, says) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		running.Wait()
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestAProxyThatHangsIsGivenUp(t *testing.T) {
	const timeout = 300 * time.Millisecond
	peer := proxy.Target{Host: "peer.example", Port: 1194}
	for _, says := range []string{"", "HTTP/1.0 2", "HTTP/1.0 200 OK\r\nVia: x\r\n"} {
		_, err := DialThrough(context.Background(), tcpConfig(), to(silent(t, says)), &proxy.HTTP{Version: "1.0"}, peer, timeout)
		if err == nil || !strings.Contains(err.Error(), "reach peer.example:1194 through the proxy 127.0.0.1:") ||
			!strings.HasSuffix(err.Error(), "it has not answered within 300ms (--connect-timeout)") {
			t.Errorf("HTTP %q: %v", says, err)
		}
	}
	for _, says := range []string{"", "\x05", "\x05\x00", "\x05\x00\x05\x00\x00\x01"} {
		at := silent(t, says)
		_, err := DialThrough(context.Background(), tcpConfig(), to(at), &proxy.SOCKS{}, peer, timeout)
		_, errUDP := Associate(context.Background(), RelayedConfig{Proxy: to(at), Remote: peer, Timeout: timeout})
		for _, err := range []error{err, errUDP} {
			if err == nil || !strings.HasSuffix(err.Error(), "it has not answered within 300ms (--connect-timeout)") {
				t.Errorf("SOCKS %q: %v", says, err)
			}
		}
	}
}

func TestATalkWithAProxyCanBeBroken(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	at := silent(t, "")
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := DialThrough(ctx, tcpConfig(), to(at), &proxy.SOCKS{}, proxy.Target{Host: "a", Port: 1}, time.Hour)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAProxyThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	_, err = DialThrough(context.Background(), tcpConfig(), to(at), &proxy.SOCKS{}, proxy.Target{Host: "a", Port: 1}, time.Minute)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("reach a:1 through the proxy %v: connect to tcp %v: connection refused", at, at)) {
		t.Error(err)
	}
	from := []Route{{Local: netip.MustParseAddrPort("192.0.2.1:0"), To: at}}
	_, err = DialThrough(context.Background(), tcpConfig(), from, &proxy.SOCKS{}, proxy.Target{Host: "a", Port: 1}, time.Minute)
	var bind *BindError
	if !errors.As(err, &bind) {
		t.Errorf("%T: %v", err, err)
	}
}

// The relay may be of the other family than what is bound.
func TestARelayThatCannotBeReached(t *testing.T) {
	at := silent(t, "\x05\x00\x05\x00\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x12\x34")
	_, err := Associate(context.Background(), RelayedConfig{Proxy: []Route{{Local: loopback, To: at}}, Remote: proxy.Target{Host: "a", Port: 1}, Timeout: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "relays datagrams at [2001:db8::1]:4660, which cannot be reached from 127.0.0.1 of --local") {
		t.Error(err)
	}
}

// What the peer says at once is a packet, and not lost with the proxy's answer.
func TestDialThroughLosesNothing(t *testing.T) {
	at := silent(t, "HTTP/1.1 200 OK\r\n\r\n\x00\x05first")
	conn, err := DialThrough(context.Background(), tcpConfig(), to(at), &proxy.HTTP{Version: "1.0"}, proxy.Target{Host: "a", Port: 1}, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := gather(t, conn, 1); got[0] != "first" {
		t.Errorf("%q", got)
	}
	// The time limit was the talk's alone.
	if nstest.Eventually(200*time.Millisecond, func() bool { return conn.Send([]byte("x"), netip.AddrPort{}) != nil }) {
		t.Error("the connection is broken")
	}
}
