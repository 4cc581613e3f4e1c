package machine

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"tmelink/internal/ethernet"
	"tmelink/internal/spare"
	"tmelink/internal/tmesh"
)

// Connection is two ports joined; of an element joined to itself, one port.
type Connection struct {
	Pos  tmesh.Pos
	A, B End

	aToB, bToA flow
	close      sync.Once
}

// End is one side of a connection.
type End struct {
	Part *Part
	Port ethernet.Port
}

// flow counts what one direction of a connection has carried.
type flow struct {
	frames, bytes atomic.Uint64
}

func (f *flow) count(batch []ethernet.Frame) {
	bytes := 0
	for i := range batch {
		bytes += len(batch[i].Data)
	}
	f.frames.Add(uint64(len(batch)))
	f.bytes.Add(uint64(bytes))
}

func newConnection(pos tmesh.Pos, a, b End) *Connection {
	c := &Connection{Pos: pos, A: a, B: b}
	tell(a.Port, b.Port)
	if a.Port != b.Port {
		tell(b.Port, a.Port)
	}
	return c
}

// tell lets a port that can filter know what the station behind the other wants,
// has one that learns how that station is to be set up hand it on, and one whose far
// side has gone say so to whoever looks for stations there.
func tell(port, other ethernet.Port) {
	if filtered, ok := port.(ethernet.Filtered); ok {
		if station, ok := other.(ethernet.Station); ok {
			filtered.SetFilter(station.Filter())
		}
	}
	if parting, ok := port.(ethernet.Parting); ok {
		if learner, ok := other.(ethernet.Learner); ok {
			parting.OnParted(learner.Forget)
		}
	}
	if guide, ok := port.(ethernet.Guide); ok {
		if guided, ok := other.(ethernet.Guided); ok {
			guided.SetNetwork(nil) // nothing yet, which cannot fail
			guide.OnNetwork(guided.SetNetwork)
		}
	}
}

// run carries frames both ways until the ports are closed. It gives the error
// of a port that was lost, after which both ports are closed.
func (c *Connection) run() error {
	if c.A.Port == c.B.Port {
		return c.runSelf()
	}
	back := make(chan error, 1)
	go func() { back <- c.pump(c.B, c.A, &c.bToA) }()
	there := c.pump(c.A, c.B, &c.aToB)
	return errors.Join(there, <-back)
}

// runSelf carries what comes out of a port into the same port; a port that
// reflects by itself is only emptied.
func (c *Connection) runSelf() error {
	r, ok := c.A.Port.(ethernet.Reflector)
	if !ok {
		return c.pump(c.A, c.B, &c.aToB)
	}
	r.ReflectOnly()
	return c.pump(c.A, End{Part: c.A.Part, Port: nowhere{c.A.Port}}, &c.aToB)
}

// nowhere is a port that lets frames fall.
type nowhere struct{ ethernet.Port }

func (nowhere) WriteFrames([]ethernet.Frame) error { return nil }

// pump carries frames one way, out of each of a port's queues by a goroutine of
// its own. Where there are several, they write in turn.
func (c *Connection) pump(from, to End, f *flow) error {
	m, ok := from.Port.(ethernet.Multiqueue)
	if !ok {
		return c.pumpQueue(from.Port, from, to, f)
	}
	readers := m.Readers()
	if len(readers) > 1 {
		to.Port = &inTurn{Port: to.Port}
	}
	others := make(chan error, len(readers))
	for _, r := range readers[1:] {
		go func() { others <- c.pumpQueue(r, from, to, f) }()
	}
	lost := []error{c.pumpQueue(readers[0], from, to, f)}
	for range readers[1:] {
		lost = append(lost, <-others)
	}
	return errors.Join(lost...)
}

// inTurn is a port to which several goroutines write, a batch at a time.
type inTurn struct {
	ethernet.Port
	mu sync.Mutex
}

func (p *inTurn) WriteFrames(frames []ethernet.Frame) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Port.WriteFrames(frames)
}

// segmenters are those that no pump uses: one needs it from when a batch has come
// until it is sent, so that a connection at rest holds no memory for it.
var segmenters = spare.New(func() *ethernet.Segmenter { return new(ethernet.Segmenter) })

// pumpQueue carries frames out of one queue. A panic on the way, which only a
// fault of the program can cause, loses this connection and not what must be
// undone.
func (c *Connection) pumpQueue(queue ethernet.Reader, from, to End, f *flow) (lost error) {
	defer func() {
		if p := recover(); p != nil {
			lost = c.ended(from, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	var (
		takes = to.Port.Offloads()
		most  = to.Port.MaxFrame()
		drops = &from.Port.Counters().Read
		told  = bounded(to.Port)
	)
	for {
		batch, err := queue.ReadFrames()
		if err != nil {
			return c.ended(from, err)
		}
		if ethernet.Pass(batch, takes, most) {
			f.count(batch)
			err = to.Port.WriteFrames(batch)
		} else {
			s := segmenters.Take()
			before := drops.Count(ethernet.Oversize)
			finished := s.Finish(batch, takes, most, drops)
			if told != nil && drops.Count(ethernet.Oversize) != before {
				told.TellOversize(ethernet.Longest(batch))
			}
			if len(finished) > 0 {
				f.count(finished)
				err = to.Port.WriteFrames(finished)
			}
			segmenters.Give(s)
		}
		if err != nil {
			return c.ended(to, err)
		}
	}
}

// bounded is a port that wants to know of frames that it cannot be given, nil for none.
func bounded(p ethernet.Port) ethernet.Bounded {
	if turns, ok := p.(*inTurn); ok {
		p = turns.Port
	}
	b, _ := p.(ethernet.Bounded)
	return b
}

// ended closes both ports, so that the other direction ends too, and gives the
// error if the port was lost and not closed.
func (c *Connection) ended(at End, err error) error {
	var lost error
	c.close.Do(func() {
		if !errors.Is(err, net.ErrClosed) {
			lost = fmt.Errorf("%s: %s: %w", at.Part.Pos, at.Part.Name, err)
		}
		c.A.Port.Close()
		c.B.Port.Close()
	})
	return lost
}
