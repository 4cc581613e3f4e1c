package generic

import (
	"fmt"
	"math"
	"sync"
	"time"

	"tmelink/internal/ethernet"
)

// never is the time of a frame that does not come.
const never = time.Duration(math.MaxInt64)

// lane is one direction: it decides about each frame that comes in, and holds
// those that go on until their time. One goroutine puts, one takes. Times come
// from the caller, so that tests need no clock.
type lane struct {
	drops *ethernet.Drops
	wake  chan struct{} // holds a token when the taker should look again

	mu       sync.Mutex
	conf     impairments
	maxBytes int
	dice     dice
	closed   bool
	// ordered are the frames that keep their order, whatever the jitter; ahead
	// are those that overtake them.
	ordered, ahead line
	// free is when the sender at the rate has sent all before, to which owed is
	// still to be added: the part of a nanosecond that division left, in 1/rate.
	free   time.Duration
	owed   int64
	counts laneCounts
}

// laneCounts are what has become of frames.
type laneCounts struct {
	frames, lost, duplicated, overtaking, corrupted, full uint64
}

// batchFrames is how many frames are taken at a time, so that who puts does not
// wait while thousands are copied.
const batchFrames = 256

func (l *lane) init(conf impairments, seed, direction uint64, drops *ethernet.Drops) {
	l.drops, l.wake, l.dice = drops, make(chan struct{}, 1), newDice(seed, direction)
	l.setConf(conf)
}

func (l *lane) setConf(conf impairments) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conf, l.maxBytes = conf, max(conf.limit*bytesPerFrame, ethernet.MaxFrameLen)
}

// chancy says whether anything is left to chance.
func (l *lane) chancy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &l.conf
	return m.jitter > 0 || m.loss+m.duplicate+m.reorder+m.corrupt > 0
}

// put takes up frames that come in now, and wakes the taker if one of them is
// due before all others. A closed lane has nobody who takes.
func (l *lane) put(frames []ethernet.Frame, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.drops.Add(ethernet.Disconnected, len(frames))
		return
	}
	before := l.next()
	for i := range frames {
		l.meet(frames[i].Data, now)
	}
	if l.next() < before {
		l.signal()
	}
}

// meet lets a frame meet its fate.
func (l *lane) meet(data []byte, now time.Duration) {
	f := l.dice.roll(&l.conf)
	l.counts.frames++
	if f.lost {
		l.counts.lost++
		l.drops.Add(ethernet.Impaired, 1)
		return
	}
	l.hold(data, &f.copies[0], now)
	if f.twice {
		l.counts.duplicated++
		l.hold(data, &f.copies[1], now)
	}
}

// hold puts one copy of a frame into its line, if there is room.
func (l *lane) hold(data []byte, c *copyFate, now time.Duration) {
	if l.ordered.len()+l.ahead.len() >= l.conf.limit || l.ordered.bytes()+l.ahead.bytes()+len(data) > l.maxBytes {
		l.counts.full++
		l.drops.Add(ethernet.QueueFull, 1)
		return
	}
	at, to := l.sent(len(data), now), &l.ahead
	if c.overtakes {
		l.counts.overtaking++
	} else {
		at, to = at+l.conf.delay+c.offset, &l.ordered
	}
	copied := to.add(data, at)
	if c.corrupt {
		bit := scale(c.bit, uint64(len(copied))*8)
		copied[bit/8] ^= 1 << (bit % 8)
		l.counts.corrupted++
	}
}

// sent is when the last bit of a frame that comes now has been sent at the rate,
// behind all those before it.
func (l *lane) sent(length int, now time.Duration) time.Duration {
	if l.conf.rate == 0 {
		return now
	}
	if l.free < now {
		l.free, l.owed = now, 0
	}
	work := int64(length)*8*int64(time.Second) + l.owed
	l.free += time.Duration(work / l.conf.rate)
	l.owed = work % l.conf.rate
	return l.free
}

// next is when the next frame is due.
func (l *lane) next() time.Duration { return min(l.ordered.next(), l.ahead.next()) }

// take gives the frames that are due now; or, where there are none, nil and when
// the next one is due. It says whether the lane is still open.
func (l *lane) take(now time.Duration) (b *buffer, due time.Duration, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, never, false
	}
	for due = l.next(); due <= now; due = l.next() {
		if b == nil {
			b = buffers.Take()
		} else if len(b.list) == batchFrames {
			break
		}
		if l.ahead.next() == due {
			l.ahead.take(b)
		} else {
			l.ordered.take(b)
		}
	}
	return b, due, true
}

// signal has the taker look again. The caller holds mu.
func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // there is a token that it has not seen yet
	}
}

// close lets go of what is held, and wakes who waits for more.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.ordered.drop()
	l.ahead.drop()
	l.signal()
}

func (l *lane) status() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.counts
	return fmt.Sprintf("%d frames, %d lost, %d duplicated, %d overtaking, %d corrupted, %d for a full queue, %d under way",
		c.frames, c.lost, c.duplicated, c.overtaking, c.corrupted, c.full, l.ordered.len()+l.ahead.len())
}
