package generic

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
)

// table is a switch's filtering database (IEEE 802.1Q-2022, 8.8): behind which
// port each station was last heard. Times come from the caller.
//
// A writer locks it for reading once a batch; refreshing a station, and moving
// it to another port, needs no more. Only a station that is new locks the others
// out. A full table learns none until some have aged: a flood of made-up
// addresses costs the stations beyond it the directness of their frames, nothing
// else.
type table struct {
	limit  int
	ageing time.Duration

	mu       sync.RWMutex
	stations map[key]*station
	swept    time.Duration // when the aged ones were last looked for
	moving   sync.Mutex    // guards what stations know of their moves
}

// key is a station as the table knows it: its hardware address in the low 48 bits,
// and its VLAN above. One that is in two VLANs is two.
type key uint64

// source and destination are the keys of a frame's addresses.
func source(frame []byte, vlan uint16) key {
	return key(binary.BigEndian.Uint64(frame[6:])>>16) | key(vlan)<<48
}

func destination(frame []byte, vlan uint16) key {
	return key(binary.BigEndian.Uint64(frame)>>16) | key(vlan)<<48
}

// isGroup says whether the address is that of a group.
func (k key) isGroup() bool { return k>>40&1 != 0 }

// addr and vlan are the parts of a key.
func (k key) addr() ethernet.Addr {
	var a ethernet.Addr
	for i := range a {
		a[i] = byte(k >> (40 - 8*i))
	}
	return a
}

func (k key) vlan() uint16 { return uint16(k >> 48) }

type station struct {
	port atomic.Pointer[port]
	seen atomic.Int64 // a time.Duration

	// For loops, under table.moving: the last two ports by which its broadcasts and
	// multicasts made it move, when it moved to the last, and how often in a row to
	// and fro.
	last, before *port
	moved        time.Duration
	flaps        int
}

// sweepEvery keeps a flood of new addresses from looking through the whole full
// table for each of them.
const sweepEvery = time.Second

func newTable(limit int, ageing time.Duration) *table {
	return &table{limit: limit, ageing: ageing, stations: map[key]*station{}, swept: -sweepEvery}
}

// heard notes that a station was heard behind a port, by a frame for a group or for
// one station, and says whether the table has it. A station that goes to and fro is left in the port's flap. The caller
// holds mu for reading, and is the port's goroutine that writes.
func (t *table) heard(k key, p *port, group bool, now time.Duration) bool {
	s := t.stations[k]
	if s == nil {
		return false
	}
	if s.port.Load() != p {
		if other := t.move(s, p, group, now); other != nil {
			p.flap = flap{k, other}
		}
	}
	// An eighth of a second spares most writes to what others read.
	if int64(now)-s.seen.Load() > int64(time.Second/8) {
		s.seen.Store(int64(now))
	}
	return true
}

// find gives the port of a station, nil if it is not known or has aged. The
// caller holds mu for reading.
func (t *table) find(k key, now time.Duration) *port {
	s := t.stations[k]
	if s == nil || t.aged(s, now) {
		return nil
	}
	return s.port.Load()
}

// aged says whether a station has been silent for too long, or its port is gone.
func (t *table) aged(s *station, now time.Duration) bool {
	return int64(now)-s.seen.Load() > int64(t.ageing) || s.port.Load().queue.isClosed()
}

// learn takes up the sources of frames that a port has taken, as far as there is
// room. Groups send nothing: a group's address as source is not learned.
func (t *table) learn(frames []ethernet.Frame, routes []route, p *port, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range frames {
		if routes[i].vlan == outside {
			continue
		}
		k := source(frames[i].Data, routes[i].vlan)
		if k.isGroup() || t.heard(k, p, destination(frames[i].Data, 0).isGroup(), now) || !t.room(now) {
			continue
		}
		s := &station{}
		s.port.Store(p)
		s.seen.Store(int64(now))
		t.stations[k] = s
	}
}

// forget takes out the stations behind a port.
func (t *table) forget(p *port) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, s := range t.stations {
		if s.port.Load() == p {
			delete(t.stations, k)
		}
	}
}

// room says whether a station can be added, after looking for aged ones if need be.
func (t *table) room(now time.Duration) bool {
	if len(t.stations) >= t.limit && now-t.swept >= sweepEvery {
		t.swept = now
		for k, s := range t.stations {
			if t.aged(s, now) {
				delete(t.stations, k)
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
