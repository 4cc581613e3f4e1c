package link

import (
	"sync"
	"time"

	"tmelink/internal/ethernet"
)

// shaper bounds how many bytes a second a link sends (OpenVPN's --shaper). It is no
// queue: who sends waits for his turn, in which all goes out at once that may.
type shaper struct {
	mu    sync.Mutex // held by whose turn is next, while he waits
	wire  wire
	timer *time.Timer
}

// shortestWait is for how long a sender waits at least, so that at high rates he is
// not woken for every packet.
const shortestWait = time.Millisecond

func newShaper(rate int) *shaper {
	s := &shaper{wire: wire{rate: rate}, timer: time.NewTimer(time.Hour)}
	s.timer.Stop()
	return s
}

// turn waits until the wire is free, and says how many of the frames may go at once;
// around is how much longer than a frame its packet is. When over is closed it waits
// no more, and gives 0.
func (s *shaper) turn(frames []ethernet.Frame, around int, over <-chan struct{}) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for wait := s.wire.busy(now); wait > 0; wait = s.wire.busy(now) {
		s.timer.Reset(max(wait, shortestWait))
		select {
		case <-s.timer.C:
			now = time.Now()
		case <-over:
			s.timer.Stop()
			return 0
		}
	}
	for n < len(frames) && s.wire.busy(now) == 0 {
		s.wire.put(len(frames[n].Data)+around, now)
		n++
	}
	return n
}

// wire is the timetable of a wire that carries one packet after the other, and that
// has no clock of its own.
type wire struct {
	rate int       // bytes a second
	free time.Time // when it has carried all that was put on it
}

// leastPacket is for how many bytes a packet counts at least (shaper_wrote_bytes in
// OpenVPN's shaper.h).
const leastPacket = 100

// burst is how much of the time in which a wire carries nothing can be made up for:
// as much as a timer may be late. In any time the wire carries no more than in this
// time and burst together, and one packet.
const burst = 5 * time.Millisecond

// busy is for how long from now on nothing can be put on the wire; 0: something can.
func (w *wire) busy(now time.Time) time.Duration { return max(0, w.free.Sub(now)) }

// put puts a packet of so many bytes on the wire.
func (w *wire) put(bytes int, now time.Time) {
	if earliest := now.Add(-burst); w.free.Before(earliest) {
		w.free = earliest
	}
	nanoseconds := int64(max(bytes, leastPacket)) * int64(time.Second)
	rate := int64(w.rate)
	w.free = w.free.Add(time.Duration((nanoseconds + rate - 1) / rate))
}

// pace sends frames in as many turns as a shaper gives them, at once where there is
// none. Those that wait when the circuit ends are dropped.
func (p *port) pace(c *circuit, frames []ethernet.Frame) error {
	s := p.shaper.Load()
	if s == nil || !c.session.Ready() { // without a key nothing goes out
		return p.send(c, frames)
	}
	around := c.conn.Overhead() + c.session.Overhead()
	for len(frames) > 0 {
		n := s.turn(frames, around, c.over)
		if n == 0 {
			p.counters.Write.Add(ethernet.Disconnected, len(frames))
			return p.ended()
		}
		if err := p.send(c, frames[:n]); err != nil {
			return err
		}
		frames = frames[n:]
	}
	return nil
}
