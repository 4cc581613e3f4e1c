package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

func frame(tag byte, length int) []byte {
	f := make([]byte, length)
	for i := range f {
		f[i] = tag
	}
	return f
}

// receive gives the next frame that a port was given.
func receive(t *testing.T, p *fakePort) []byte {
	t.Helper()
	select {
	case f := <-p.out:
		return f
	case <-time.After(10 * time.Second):
		t.Fatal("no frame came")
		return nil
	}
}

// start runs a machine that waits for nobody.
func start(t *testing.T, m *Machine) {
	t.Helper()
	noted.list = nil
	ctx := context.Background()
	if err := errors.Join(m.MakeInterfaces(ctx), m.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	if err := m.Up(ctx, func(string) {}); err != nil {
		t.Fatal(err)
	}
}

func port(m *Machine, name string, i int) *fakePort { return m.Part(name).Element.(*fake).ports[i] }

func TestFramesFlow(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := mustBuild(t, "w1 at hub: tme/test/wire; w2 at hub: tme/test/wire; hub: tme/test/hub\n")
	start(t, m)
	port(m, "w1", 0).in <- []ethernet.Frame{{Data: frame(1, 60)}, {Data: frame(2, 13)}, {Data: frame(3, 1523)}, {Data: frame(4, 1522)}}
	for _, want := range []struct {
		tag byte
		len int
	}{{1, 60}, {4, 1522}} {
		if got := receive(t, port(m, "hub", 0)); got[0] != want.tag || len(got) != want.len {
			t.Errorf("frame %d of %d bytes, want %d of %d", got[0], len(got), want.tag, want.len)
		}
	}
	port(m, "hub", 1).in <- []ethernet.Frame{{Data: frame(9, 60)}}
	if got := receive(t, port(m, "w2", 0)); got[0] != 9 {
		t.Errorf("frame %d, want 9", got[0])
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	var status bytes.Buffer
	m.WriteStatus(&status)
	for _, want := range []string{
		"w1 -> hub  frames 2  bytes 1582  dropped 2 (runt 1, oversize 1)",
		"hub -> w1  frames 0  bytes 0     dropped 0",
		"hub -> w2  frames 1  bytes 60    dropped 0",
	} {
		if !strings.Contains(status.String(), want) {
			t.Errorf("status lacks %q:\n%s", want, &status)
		}
	}
}

func TestElementJoinedToItself(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := mustBuild(t, "w1: tme/test/wire; w1 at w1\n")
	start(t, m)
	port(m, "w1", 0).in <- []ethernet.Frame{{Data: frame(1, 60)}}
	if got := receive(t, port(m, "w1", 0)); got[0] != 1 {
		t.Errorf("frame %d, want 1", got[0])
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestMakersStartFirstAndAllCloseInReverse(t *testing.T) {
	m := mustBuild(t, "w1: tme/test/wire; m1: tme/test/maker; w2: tme/test/wire; m2: tme/test/maker\n")
	start(t, m)
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	want := []string{"start m1", "start m2", "start w1", "start w2", "close w2", "close w1", "close m2", "close m1"}
	if !slices.Equal(noted.list, want) {
		t.Errorf("calls %v, want %v", noted.list, want)
	}
}

func TestStartThatFailsIsUndone(t *testing.T) {
	m := mustBuild(t, "w1: tme/test/wire\nw2: tme/test/wire fail start\nw3: tme/test/wire\n")
	noted.list = nil
	err := m.Start(context.Background())
	if err == nil || err.Error() != "x.tme:2:1: w2: open nothing: as asked" {
		t.Errorf("error %v", err)
	}
	m.Close()
	if want := []string{"start w1", "start w2", "close w2", "close w1"}; !slices.Equal(noted.list, want) {
		t.Errorf("calls %v, want %v", noted.list, want)
	}
}

func TestLostPort(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := mustBuild(t, "w1 at w2: tme/test/wire; w2: tme/test/wire\nw3 at w4: tme/test/wire; w4: tme/test/wire\n")
	start(t, m)
	lost := port(m, "w1", 0)
	lost.lost = errors.New("the device is gone")
	close(lost.in)
	for end := time.Now().Add(10 * time.Second); m.Lost() == nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if err := m.Lost(); err == nil || err.Error() != "x.tme:1:1: w1: the device is gone" {
		t.Errorf("lost: %v", err)
	}
	port(m, "w3", 0).in <- []ethernet.Frame{{Data: frame(5, 60)}}
	if got := receive(t, port(m, "w4", 0)); got[0] != 5 {
		t.Errorf("the other connection gave frame %d, want 5", got[0])
	}
	m.Close()
}

// A connection that ends as its element was asked to is not lost.
func TestPortThatEndsAsAsked(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := mustBuild(t, "w1 at w2: tme/test/wire; w2: tme/test/wire\n")
	start(t, m)
	if m.Ended() {
		t.Error("ended, at the beginning")
	}
	w1 := port(m, "w1", 0)
	w1.lost = fmt.Errorf("%w: it is late", element.ErrEnded)
	close(w1.in)
	for end := time.Now().Add(10 * time.Second); !m.Ended() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if err := m.Lost(); !m.Ended() || err != nil {
		t.Errorf("ended is %v, lost %v", m.Ended(), err)
	}
	<-port(m, "w2", 0).closed
	m.Close()
}

func TestPanicLosesOneConnection(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := mustBuild(t, "w1 at w2: tme/test/wire; w2: tme/test/wire\n")
	m.Connections[0].B.Port = panicking{port(m, "w2", 0)}
	start(t, m)
	port(m, "w1", 0).in <- []ethernet.Frame{{Data: frame(1, 60)}}
	for end := time.Now().Add(10 * time.Second); m.Lost() == nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if err := m.Lost(); err == nil || !strings.Contains(err.Error(), "panic: as asked") {
		t.Errorf("lost: %v", err)
	}
	m.Close()
}

type panicking struct{ *fakePort }

func (panicking) WriteFrames([]ethernet.Frame) error { panic("as asked") }

func TestCommands(t *testing.T) {
	m := mustBuild(t, "w1: tme/test/wire\ncommand w1 one\ncommand w1 fail\ncommand w1 three\n")
	var out bytes.Buffer
	err := m.RunCommands(context.Background(), &out)
	if err == nil || err.Error() != "x.tme:3:1: command w1 fail: as asked" {
		t.Errorf("error %v", err)
	}
	if want := "w1 says one\nw1 says fail\nw1 says three\n"; out.String() != want {
		t.Errorf("output %q, want %q", out.String(), want)
	}
}

func TestConnectionAllocatesNothing(t *testing.T) {
	m := mustBuild(t, "w1 at w2: tme/test/wire; w2: tme/test/wire\n")
	c := m.Connections[0]
	src := &endless{left: 5000, batch: make([]ethernet.Frame, 32), data: frame(1, 1514)}
	c.A.Port, c.B.Port = src, sink{}
	if n := testing.AllocsPerRun(1, func() { src.left = 5000; c.pump(c.A, c.B, &c.aToB) }); n > 50 {
		t.Errorf("%v allocations for 160,000 frames", n)
	}
}

// endless gives batches of one frame until it has none left.
type endless struct {
	fakePort
	left  int
	batch []ethernet.Frame
	data  []byte
}

func (e *endless) ReadFrames() ([]ethernet.Frame, error) {
	if e.left--; e.left < 0 {
		return nil, errors.New("none left")
	}
	for i := range e.batch {
		e.batch[i] = ethernet.Frame{Data: e.data}
	}
	return e.batch, nil
}

func (e *endless) Close() error { return nil }

type sink struct{ *fakePort }

func (sink) WriteFrames([]ethernet.Frame) error { return nil }
func (sink) Close() error                       { return nil }
func (sink) Offloads() ethernet.Offloads        { return 0 }
func (sink) MaxFrame() int                      { return 1522 }
func (sink) Counters() *ethernet.Counters       { return &ethernet.Counters{} }
