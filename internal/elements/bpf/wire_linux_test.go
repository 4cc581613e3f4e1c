package bpf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
	"tmelink/internal/tmesh"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// wait is how long a test waits for what must happen.
const wait = 20 * time.Second

// testType marks the tests' own frames (IEEE 802 Local Experimental EtherType 1).
const testType = 0x88b5

// frame makes a frame of 64 bytes with a number, by which it is counted.
func frame(dst, src ethernet.Addr, id uint32) []byte {
	b := make([]byte, 64)
	copy(b, dst[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint16(b[12:], testType)
	binary.BigEndian.PutUint32(b[14:], id)
	return b
}

// number gives the number of a frame of this test, behind a VLAN tag or not.
func number(b []byte) (uint32, bool) {
	h, err := ethernet.ParseHeader(b)
	if err != nil || h.Type != testType || len(b) < h.Len+4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[h.Len:]), true
}

// alone gives the test a namespace, and at its end finds what it left behind.
func alone(t *testing.T) {
	t.Helper()
	nstest.InNamespace(t)
	before := openFiles(t)
	t.Cleanup(func() {
		goleak.VerifyNone(t)
		if after := openFiles(t); after != before {
			t.Errorf("%d descriptors are open, %d were before", after, before)
		}
	})
}

func openFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// quiet keeps the host's IPv6 from sending on an interface.
func quiet(t testing.TB, name string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// veth makes a pair of interfaces that are up, removed with the test.
func veth(t testing.TB, a, b string) {
	t.Helper()
	ip(t, "link", "add", a, "type", "veth", "peer", "name", b)
	t.Cleanup(func() { exec.Command("ip", "link", "del", a).Run() })
	for _, name := range []string{a, b} {
		quiet(t, name)
		ip(t, "link", "set", name, "up")
	}
}

// tap is a TAP whose owner is the test.
type tap struct {
	file *os.File
	addr ethernet.Addr
	done chan struct{}
}

// openTAP makes a TAP that is up. Its owner reflects to the host what packet
// sockets put on it, as the owner of a shared TAP does.
func openTAP(t *testing.T, name string, reflect bool) *tap {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("skipped: needs /dev/net/tun:", err)
	}
	req, _ := unix.NewIfreq(name)
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	d := &tap{file: os.NewFile(uintptr(fd), name), done: make(chan struct{})}
	quiet(t, name)
	ip(t, "link", "set", name, "up")
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	d.addr = ethernet.Addr(ifi.HardwareAddr)
	go d.own(reflect)
	t.Cleanup(func() {
		d.file.Close()
		<-d.done
	})
	return d
}

func (d *tap) own(reflect bool) {
	defer close(d.done)
	buf := make([]byte, 2048)
	for {
		n, err := d.file.Read(buf)
		if err != nil {
			return
		}
		f := buf[:n]
		if dst := ethernet.Dst(f); reflect && ethernet.Src(f) != d.addr && (dst == d.addr || dst.IsGroup()) {
			d.file.Write(f)
		}
	}
}

// send lets a frame come in on the TAP's interface.
func (d *tap) send(t *testing.T, f []byte) {
	t.Helper()
	if _, err := d.file.Write(f); err != nil {
		t.Fatal(err)
	}
}

// tapped is a port under test, with a goroutine that counts what it reads.
type tapped struct {
	*port
	log  *bytes.Buffer // read only after the port is closed
	mu   sync.Mutex
	seen map[uint32]int
	last map[uint32][]byte
	err  error
	done chan struct{}
}

// words makes a description's words of a text.
func words(text string) element.Args {
	var a element.Args
	column := 1
	for w := range strings.SplitSeq(text, " ") {
		if w != "" {
			a.Words = append(a.Words, tmesh.Word{Text: w, Pos: tmesh.Pos{File: "test", Line: 1, Column: column}})
		}
		column += len(w) + 1
	}
	return a
}

// start makes an element by its description's words and starts it.
func start(t testing.TB, text string, filter *ethernet.Filter) *port {
	t.Helper()
	return startLogged(t, text, filter, io.Discard)
}

func startLogged(t testing.TB, text string, filter *ethernet.Filter, log io.Writer) *port {
	t.Helper()
	e, err := New(element.Env{Machine: "m", Name: "bpf0", Log: slog.New(slog.NewTextHandler(log, nil))}, words(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Attach(element.Args{})
	if err != nil {
		t.Fatal(err)
	}
	if filter != nil {
		p.(ethernet.Filtered).SetFilter(filter)
	}
	t.Cleanup(func() { e.Close() })
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p.(*port)
}

// listen starts an element and reads it until it is closed.
func listen(t testing.TB, text string, filter *ethernet.Filter) *tapped {
	t.Helper()
	l := &tapped{log: &bytes.Buffer{}, seen: map[uint32]int{}, last: map[uint32][]byte{}, done: make(chan struct{})}
	l.port = startLogged(t, text, filter, l.log)
	go l.read()
	t.Cleanup(func() {
		l.Close()
		<-l.done
	})
	return l
}

func (l *tapped) read() {
	defer close(l.done)
	for {
		frames, err := l.ReadFrames()
		l.mu.Lock()
		if err != nil {
			l.err = err
			l.mu.Unlock()
			return
		}
		for _, f := range frames {
			if id, ok := number(f.Data); ok {
				l.seen[id]++
				l.last[id] = bytes.Clone(f.Data)
			}
		}
		l.mu.Unlock()
	}
}

// counts gives how often each frame arrived, once the one of the number has.
// Frames arrive in the order in which they were sent.
func (l *tapped) counts(t *testing.T, until uint32) map[uint32]int {
	t.Helper()
	var got map[uint32]int
	if !nstest.Eventually(wait, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		got = maps.Clone(l.seen)
		return got[until] > 0
	}) {
		t.Fatalf("frame %d did not arrive; arrived are %v, dropped %v", until, got, drops(&l.Counters().Read))
	}
	delete(got, until)
	return got
}

// failure waits for the end of reading, and gives its error.
func (l *tapped) failure(t *testing.T) error {
	t.Helper()
	select {
	case <-l.done:
		return l.err
	case <-time.After(wait):
		t.Fatal("the reader does not end")
		return errors.New("")
	}
}

func write(t testing.TB, p *port, frames ...[]byte) {
	t.Helper()
	batch := make([]ethernet.Frame, len(frames))
	for i, f := range frames {
		batch[i] = ethernet.Frame{Data: f}
	}
	if err := p.WriteFrames(batch); err != nil {
		t.Fatal(err)
	}
}

func drops(d *ethernet.Drops) map[string]uint64 {
	m := map[string]uint64{}
	for r := range ethernet.NumReasons {
		if n := d.Count(r); n != 0 {
			m[r.String()] = n
		}
	}
	return m
}

func filterOf(addrs ...ethernet.Addr) *ethernet.Filter {
	f := &ethernet.Filter{}
	for _, a := range addrs {
		f.Add(a)
	}
	return f
}
