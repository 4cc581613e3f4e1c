package tap

import (
	"net"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/spare"
)

// The bounds of one batch of ReadFrames: what a system call for each frame
// brings before the batch is worth sending on.
const (
	batchFrames = 128
	batchBytes  = 96 << 10
)

// readBuffer has room for a whole batch and behind it for the longest frame of
// all: the interface's MTU may be raised by others while it is read.
type readBuffer struct {
	bytes  [batchBytes + ethernet.VirtioLen + ethernet.MaxFrameLen]byte
	frames [batchFrames]ethernet.Frame
}

// readBuffers are those that no queue holds. A queue takes one when there is
// something to read and gives it back when it is empty, so that idle devices
// hold none.
var readBuffers = spare.New(func() *readBuffer { return new(readBuffer) })

// reader is the reading side of a queue.
type reader struct {
	queue  *queue
	buffer *readBuffer
	frames []ethernet.Frame
	err    error
	// lone: the last batch was one frame, and nothing followed it. Then the
	// next frame is not likely to have company either, and to ask for that
	// would hold it up.
	lone    bool
	waited  bool                  // the queue was empty when it was asked last
	drainFn func(fd uintptr) bool // drain, made once: a fresh one would be an allocation
}

func (r *reader) init(q *queue) {
	r.queue = q
	r.drainFn = r.drain
}

// ReadFrames gives what the kernel has put into the queue.
func (q *queue) ReadFrames() ([]ethernet.Frame, error) {
	r := &q.in
	for !q.port.closed.Load() {
		r.frames, r.err = nil, nil
		if err := q.raw.Read(r.drainFn); err != nil {
			return nil, q.port.ended(err)
		}
		if len(r.frames) > 0 {
			return r.frames, nil
		}
		if r.err != nil {
			return nil, q.port.ended(r.err)
		}
	}
	return nil, net.ErrClosed
}

// drain reads the queue until it is empty or the batch is full. It says no to
// the poller, which then waits, if there was nothing to read at all.
func (r *reader) drain(fd uintptr) bool {
	if r.buffer == nil {
		r.buffer = readBuffers.Take()
	}
	p, b := r.queue.port, r.buffer
	h, only := p.host.Load(), p.only.Load()
	r.frames = b.frames[:0]
	used, most := 0, batchFrames
	if r.lone && r.waited {
		most = 1
	}
	for reads := range most {
		if used >= batchBytes {
			break
		}
		n, errno := transfer(unix.SYS_READ, fd, b.bytes[used:])
		if errno == unix.EAGAIN {
			if reads == 0 {
				readBuffers.Give(b)
				r.buffer, r.frames = nil, nil
				r.waited = true
				return false
			}
			break
		}
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			r.err = errno
			break
		}
		raw := b.bytes[used : used+n : used+n]
		f, reason, ok := p.frame(raw)
		if !ok {
			p.counters.Read.Add(reason, 1)
			continue
		}
		back, on := h.judge(f.Data)
		if back {
			p.reflect(fd, raw)
		}
		if on && !only {
			r.frames = append(r.frames, f)
			used += n
		}
	}
	r.lone = r.waited && len(r.frames) < 2
	r.waited = false
	return true
}

// frame takes off the header that the kernel puts before a frame.
func (p *port) frame(raw []byte) (ethernet.Frame, ethernet.Reason, bool) {
	if len(raw) < p.header+ethernet.HeaderLen {
		return ethernet.Frame{}, ethernet.Runt, false
	}
	data := raw[p.header:]
	if p.header == 0 {
		return ethernet.Frame{Data: data}, 0, true
	}
	f, ok := ethernet.ParseVirtio(raw, data, 0)
	return f, ethernet.Malformed, ok
}

// reflect writes a frame back for the host, together with the header that came
// with it.
func (p *port) reflect(fd uintptr, raw []byte) {
	if _, errno := transfer(unix.SYS_WRITE, fd, raw); errno != 0 {
		p.counters.Read.Add(dropReason(errno), 1)
	}
}
