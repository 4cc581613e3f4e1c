package generic

import (
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/spare"
)

// line holds frames in the order in which they came: one whose time has come
// waits behind one whose has not. Its memory is taken with the first frame and
// given back with the last.
type line struct{ held *held }

// held are a line's frames, their bytes one behind the other, and before them
// those that are gone already.
type held struct {
	data    []byte
	start   int // of the first frame in data
	moments []moment
	first   int // in moments
}

// moment is when a frame's time comes, and how long the frame is.
type moment struct {
	at     time.Duration
	length int
}

// lines are the memory that no line uses.
var lines = spare.New(func() *held { return new(held) })

func (l *line) len() int {
	if l.held == nil {
		return 0
	}
	return len(l.held.moments) - l.held.first
}

func (l *line) bytes() int {
	if l.held == nil {
		return 0
	}
	return len(l.held.data) - l.held.start
}

// add copies a frame behind the others and gives the copy, valid until the next add.
func (l *line) add(data []byte, at time.Duration) []byte {
	if l.held == nil {
		l.held = lines.Take()
	}
	h := l.held
	// What is gone is moved over once it is more than what is left, so that the
	// bytes moved are never more than those that came.
	if h.start > len(h.data)/2 {
		h.data = h.data[:copy(h.data, h.data[h.start:])]
		h.moments = h.moments[:copy(h.moments, h.moments[h.first:])]
		h.start, h.first = 0, 0
	}
	h.data = append(h.data, data...)
	h.moments = append(h.moments, moment{at, len(data)})
	return h.data[len(h.data)-len(data):]
}

// next is the time of the first frame, never where there is none.
func (l *line) next() time.Duration {
	if l.held == nil {
		return never
	}
	return l.held.moments[l.held.first].at
}

// take moves the first frame, which there must be, into a buffer.
func (l *line) take(b *buffer) {
	h := l.held
	length := h.moments[h.first].length
	b.add(&ethernet.Frame{Data: h.data[h.start : h.start+length]}, asItCame)
	h.start += length
	if h.first++; h.first == len(h.moments) {
		l.drop()
	}
}

// drop lets go of all frames.
func (l *line) drop() {
	if h := l.held; h != nil {
		*h = held{data: h.data[:0], moments: h.moments[:0]}
		lines.Give(h)
		l.held = nil
	}
}
