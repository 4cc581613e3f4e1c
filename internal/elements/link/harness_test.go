package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// testLink is a started link and what came out of its port.
type testLink struct {
	t    testing.TB
	elem element.Element
	port ethernet.Port
	log  *nstest.Buffer

	mu     sync.Mutex
	frames [][]byte
	end    error

	writing sync.Mutex   // a port has one writer at a time
	onFrame func([]byte) // called by the reader; set before start
}

// build makes a link that is not started yet and is closed when the test ends,
// and sees to it that no goroutine is left then.
func build(t testing.TB, text string) *testLink {
	t.Helper()
	goleakAtEnd(t)
	typ, ok := element.Lookup("tme/host/openvpn/socket/link")
	if !ok {
		t.Fatal("the type is not registered")
	}
	l := &testLink{t: t, log: &nstest.Buffer{}}
	args, _ := argsOf(text)
	log := slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("machine", "m", "element", "link0")
	elem, err := typ.New(element.Env{Machine: "m", Name: "link0", Log: log}, args)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	l.elem = elem
	if l.port, err = elem.Attach(element.Args{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.elem.Close()
		if t.Failed() {
			t.Logf("link %s logged:\n%s", text, l.log)
		}
	})
	return l
}

var leakChecked sync.Map

func goleakAtEnd(t testing.TB) {
	if _, done := leakChecked.LoadOrStore(t.Name(), true); !done {
		others := goleak.IgnoreCurrent()
		t.Cleanup(func() {
			leakChecked.Delete(t.Name())
			goleak.VerifyNone(t, others)
		})
	}
}

// start is build, Start, and a goroutine that reads the port to its end.
func start(t testing.TB, text string) *testLink {
	t.Helper()
	l := build(t, text)
	l.begin(text)
	return l
}

func (l *testLink) begin(text string) {
	l.t.Helper()
	if err := l.elem.Start(context.Background()); err != nil {
		l.t.Fatalf("%s: %v", text, err)
	}
	done := make(chan struct{})
	go l.read(done)
	l.t.Cleanup(func() {
		l.elem.Close()
		<-done
	})
}

func (l *testLink) read(done chan struct{}) {
	defer close(done)
	for {
		frames, err := l.port.ReadFrames()
		l.mu.Lock()
		for _, f := range frames {
			l.frames = append(l.frames, bytes.Clone(f.Data))
		}
		l.end = err
		l.mu.Unlock()
		if err != nil {
			return
		}
		if l.onFrame != nil {
			for _, f := range frames {
				l.onFrame(f.Data)
			}
		}
	}
}

// got are the frames that have come out of the port.
func (l *testLink) got() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frames
}

func (l *testLink) ended() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

func (l *testLink) write(frames ...[]byte) {
	batch := make([]ethernet.Frame, len(frames))
	for i, f := range frames {
		batch[i].Data = bytes.Clone(f)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.port.WriteFrames(batch); err != nil {
		l.t.Errorf("write: %v", err)
	}
}

// writeUntil writes a frame again and again until something has come of it: a
// connection that is being made again drops frames for a while.
func (l *testLink) writeUntil(what string, done func() bool, frames ...[]byte) {
	l.t.Helper()
	eventually(l.t, what, func() bool {
		l.write(frames...)
		return done()
	})
}

func (l *testLink) wait() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.elem.(element.Waiter).Wait(ctx); err != nil {
		l.t.Fatalf("wait: %v\n%s", err, l.log)
	}
}

// told is what a user sees of the log.
func (l *testLink) told() string {
	var b strings.Builder
	for line := range strings.Lines(l.log.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (l *testLink) status() string { return l.elem.(element.Reporter).Status() }

// local is the address that the link is bound to, out of its status.
func (l *testLink) local() netip.AddrPort {
	l.t.Helper()
	var found netip.AddrPort
	eventually(l.t, "a local address", func() bool {
		for _, word := range strings.FieldsFunc(l.log.String(), func(r rune) bool { return r == ' ' || r == '\n' }) {
			if a, err := netip.ParseAddrPort(strings.TrimPrefix(word, "local=")); err == nil && strings.HasPrefix(word, "local=") {
				found = a
			}
		}
		return found.IsValid()
	})
	return found
}

func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	if !nstest.Eventually(patience, ask) {
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// numbered is a broadcast frame with a number in it.
func numbered(n int) []byte {
	frame := make([]byte, 60)
	copy(frame, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5") // local experimental EtherType
	binary.BigEndian.PutUint32(frame[14:], uint32(n))
	return frame
}

func series(n int) (frames [][]byte) {
	for i := range n {
		frames = append(frames, numbered(i))
	}
	return frames
}

func (l *testLink) expectSeries(n int) {
	l.t.Helper()
	eventually(l.t, fmt.Sprintf("%d frames", n), func() bool { return len(l.got()) >= n })
	for i, f := range l.got() {
		if !bytes.Equal(f, numbered(i)) {
			l.t.Fatalf("frame %d is %x", i, f)
		}
	}
}

// socket is a UDP socket of a peer that the test plays itself.
func socket(t testing.TB, local string) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func portOf(a net.Addr) int { return int(netip.MustParseAddrPort(a.String()).Port()) }

// receive gives the next packet, "" if none comes in time.
func receive(conn *net.UDPConn, d time.Duration) string {
	buf := make([]byte, 4096)
	conn.SetReadDeadline(time.Now().Add(d))
	n, _ := conn.Read(buf)
	return string(buf[:n])
}
