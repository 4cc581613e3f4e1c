package datachannel

import (
	"fmt"
	"time"
)

// ID is what numbers a packet: Number counts from 1, and begins anew with a later
// Time, in seconds since 1970, which short packet ids do not have (packet_id.h).
type ID struct {
	Number, Time uint32
}

// Window is the memory against replay: which of the packets behind the newest one
// have come already (the sliding window of RFC 4303, section 3.4.3).
type Window struct {
	size uint32 // how far behind the newest a packet may be
	late int64  // for how many seconds at the most; 0: any

	time uint32
	top  uint32   // the newest number
	seen []uint64 // a ring of bits, one for each number of the last ones

	floor  uint32 // numbers up to here came too long ago
	second int64
	marks  []mark // the newest number at the end of each of the last seconds
}

type mark struct {
	second int64
	top    uint32
}

// The sizes of OpenVPN's --replay-window (packet_id.h), and their defaults.
const (
	DefaultWindow = 64
	MaxWindow     = 65536
	DefaultLate   = 15 * time.Second
	MaxLate       = 600 * time.Second
)

// NewWindow makes a window in which packets may be behind the newest one by size
// numbers and, if late is not 0, by so long a time.
func NewWindow(size int, late time.Duration) Window {
	if size < 1 || size > MaxWindow {
		panic(fmt.Sprintf("window of %d", size))
	}
	return Window{size: uint32(size), late: int64(late / time.Second), seen: make([]uint64, (size+63)/64+1)}
}

// Begin tells the window the time of the packets that follow.
func (w *Window) Begin(now time.Time) {
	second := now.Unix()
	if w.late == 0 || second == w.second {
		return
	}
	if len(w.marks) == 0 || w.marks[len(w.marks)-1].top != w.top {
		w.marks = append(w.marks, mark{w.second, w.top})
	}
	w.second = second
	for len(w.marks) > 0 && (w.marks[0].second < second-w.late || w.marks[0].second > second) {
		if w.marks[0].second < second { // else the clock has gone back
			w.floor = w.marks[0].top
		}
		w.marks = append(w.marks[:0], w.marks[1:]...)
	}
}

// Admits says whether Accept would take a packet.
func (w *Window) Admits(id ID) bool {
	switch {
	case id.Number == 0 || id.Time < w.time:
		return false
	case id.Time > w.time || id.Number > w.top:
		return true
	case w.top-id.Number >= w.size || id.Number <= w.floor:
		return false
	}
	word, bit := w.place(id.Number)
	return w.seen[word]&bit == 0
}

// Accept notes a packet and says whether it has come for the first time, and in
// time.
func (w *Window) Accept(id ID) bool {
	if !w.Admits(id) {
		return false
	}
	if id.Time > w.time {
		w.time, w.top, w.floor = id.Time, 0, 0
		w.marks = w.marks[:0]
		clear(w.seen)
	}
	if id.Number > w.top {
		w.advance(id.Number)
	}
	word, bit := w.place(id.Number)
	w.seen[word] |= bit
	return true
}

// advance makes a number the newest: what the ring has of numbers that are now
// out of reach is forgotten a word at a time.
func (w *Window) advance(number uint32) {
	words := uint32(len(w.seen))
	for n := min(number/64-w.top/64, words); n > 0; n-- {
		w.seen[(number/64-n+1)%words] = 0
	}
	w.top = number
}

func (w *Window) place(number uint32) (word int, bit uint64) {
	return int(number / 64 % uint32(len(w.seen))), 1 << (number % 64)
}
