package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/hostnet"
	"tmelink/internal/nstest"
)

// inside calls fn on a thread that is in a host: a socket that it opens is the
// host's, wherever it is used afterwards.
func inside(t testing.TB, h *nstest.Host, fn func() error) {
	t.Helper()
	ns, err := hostnet.OpenNamespace(h.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.Do(fn); err != nil {
		t.Fatalf("in %s: %v", h.Name, err)
	}
}

// reach is two hosts that reach each other through tmelink under the addresses of
// tapEnds, each by an interface of its own.
type reach struct {
	a, b             *nstest.Host
	deviceA, deviceB string
	tags             int  // how many VLAN tags a frame of full length may have on the way
	back             bool // a is the second end
}

// turned is the other direction.
func (r reach) turned() reach {
	return reach{r.b, r.a, r.deviceB, r.deviceA, r.tags, !r.back}
}

// from gives addresses as a and b have them.
func (r reach) from(e ends) ends {
	if r.back {
		return ends{e.b, e.a}
	}
	return e
}

// ends are the addresses of a and of b.
type ends struct{ a, b netip.Addr }

// tapEnds are the addresses that the ends have, in IPv4 and IPv6.
var tapEnds = [2]ends{
	{netip.MustParseAddr("10.0.77.1"), netip.MustParseAddr("10.0.77.2")},
	{netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd77::2")},
}

func (e ends) String() string {
	if e.a.Is6() {
		return "IPv6"
	}
	return "IPv4"
}

// tapLine is a description's line of a TAP for end 1 or 2, connected as at says.
func tapLine(at string, end int, options string) string {
	return fmt.Sprintf("%s: tme/host/tun/tap interface tap0 inet 10.0.77.%d netmask 255.255.255.0 inet6 fd77::%d/64 hwaddr 02:00:00:00:77:0%d nat none %s\n",
		at, end, end, end, options)
}

// dial connects a TCP socket of host a to one of host b.
func (r reach) dial(t testing.TB, e ends) (x, y *net.TCPConn) {
	t.Helper()
	e = r.from(e)
	var l net.Listener
	inside(t, r.b, func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(e.b, 0).String())
		return err
	})
	defer l.Close()
	inside(t, r.a, func() error {
		d := net.Dialer{Timeout: 15 * time.Second}
		c, err := d.Dial("tcp", l.Addr().String())
		if err == nil {
			x = c.(*net.TCPConn)
		}
		return err
	})
	l.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	c, err := l.Accept()
	if err != nil {
		x.Close()
		t.Fatalf("accept on %v: %v", l.Addr(), err)
	}
	t.Cleanup(func() { x.Close(); c.Close() })
	return x, c.(*net.TCPConn)
}

// exchange sends size bytes over a connection in both directions at once, in
// pieces of very different sizes, and compares every byte.
func exchange(x, y *net.TCPConn, size int) error {
	deadline := time.Now().Add(30 * time.Second)
	x.SetDeadline(deadline)
	y.SetDeadline(deadline)
	results := make(chan error, 4)
	for i, way := range [][2]*net.TCPConn{{x, y}, {y, x}} {
		go func() { results <- pour(way[0], stream(i), size) }()
		go func() { results <- compare(way[1], stream(i), size) }()
	}
	var errs []error
	for range 4 {
		if err := <-results; err != nil {
			errs = append(errs, err)
			x.Close() // the other direction need not wait for its deadline
			y.Close()
		}
	}
	return errors.Join(errs...)
}

// stream is the bytes of one direction.
func stream(way int) io.Reader { return rand.NewChaCha8([32]byte{transferSeed, byte(way)}) }

func pour(c *net.TCPConn, from io.Reader, size int) error {
	buf := make([]byte, 256<<10)
	pieces := []int{1, 100, 1448, 1449, 20000, len(buf), 7, 64000, 2896}
	for i, left := 0, size; left > 0; i++ {
		piece := buf[:min(left, pieces[i%len(pieces)])]
		io.ReadFull(from, piece)
		if _, err := c.Write(piece); err != nil {
			return fmt.Errorf("write after %d of %d bytes: %w", size-left, size, err)
		}
		left -= len(piece)
	}
	return c.CloseWrite()
}

func compare(c *net.TCPConn, with io.Reader, size int) error {
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := 0; ; {
		n, err := c.Read(got)
		io.ReadFull(with, want[:n])
		if !bytes.Equal(got[:n], want[:n]) {
			i := 0
			for got[i] == want[i] {
				i++
			}
			return fmt.Errorf("byte %d of the stream is %#02x, want %#02x", at+i, got[i], want[i])
		}
		at += n
		switch {
		case err == io.EOF && at == size:
			return nil
		case err == io.EOF:
			return fmt.Errorf("the stream has %d bytes, want %d", at, size)
		case err != nil:
			return fmt.Errorf("read after %d of %d bytes: %w", at, size, err)
		}
	}
}

