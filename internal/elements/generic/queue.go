package generic

import (
	"sync"
	"sync/atomic"

	"tmelink/internal/ethernet"
	"tmelink/internal/spare"
)

// queue holds the frames that wait at a port: many goroutines put, one gets.
//
// It takes a buffer when a frame comes and gives the whole buffer to who gets,
// so that an empty queue holds no memory, a thousand idle ports cost little, and
// the lock is held once a batch on either side.
type queue struct {
	maxFrames, maxBytes int

	closed atomic.Bool // set under mu
	mu     sync.Mutex
	some   sync.Cond // there is a buffer, or the queue is closed
	filled *buffer   // nil: empty
}

// bytesPerFrame makes the bound in bytes of that in frames: a full Ethernet
// frame with the room that a kernel gives it. A few super-frames use it up as
// well as many small frames.
const bytesPerFrame = 2048

func (q *queue) init(maxFrames int) {
	q.maxFrames, q.maxBytes = maxFrames, max(maxFrames*bytesPerFrame, ethernet.MaxFrameLen+ethernet.VLANLen)
	q.some.L = &q.mu
}

// put copies the frames that are wanted, their tags as wanted says, and gives the
// number of those for which there was no room. A closed queue takes nothing.
func (q *queue) put(frames []ethernet.Frame, wanted func(i int) (retag, bool)) (full int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed.Load() {
		return 0
	}
	for i := range frames {
		how, ok := wanted(i)
		if !ok {
			continue
		}
		b := q.filled
		if b == nil {
			b = buffers.Take()
			q.filled = b
			q.some.Signal()
		}
		if len(b.list) >= q.maxFrames || len(b.data)+len(frames[i].Data)+ethernet.VLANLen > q.maxBytes {
			full++
			continue
		}
		b.add(&frames[i], how)
	}
	return full
}

// get waits for frames and gives the buffer that holds them; nil once the queue
// is closed.
func (q *queue) get() *buffer {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.filled == nil && !q.closed.Load() {
		q.some.Wait()
	}
	if q.closed.Load() {
		return nil
	}
	b := q.filled
	q.filled = nil
	return b
}

func (q *queue) isClosed() bool { return q.closed.Load() }

// close lets go of what waits, and wakes who waits for more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed.Store(true)
	q.filled = nil
	q.some.Broadcast()
}

// buffer is a run of frames, their bytes one behind the other.
type buffer struct {
	data []byte
	list []ethernet.Frame // Data is set by frames: data moves while it grows
	ends []int            // where each frame ends in data
}

// buffers are those that no queue and no reader holds.
var buffers = spare.New(func() *buffer { return new(buffer) })

func (b *buffer) add(f *ethernet.Frame, how retag) {
	kept := *f
	switch how {
	case asItCame:
		b.data = append(b.data, f.Data...)
		kept.Data = nil
	case takeOff:
		b.data, kept = ethernet.AppendUntagged(b.data, f)
	default:
		b.data, kept = ethernet.AppendTagged(b.data, f, uint16(how))
	}
	b.ends = append(b.ends, len(b.data))
	b.list = append(b.list, kept)
}

// frames gives the frames. They are valid until release.
func (b *buffer) frames() []ethernet.Frame {
	start := 0
	for i, end := range b.ends {
		b.list[i].Data = b.data[start:end:end]
		start = end
	}
	return b.list
}

func (b *buffer) release() {
	b.data, b.list, b.ends = b.data[:0], b.list[:0], b.ends[:0]
	buffers.Give(b)
}
