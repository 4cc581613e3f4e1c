package unixsock

import (
	"fmt"

	"tmelink/internal/ethernet"
)

// cutter cuts what a stream brings into frames. It holds a buffer only while
// there is something in it.
type cutter struct {
	prefix   Prefix
	maxFrame int
	drops    *ethernet.Drops

	buf        *buffer // nil: nothing has come
	start, end int     // of what is in buf and not cut yet
}

// space is where the next bytes go; it is never empty. What was cut before is
// overwritten.
func (c *cutter) space() []byte {
	if c.buf == nil {
		c.buf, c.start, c.end = buffers.Take(), 0, 0
	}
	if c.start > 0 { // which moves less than a frame, and each of them once
		c.end = copy(c.buf.data[:], c.buf.data[c.start:c.end])
		c.start = 0
	}
	return c.buf.data[c.end:]
}

// filled says that n bytes came into space.
func (c *cutter) filled(n int) { c.end += n }

// cut gives the frames that are whole, perhaps none; short and long ones are
// dropped. Its error is a length that no frame has, at which the stream ends;
// the frames before it are given first.
func (c *cutter) cut() ([]ethernet.Frame, error) {
	if c.buf == nil {
		return nil, nil
	}
	data, frames, prefix := &c.buf.data, c.buf.frames[:0], c.prefix.len()
	for len(frames) < streamBatch && c.end-c.start >= prefix {
		length := c.prefix.get(data[c.start:])
		if length == 0 || length > ethernet.MaxFrameLen {
			if len(frames) > 0 {
				break
			}
			return nil, fmt.Errorf("a frame of %d bytes is announced: the other end does not put a %v before each frame, or lost its place", length, c.prefix)
		}
		begin := c.start + prefix
		end := begin + int(length)
		if end > c.end {
			break
		}
		c.start = end
		switch {
		case length < ethernet.HeaderLen:
			c.drops.Add(ethernet.Runt, 1)
		case int(length) > c.maxFrame:
			c.drops.Add(ethernet.Oversize, 1)
		default:
			frames = append(frames, ethernet.Frame{Data: data[begin:end:end]})
		}
	}
	return frames, nil
}

// inFrame says whether a frame has begun and not ended.
func (c *cutter) inFrame() bool { return c.end > c.start }

// rest gives the buffer back if there is nothing in it. What was cut is not
// valid any more.
func (c *cutter) rest() {
	if c.buf != nil && !c.inFrame() {
		c.drop()
	}
}

// drop gives the buffer back with all that is in it.
func (c *cutter) drop() {
	if c.buf != nil {
		buffers.Give(c.buf)
		c.buf, c.start, c.end = nil, 0, 0
	}
}