// tcp transfers size bytes both ways at once in a new connection.
func (r reach) tcp(t testing.TB, e ends, size int) {
	t.Helper()
	x, y := r.dial(t, e)
	if err := exchange(x, y, size); err != nil {
		t.Fatalf("TCP over %v, %d bytes both ways: %v", e, size, err)
	}
	x.Close()
	y.Close()
}

// shot is what a UDP sender gives the kernel in one call: a datagram, or with a
// segment size many that the kernel cuts (UDP_SEGMENT).
type shot struct {
	payload []byte
	segment int
}

// pieces are the datagrams of a shot.
func (s shot) pieces() [][]byte {
	if s.segment == 0 {
		return [][]byte{s.payload}
	}
	return slices.Collect(slices.Chunk(s.payload, s.segment))
}

// plainSizes are those of datagrams that are sent one by one: around the sizes at
// which frames stop being padded, at which the link's packets and the frames
// themselves stop to fit 1500 bytes, and up to what IP carries.
var plainSizes = []int{1, 2, 17, 18, 19, 100, 512, 1000, 1388, 1389, 1409, 1410, 1411, 1429, 1430, 1431,
	1451, 1452, 1453, 1471, 1472, 1473, 1500, 2944, 2945, 4000, 9000, 32768, 65487}

// groupSizes are the segments, and their numbers, of datagrams that are sent as
// one. Each group has a shorter datagram at its end but for the first ones.
var groupSizes = []struct{ segment, n int }{
	{1, 64}, {18, 64}, {100, 64}, {512, 64}, {1000, 64}, {1200, 50}, {1388, 45}, {1452, 44},
}

// volleys are the shots of a test, those together that are sent at once.
func volleys() [][]shot {
	random := rand.New(rand.NewPCG(transferSeed, 0))
	bytesOf := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	var all [][]shot
	for sizes := range slices.Chunk(plainSizes, 8) {
		var v []shot
		for _, n := range sizes {
			v = append(v, shot{payload: bytesOf(n)})
		}
		all = append(all, v)
	}
	for i, g := range groupSizes {
		n := g.segment * g.n
		if i > 1 {
			n = min(n-g.segment+g.segment/2, 65000)
		}
		all = append(all, []shot{{bytesOf(n), g.segment}, {bytesOf(n), g.segment}})
	}
	return all
}

// udp sends datagrams of all sizes from a to b and compares each. At peace
// nothing may be lost; else what is missing is sent again. It gives the number of
// datagrams.
func (r reach) udp(t testing.TB, e ends, peace bool) (datagrams int) {
	t.Helper()
	e = r.from(e)
	var from, to *net.UDPConn
	open := func(c **net.UDPConn, a netip.Addr) func() error {
		return func() (err error) {
			if *c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0))); err != nil {
				return err
			}
			return setOptions(*c, option{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8 << 20}, option{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8 << 20})
		}
	}
	inside(t, r.a, open(&from, e.a))
	defer from.Close()
	inside(t, r.b, open(&to, e.b))
	defer to.Close()
	d := newDelivery()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := to.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			d.arrive(buf[:n])
		}
	}()
	peer := to.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, v := range volleys() {
		var want [][]byte
		for _, s := range v {
			want = append(want, s.pieces()...)
		}
		datagrams += len(want)
		if err := d.deliver(want, peace, func() error { return fire(from, peer, v, peace) }); err != nil {
			t.Fatalf("UDP over %v, %d datagrams, the first of %d bytes: %v", e, len(want), len(want[0]), err)
		}
	}
	to.Close()
	<-done
	if err := d.end(); err != nil {
		t.Fatalf("UDP over %v: %v", e, err)
	}
	return datagrams
}

// option is one of setsockopt(2).
type option struct{ level, name, value int }

func setOptions(c syscall.Conn, options ...option) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for _, o := range options {
			failed = errors.Join(failed, unix.SetsockoptInt(int(fd), o.level, o.name, o.value))
		}
	})
	return errors.Join(err, failed)
}

