package machine

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"tmelink/internal/ethernet"
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

func newConnection(pos tmesh.Pos, a, b End) *Connection {
	c := &Connection{Pos: pos, A: a, B: b}
	tell(a.Port, b.Port)
	if a.Port != b.Port {
		tell(b.Port, a.Port)
	}
	return c
}

// tell lets a port that can filter know what the station behind the other wants.
func tell(port, other ethernet.Port) {
	filtered, ok := port.(ethernet.Filtered)
	if !ok {
		return
	}
	if station, ok := other.(ethernet.Station); ok {
		filtered.SetFilter(station.Filter())
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
	if r, ok := c.A.Port.(ethernet.Reflector); ok {
		r.ReflectOnly()
	}
	return c.pump(c.A, c.B, &c.aToB)
}

// pump carries frames one way. A panic on the way, which only a fault of the
// program can cause, loses this connection and not what must be undone.
func (c *Connection) pump(from, to End, f *flow) (lost error) {
	defer func() {
		if p := recover(); p != nil {
			lost = c.ended(from, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	var (
		segments  ethernet.Segmenter
		takes     = to.Port.Offloads()
		most      = to.Port.MaxFrame()
		readDrops = &from.Port.Counters().Read
		sendDrops = &to.Port.Counters().Write
	)
	for {
		batch, err := from.Port.ReadFrames()
		if err != nil {
			return c.ended(from, err)
		}
		batch = fit(batch, most, readDrops, sendDrops)
		finished, malformed := segments.Finish(batch, takes, most)
		if malformed > 0 {
			readDrops.Add(ethernet.Malformed, malformed)
		}
		if len(finished) == 0 {
			continue
		}
		bytes := 0
		for i := range finished {
			bytes += len(finished[i].Data)
		}
		f.frames.Add(uint64(len(finished)))
		f.bytes.Add(uint64(bytes))
		if err := to.Port.WriteFrames(finished); err != nil {
			return c.ended(to, err)
		}
	}
}

// fit leaves out the frames that are shorter than a header or longer than the
// receiver takes, and counts them. Super-frames are measured by their segments,
// later.
func fit(batch []ethernet.Frame, most int, short, long *ethernet.Drops) []ethernet.Frame {
	ok := func(f *ethernet.Frame) bool {
		return len(f.Data) >= ethernet.HeaderLen && (len(f.Data) <= most || f.Needs&ethernet.Segmentation != 0)
	}
	kept := 0
	for i := range batch {
		if !ok(&batch[i]) {
			if len(batch[i].Data) < ethernet.HeaderLen {
				short.Add(ethernet.Runt, 1)
			} else {
				long.Add(ethernet.Oversize, 1)
			}
			continue
		}
		if kept != i {
			batch[kept] = batch[i]
		}
		kept++
	}
	return batch[:kept]
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
