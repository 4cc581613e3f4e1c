package rawudp

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
	"tmelink/internal/tmesh"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// words makes a description's words of a text; the column is the word's number.
func words(text string) element.Args {
	a := element.Args{Pos: tmesh.Pos{File: "test", Line: 1, Column: 99}}
	for i, w := range strings.Fields(text) {
		a.Words = append(a.Words, tmesh.Word{Text: w, Pos: tmesh.Pos{File: "test", Line: 1, Column: i + 1}})
	}
	return a
}

func newElement(text string, log *nstest.Buffer) (element.Element, error) {
	path, rest, _ := strings.Cut(text, " ")
	t, ok := element.Lookup("tme/host/udp/" + path)
	if !ok {
		panic("no type " + path)
	}
	return t.New(element.Env{Machine: "m", Name: "e0", Log: slog.New(slog.NewTextHandler(log, nil))}, words(rest))
}

// running is a started element with a port that is read.
type running struct {
	ethernet.Port
	element element.Element
	log     *nstest.Buffer
	came    chan []byte
}

// start builds and starts an element: "group 230.0.0.1:1234".
func start(t testing.TB, text string) *running {
	t.Helper()
	r := &running{log: &nstest.Buffer{}, came: make(chan []byte, 10000)}
	var err error
	if r.element, err = newElement(text, r.log); err != nil {
		t.Fatal(err)
	}
	if r.Port, err = r.element.Attach(words("")); err != nil {
		t.Fatal(err)
	}
	if err := r.element.Start(t.Context()); err != nil {
		r.element.Close()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			frames, err := r.ReadFrames()
			if err != nil {
				ended <- err
				return
			}
			for _, f := range frames {
				r.came <- bytes.Clone(f.Data)
			}
		}
	}()
	t.Cleanup(func() {
		if err := r.element.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if err != net.ErrClosed {
				t.Errorf("the reader ends with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the reader still waits")
		}
		if t.Failed() {
			t.Logf("%s logged:\n%s", text, r.log)
		}
	})
	return r
}

// clean finds what a test leaves behind. It is called first.
func clean(t testing.TB) {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
}

// frame makes a broadcast frame of a station, of a length.
func frame(from byte, length int) []byte {
	b := make([]byte, length)
	copy(b, []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, from, 0x88, 0xb5})
	return b
}

func send(t testing.TB, p ethernet.Port, data []byte) {
	t.Helper()
	if err := p.WriteFrames([]ethernet.Frame{{Data: bytes.Clone(data)}}); err != nil {
		t.Fatal(err)
	}
}

// expect waits for a frame, which has been filled up with zeros.
func expect(t testing.TB, came <-chan []byte, want []byte) {
	t.Helper()
	select {
	case got := <-came:
		if n := max(len(want), ethernet.MinFrame); !bytes.Equal(got, append(bytes.Clone(want), make([]byte, n-len(want))...)) {
			t.Fatalf("% x came, want % x", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
}

// none says that nothing has come until a frame that was sent later.
func none(t testing.TB, came <-chan []byte, later func(), want []byte) {
	t.Helper()
	later()
	expect(t, came, want)
	if len(came) > 0 {
		t.Fatalf("% x came besides", <-came)
	}
}

func expectDrops(t testing.TB, drops *ethernet.Drops, want map[ethernet.Reason]uint64) {
	t.Helper()
	if !nstest.Eventually(10*time.Second, func() bool {
		for r := range ethernet.NumReasons {
			if drops.Count(r) < want[r] {
				return false
			}
		}
		return true
	}) {
		t.Error("not all was dropped")
	}
	for r := range ethernet.NumReasons {
		if got := drops.Count(r); got != want[r] {
			t.Errorf("%s: %d dropped, want %d", r, got, want[r])
		}
	}
}