// fire sends shots. While offloads are switched the kernel may refuse one: what
// it refuses is counted as lost.
func fire(from *net.UDPConn, to netip.AddrPort, v []shot, peace bool) error {
	for _, s := range v {
		if err := segmentBy(from, s.segment); err != nil {
			return fmt.Errorf("set UDP_SEGMENT to %d: %w", s.segment, err)
		}
		if _, err := from.WriteToUDPAddrPort(s.payload, to); err != nil && peace {
			return fmt.Errorf("send %d bytes in segments of %d: %w", len(s.payload), s.segment, err)
		}
	}
	return nil
}

func segmentBy(c *net.UDPConn, size int) error {
	return setOptions(c, option{unix.IPPROTO_UDP, unix.UDP_SEGMENT, size})
}

// delivery compares what arrives with what was sent.
type delivery struct {
	mu      sync.Mutex
	missing map[string]int
	left    int
	known   map[string]bool // all that was ever sent
	again   bool            // something was sent more than once
	wrong   []string
	all     chan struct{} // has something when nothing is missing
}

func newDelivery() *delivery {
	return &delivery{missing: map[string]int{}, known: map[string]bool{}, all: make(chan struct{}, 1)}
}

// arrive takes up what has come in.
func (d *delivery) arrive(b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch s := string(b); {
	case d.missing[s] > 0:
		d.missing[s]--
		if d.left--; d.left == 0 {
			d.all <- struct{}{}
		}
	case !d.known[s]:
		d.wrong = append(d.wrong, fmt.Sprintf("%d bytes came that were never sent: %.64x", len(b), b))
	case !d.again:
		d.wrong = append(d.wrong, fmt.Sprintf("%d bytes came twice: %.64x", len(b), b))
	}
}

// deliver sends and waits until all that is wanted has come. At peace it sends
// once.
func (d *delivery) deliver(want [][]byte, peace bool, send func() error) error {
	d.mu.Lock()
	for _, w := range want {
		d.missing[string(w)]++
		d.known[string(w)] = true
	}
	d.left = len(want)
	d.mu.Unlock()
	attempts, patience := 1, 5*time.Second
	if !peace {
		attempts, patience = 60, 200*time.Millisecond
	}
	for attempt := range attempts {
		if attempt > 0 {
			d.mu.Lock()
			d.again = true
			d.mu.Unlock()
		}
		if err := send(); err != nil {
			return err
		}
		select {
		case <-d.all:
			return nil
		case <-time.After(patience):
		}
	}
	var sizes []int
	d.mu.Lock()
	defer d.mu.Unlock()
	for s, n := range d.missing {
		for range n {
			sizes = append(sizes, len(s))
		}
	}
	slices.Sort(sizes)
	return errors.Join(fmt.Errorf("%d of them did not arrive, sent %d times, of these sizes: %v", len(sizes), attempts, sizes), d.faults())
}

// end says what was wrong in what came.
func (d *delivery) end() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.faults()
}

func (d *delivery) faults() error {
	if len(d.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d times something wrong came:\n%s", len(d.wrong), strings.Join(d.wrong[:min(5, len(d.wrong))], "\n"))
}

var statusDrops = regexp.MustCompile(`(?m)^  (\S+ -> \S+) .*dropped \d+ \((.*)\)`)

// endsWell has runs of tmelink print their counters, ends them, and fails the test
// if one has dropped frames for other reasons than those given, or does not end
// with 0.
func endsWell(t testing.TB, runs []*nstest.Process, expected ...string) {
	t.Helper()
	for _, p := range runs {
		p.Signal(syscall.SIGUSR2)
		p.Expect(t, "tmelink status", 10*time.Second)
		var status string
		if !nstest.Eventually(5*time.Second, func() bool {
			_, status, _ = strings.Cut(p.Output(), "tmelink status")
			return strings.Contains(status, "dropped") && strings.HasSuffix(status, "\n")
		}) {
			t.Errorf("the status has no connection:\n%s", p.Output())
		}
		for _, m := range statusDrops.FindAllStringSubmatch(status, -1) {
			for reason := range strings.SplitSeq(m[2], ", ") {
				if word, _, _ := strings.Cut(reason, " "); !slices.Contains(expected, word) {
					t.Errorf("%s dropped frames: %s", m[1], reason)
				}
			}
		}
	}
	for _, p := range runs {
		p.Signal(syscall.SIGTERM)
	}
	for _, p := range runs {
		if err := p.Wait(t, 10*time.Second); err != nil {
			t.Errorf("tmelink, ended by SIGTERM: %v\n%s", err, p.Output())
		}
		for _, bad := range []string{"DATA RACE", "panic:", "refuses super-frames"} {
			if strings.Contains(p.Output(), bad) {
				t.Errorf("tmelink says %q:\n%s", bad, p.Output())
			}
		}
	}
}
