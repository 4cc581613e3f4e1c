package generic

import (
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
)

// table is a switch's filtering database (IEEE 802.1Q-2022, 8.8): behind which
// port each station was last heard. Times come from the caller.
//
// A writer locks it for reading once a batch; refreshing a station, and moving
// it to another port, are atomic. Only a station that is new locks the others
// out. A full table learns none until some have aged: a flood of made-up
// addresses costs the stations beyond it the directness of their frames, nothing
// else.
type table struct {
	limit  int
	ageing time.Duration

	mu       sync.RWMutex
	stations map[ethernet.Addr]*station
	swept    time.Duration // when the aged ones were last looked for
}

type station struct {
	port atomic.Pointer[port]
	seen atomic.Int64 // a time.Duration
}

// sweepEvery keeps a flood of new addresses from looking through the whole full
// table for each of them.
const sweepEvery = time.Second

func newTable(limit int, ageing time.Duration) *table {
	return &table{limit: limit, ageing: ageing, stations: map[ethernet.Addr]*station{}, swept: -sweepEvery}
}

// heard notes that a station was heard behind a port, and says whether the table
// has it. The caller holds mu for reading.
func (t *table) heard(a ethernet.Addr, p *port, now time.Duration) bool {
	s := t.stations[a]
	if s == nil {
		return false
	}
	if s.port.Load() != p {
		s.port.Store(p)
	}
	// An eighth of a second spares most writes to what others read.
	if int64(now)-s.seen.Load() > int64(time.Second/8) {
		s.seen.Store(int64(now))
	}
	return true
}

// find gives the port of a station, nil if it is not known or has aged. The
// caller holds mu for reading.
func (t *table) find(a ethernet.Addr, now time.Duration) *port {
	s := t.stations[a]
	if s == nil || t.aged(s, now) {
		return nil
	}
	return s.port.Load()
}

// aged says whether a station has been silent for too long, or its port is gone.
func (t *table) aged(s *station, now time.Duration) bool {
	return int64(now)-s.seen.Load() > int64(t.ageing) || s.port.Load().queue.isClosed()
}

// learn takes up the sources of frames that came in at a port, as far as there
// is room. Groups send nothing: a group's address as source is not learned.
func (t *table) learn(frames []ethernet.Frame, p *port, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range frames {
		a := ethernet.Src(frames[i].Data)
		if a.IsGroup() || t.heard(a, p, now) || !t.room(now) {
			continue
		}
		s := &station{}
		s.port.Store(p)
		s.seen.Store(int64(now))
		t.stations[a] = s
	}
}

// room says whether a station can be added, after looking for aged ones if need be.
func (t *table) room(now time.Duration) bool {
	if len(t.stations) >= t.limit && now-t.swept >= sweepEvery {
		t.swept = now
		for a, s := range t.stations {
			if t.aged(s, now) {
				delete(t.stations, a)
			}
		}
	}
	return len(t.stations) < t.limit
}

// known is the number of stations that have not aged.
func (t *table) known(now time.Duration) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := 0
	for _, s := range t.stations {
		if !t.aged(s, now) {
			n++
		}
	}
	return n
}
