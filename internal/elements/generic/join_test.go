package generic

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// testWire is a wire whose far end is two channels.
type testWire struct {
	in, out chan []byte
	closed  chan struct{}
	once    sync.Once
	fails   error // what reading gives in the end
	stuck   bool  // it takes nothing
}

func newTestWire() *testWire {
	return &testWire{in: make(chan []byte), out: make(chan []byte, 100), closed: make(chan struct{}), fails: net.ErrClosed}
}

func (w *testWire) ReadFrames() ([]ethernet.Frame, error) {
	select {
	case b, ok := <-w.in:
		if !ok {
			return nil, w.fails
		}
		return []ethernet.Frame{{Data: b}}, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *testWire) WriteFrames(frames []ethernet.Frame) error {
	if w.stuck {
		<-w.closed
		return net.ErrClosed
	}
	for _, f := range frames {
		w.out <- append([]byte{}, f.Data...)
	}
	return nil
}

func (w *testWire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

// testFrame goes from the station of one number to that of another; 255 is everybody.
func testFrame(to, from byte, length int) []byte {
	b := make([]byte, length)
	copy(b, []byte{2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5})
	if to == 255 {
		copy(b, []byte{255, 255, 255, 255, 255})
	}
	return b
}

func cameTo(t *testing.T, w *testWire) byte {
	t.Helper()
	select {
	case b := <-w.out:
		return b[11]
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		return 0
	}
}

// joinWires joins wires to a switch for the rest of the test.
func joinWires(t *testing.T, s *Switch, drops *ethernet.Drops, wires ...*testWire) <-chan error {
	ended := make(chan error, len(wires))
	for _, w := range wires {
		wait := s.Join(w, 100, drops)
		go func() { ended <- wait() }()
	}
	return ended
}

func TestJoinedWires(t *testing.T) {
	for name, test := range map[string]struct {
		s     *Switch
		third bool // whether who is not addressed hears
	}{"switch": {NewSwitch(quiet.Log), false}, "hub": {NewHub(quiet.Log), true}} {
		t.Run(name, func(t *testing.T) {
			var drops ethernet.Drops
			a, b, c := newTestWire(), newTestWire(), newTestWire()
			ended := joinWires(t, test.s, &drops, a, b, c)
			b.in <- testFrame(255, 2, 60)
			if cameTo(t, a) != 2 || cameTo(t, c) != 2 {
				t.Error("a broadcast came from elsewhere")
			}
			a.in <- testFrame(2, 1, 60)
			a.in <- testFrame(255, 1, 101) // too long for the others
			a.in <- testFrame(255, 3, 60)
			if cameTo(t, b) != 1 || cameTo(t, b) != 3 {
				t.Error("the frames did not come in their order")
			}
			if got := cameTo(t, c) == 1; got != test.third {
				t.Errorf("a frame for another station comes: %v", got)
			}
			if len(a.out) != 0 {
				t.Error("a frame came back where it came from")
			}
			test.s.Close()
			for range 3 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if n := drops.Count(ethernet.Oversize); n != 2 {
				t.Errorf("%d frames were too long, want 2", n)
			}
		})
	}
}

// A wire that takes nothing loses its own frames alone, and one that fails says so.
func TestJoinedWireThatIsStuck(t *testing.T) {
	s := NewSwitch(quiet.Log)
	defer s.Close()
	var drops ethernet.Drops
	a, b, c := newTestWire(), newTestWire(), newTestWire()
	b.stuck = true
	ended := joinWires(t, s, &drops, a, b, c)
	const n = 3000
	for range n {
		a.in <- testFrame(255, 1, 60)
		cameTo(t, c)
	}
	b.fails = errors.New("broken")
	close(b.in)
	if err := <-ended; err == nil || err.Error() != "broken" {
		t.Errorf("the wire ended with %v", err)
	}
	if got := drops.Count(ethernet.QueueFull); got < n/2 || got > n {
		t.Errorf("%d frames found the queue full, of %d", got, n)
	}
	port, err := s.Attach(element.Args{})
	if err != nil {
		t.Fatal(err)
	}
	a.in <- testFrame(255, 1, 60)
	if frames, err := port.ReadFrames(); err != nil || len(frames) != 1 {
		t.Errorf("%v, %v", frames, err)
	}
	s.Close()
	<-ended
	<-ended
}
