package machine

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/ethernet"
)

// manyQueues is a port whose frames come in by several queues.
type manyQueues struct {
	*fakePort
	queues  []*fakeQueue
	reflect atomic.Bool
}

// fakeQueue gives batches, the first of them only once all queues are read at the
// same time.
type fakeQueue struct {
	port    *manyQueues
	reading *sync.WaitGroup // until each queue is read
	began   bool
	left    int
	end     func() error // what it ends with; nil: it waits until the port is closed
	buffer  []byte
	batch   [3]ethernet.Frame
}

func (p *manyQueues) open(queues, batches int) {
	reading := &sync.WaitGroup{}
	reading.Add(queues)
	for range queues {
		p.queues = append(p.queues, &fakeQueue{port: p, reading: reading, left: batches, buffer: frame(1, 60)})
	}
}

func (p *manyQueues) Readers() []ethernet.Reader {
	readers := []ethernet.Reader{p}
	for _, q := range p.queues[1:] {
		readers = append(readers, q)
	}
	return readers
}

func (p *manyQueues) ReadFrames() ([]ethernet.Frame, error) { return p.queues[0].ReadFrames() }
func (p *manyQueues) ReflectOnly()                          { p.reflect.Store(true) }

func (q *fakeQueue) ReadFrames() ([]ethernet.Frame, error) {
	if !q.began {
		q.began = true
		q.reading.Done()
		q.reading.Wait()
	}
	if q.left--; q.left < 0 {
		if q.end != nil {
			return nil, q.end()
		}
		<-q.port.closed
	}
	select {
	case <-q.port.closed:
		return nil, net.ErrClosed
	default:
	}
	for i := range q.batch { // as the contract says, in memory that is used again
		q.batch[i] = ethernet.Frame{Data: q.buffer}
	}
	return q.batch[:], nil
}

// oneWriter is a port that finds two writers in it at a time.
type oneWriter struct {
	*fakePort
	t      *testing.T
	busy   atomic.Int32
	frames int // of whoever writes: the race detector looks at it
	done   chan struct{}
	want   int
}

func (p *oneWriter) WriteFrames(frames []ethernet.Frame) error {
	if p.busy.Add(1) != 1 {
		p.t.Error("two write at a time")
	}
	p.frames += len(frames)
	if p.frames == p.want {
		close(p.done)
	}
	runtime.Gosched()
	p.busy.Add(-1)
	return nil
}

// manyQueued builds a machine of a port with many queues and one for one writer.
func manyQueued(t *testing.T, queues, batches int) (*Machine, *manyQueues, *oneWriter) {
	t.Helper()
	m := mustBuild(t, "w1 at w2: tme/test/wire; w2: tme/test/wire\n")
	from := &manyQueues{fakePort: port(m, "w1", 0)}
	from.open(queues, batches)
	to := &oneWriter{fakePort: port(m, "w2", 0), t: t, done: make(chan struct{}), want: queues * batches * 3}
	m.Connections[0].A.Port, m.Connections[0].B.Port = from, to
	return m, from, to
}

// within fails the test if something takes longer than it ever should.
func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not within 20s", what)
	}
}

// ends closes a machine and fails the test if that leaves it running.
func ends(t *testing.T, m *Machine) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	within(t, "close", done)
}

func TestEachQueueIsPumpedAndWritesAreInTurn(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, queues := range []int{1, 4} {
		m, _, to := manyQueued(t, queues, 500)
		start(t, m)
		within(t, "all frames of all queues, each read by a goroutine of its own", to.done)
		ends(t, m) // while all queues wait
		if n := m.Connections[0].aToB.frames.Load(); n != uint64(to.want) {
			t.Errorf("%d frames counted, want %d", n, to.want)
		}
		if err := m.Lost(); err != nil {
			t.Error(err)
		}
	}
}

func TestCloseEndsQueuesThatAreBusy(t *testing.T) {
	defer goleak.VerifyNone(t)
	m, _, to := manyQueued(t, 3, 1<<30)
	to.want = 3000
	start(t, m)
	within(t, "some frames", to.done)
	for _, p := range []*fakePort{port(m, "w1", 0), port(m, "w2", 0)} {
		p.Close()
	}
	ends(t, m)
}

func TestOneQueueIsLost(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, end := range map[string]func() error{
		"the device is gone": func() error { return errors.New("the device is gone") },
		"panic: as asked":    func() error { panic("as asked") },
	} {
		for _, i := range []int{0, 2} {
			m, from, to := manyQueued(t, 4, 10)
			from.queues[i].end = end
			start(t, m)
			within(t, "the other port's end", to.closed)
			within(t, "the port's end", from.closed)
			ends(t, m)
			if err := m.Lost(); err == nil || strings.Count(err.Error(), name) != 1 || !strings.HasPrefix(err.Error(), "x.tme:1:1: w1: ") {
				t.Errorf("lost: %v, want %q once", err, name)
			}
		}
	}
}

// TestQueuesOfAPortJoinedToItself: a port that reflects is only emptied, but by
// all its queues.
func TestQueuesOfAPortJoinedToItself(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := mustBuild(t, "w1: tme/test/wire; w1 at w1\n")
	p := &manyQueues{fakePort: port(m, "w1", 0)}
	p.open(3, 20)
	c := m.Connections[0]
	c.A.Port, c.B.Port = p, p
	start(t, m)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c.aToB.frames.Load() < 3*20*3 {
			time.Sleep(time.Millisecond)
		}
	}()
	within(t, "all frames", done)
	ends(t, m)
	if !p.reflect.Load() || len(p.out) != 0 {
		t.Errorf("it was told to reflect: %v; %d frames were written back", p.reflect.Load(), len(p.out))
	}
}
