package emulator

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
	"tmelink/internal/tmesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// words makes a description's words of a text; the column is the word's number.
func words(text string) element.Args {
	a := element.Args{Pos: tmesh.Pos{File: "test", Line: 1, Column: 99}}
	for i, w := range strings.Fields(text) {
		quoted := strings.HasPrefix(w, `"`)
		a.Words = append(a.Words, tmesh.Word{Text: strings.Trim(w, `"`), Quoted: quoted, Pos: tmesh.Pos{File: "test", Line: 1, Column: i + 1}})
	}
	return a
}

func newElement(folder, text string, log *nstest.Buffer) (element.Element, error) {
	path, rest, _ := strings.Cut(text, " ")
	t, ok := element.Lookup("tme/host/" + path)
	if !ok {
		panic("no type " + path)
	}
	return t.New(element.Env{Machine: "m", Name: "e0", Dir: folder, Log: slog.New(slog.NewTextHandler(log, nil))}, words(rest))
}

// plugged is a started element and its port.
type plugged struct {
	ethernet.Port
	element element.Element
	log     *nstest.Buffer
}

// start builds and starts an element in a folder: "qemu/stream listen s".
func start(t testing.TB, folder, text string) *plugged {
	t.Helper()
	p := &plugged{log: &nstest.Buffer{}}
	var err error
	if p.element, err = newElement(folder, text, p.log); err != nil {
		t.Fatal(err)
	}
	if p.Port, err = p.element.Attach(words("")); err != nil {
		t.Fatal(err)
	}
	quick(p.element)
	if err := p.element.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.element.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s logged:\n%s", text, p.log)
		}
	})
	return p
}

// quick shortens an element's pauses.
func quick(e element.Element) {
	switch e := e.(type) {
	case *Stream:
		e.retry = 20 * time.Millisecond
	case *Plug:
		e.retry, e.timeout = 20*time.Millisecond, 300*time.Millisecond
	case *VDESwitch:
		e.timeout = time.Second
	}
}

func (p *plugged) expect(t testing.TB, status string) {
	t.Helper()
	report := p.element.(element.Reporter)
	if !nstest.Eventually(10*time.Second, func() bool { return strings.Contains(report.Status(), status) }) {
		t.Fatalf("the status is %q, want %q in it; it logged:\n%s", report.Status(), status, p.log)
	}
}

func (p *plugged) expectLines(t testing.TB, text string, n int) {
	t.Helper()
	if !nstest.Eventually(10*time.Second, func() bool { return strings.Count(p.log.String(), text) >= n }) ||
		strings.Count(p.log.String(), text) != n {
		t.Errorf("%q was logged %d times, want %d:\n%s", text, strings.Count(p.log.String(), text), n, p.log)
	}
}

// numbered makes frames of a length with their numbers in them, from a station.
func numbered(first, n, length int) []ethernet.Frame {
	frames := make([]ethernet.Frame, n)
	for i := range frames {
		data := make([]byte, length)
		for k := range data {
			data[k] = byte(first + i + k)
		}
		copy(data, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
		data[11] = byte(first + i)
		if length >= 18 {
			binary.BigEndian.PutUint32(data[14:], uint32(first+i))
		}
		frames[i].Data = data
	}
	return frames
}

// collect reads numbered frames until n are there, compares every byte, and
// gives the sizes of the batches.
func collect(t testing.TB, from ethernet.Port, first, n, length int) (batches []int) {
	t.Helper()
	stop := time.AfterFunc(20*time.Second, func() { from.Close() })
	defer stop.Stop()
	want := numbered(first, n, length)
	for got := 0; got < n; {
		frames, err := from.ReadFrames()
		if err != nil {
			t.Fatalf("after %d of %d frames: %v", got, n, err)
		}
		for _, f := range frames {
			if got == n {
				t.Fatalf("more than %d frames", n)
			}
			if string(f.Data) != string(want[got].Data) {
				t.Fatalf("frame %d is % x, want % x", got, f.Data, want[got].Data)
			}
			got++
		}
		batches = append(batches, len(frames))
	}
	return batches
}

// reader reads a port for the rest of the test, and gives what came.
func reader(t testing.TB, p ethernet.Port) <-chan []byte {
	came := make(chan []byte, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			frames, err := p.ReadFrames()
			if err != nil {
				if err != net.ErrClosed {
					t.Errorf("the reader ends with %v", err)
				}
				return
			}
			for _, f := range frames {
				came <- slices.Clone(f.Data)
			}
		}
	}()
	t.Cleanup(func() {
		p.Close()
		within(t, "the reader", ended)
	})
	return came
}

func within[T any](t testing.TB, what string, done <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s did not come, or still waits", what)
	}
	return got
}

func expectCounts(t testing.TB, drops *ethernet.Drops, want map[ethernet.Reason]uint64) {
	t.Helper()
	for r := range ethernet.NumReasons {
		if got := drops.Count(r); got != want[r] {
			t.Errorf("%s: %d dropped, want %d", r, got, want[r])
		}
	}
}

// dial is an emulator that connects to a socket.
func dial(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wire is frames as they stand in a stream.
func wire(frames ...ethernet.Frame) (b []byte) {
	for _, f := range frames {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f.Data)))
		b = append(b, f.Data...)
	}
	return b
}

// expectAll waits until each of the frames has come once, in any order: what is
// between two elements may let one overtake another when a queue is full. Zeros
// that fill a frame up to 60 bytes are passed over, and so is the frame besides.
func expectAll(t testing.TB, came <-chan []byte, frames []ethernet.Frame, besides []byte) {
	t.Helper()
	missing := map[string]bool{}
	for _, f := range frames {
		missing[filledUp(f.Data)] = true
	}
	for len(missing) > 0 {
		got := filledUp(within(t, "one of "+strconv.Itoa(len(missing))+" frames", came))
		if !missing[got] && got != filledUp(besides) {
			t.Fatalf("% x came, which was not sent or came already", got)
		}
		delete(missing, got)
	}
}

func filledUp(frame []byte) string {
	return string(frame) + strings.Repeat("\x00", max(0, ethernet.MinFrame-len(frame)))
}
