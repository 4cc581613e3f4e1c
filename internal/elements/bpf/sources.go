package bpf

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
)

// sources remembers the source addresses of frames that went out on the
// interface: those that this port sent, and those that it saw others send.
//
// Linux shows a frame that a packet socket sends on a TAP to the TAP's owner
// and, as outgoing, to the other packet sockets, but not to the host's own IP
// stack. An owner that wants the host to hear it writes it back, and then it
// comes in at every packet socket, the sender's included, as if the wire had
// brought it. What comes in from an address that has just been sending here is
// such a copy.
//
// Learning an address happens before its frame is sent, or before a later frame
// of the same queue is judged, so that no copy overtakes it. The table has a
// fixed size: an address pushes out the one of its set that was silent longest.
// Looking up and refreshing take no lock; only a new address does.
type sources struct {
	factor uint64     // random and odd: nobody outside can aim at one set
	mu     sync.Mutex // held while an address takes a place
	sets   [sourceSets][sourceWays]source
}

type source struct {
	key  atomic.Uint64 // keyOf an address; 0: free
	seen atomic.Int64  // when it was last seen going out, a time.Duration
}

// A set's addresses lie in two cache lines; the table holds 4096 addresses in 64 KiB.
const (
	sourceSets = 512
	sourceWays = 8
	sourceBits = 9 // sourceSets is 1<<sourceBits
)

// sourceMemory is how long after an outgoing frame its source's frames are taken
// for copies. A copy comes back within the time that the TAP's owner needs to
// read and write it: milliseconds, and seconds only where that process starves.
// The other way round, a machine that moves to the far side of a link on the
// same TAP is not heard for as long. A port that reads late does not make this
// longer: see sent.
const sourceMemory = 5 * time.Second

// refreshAfter spares the writes to an entry that is fresh.
const refreshAfter = sourceMemory / 16

func newSources() *sources { return &sources{factor: rand.Uint64() | 1} }

func keyOf(a ethernet.Addr) uint64 {
	return 1<<63 | uint64(binary.BigEndian.Uint16(a[0:]))<<32 | uint64(binary.BigEndian.Uint32(a[2:]))
}

func (s *sources) set(key uint64) *[sourceWays]source {
	return &s.sets[key*s.factor>>(64-sourceBits)]
}

// learn notes that a frame from a goes out at a time.
func (s *sources) learn(a ethernet.Addr, now time.Duration) {
	key := keyOf(a)
	set := s.set(key)
	for i := range set {
		e := &set[i]
		if e.key.Load() != key {
			continue
		}
		if int64(now)-e.seen.Load() > int64(refreshAfter) {
			e.seen.Store(int64(now))
		}
		if e.key.Load() == key { // nobody has taken the place meanwhile
			return
		}
	}
	s.put(set, key, now)
}

func (s *sources) put(set *[sourceWays]source, key uint64, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := &set[0]
	for i := range set {
		e := &set[i]
		if e.key.Load() == key {
			e.seen.Store(int64(now))
			return
		}
		if place.key.Load() != 0 && (e.key.Load() == 0 || e.seen.Load() < place.seen.Load()) {
			place = e
		}
	}
	place.key.Store(0)
	place.seen.Store(int64(now))
	place.key.Store(key)
}

// sent says whether a frame from a that came in is a copy of one that went out.
// since is a time before the frame came in, as late as is known: that the queue
// was empty then is as good as a time stamp, and a reader that is held up for
// long still tells the copies in its queue.
func (s *sources) sent(a ethernet.Addr, since time.Duration) bool {
	key := keyOf(a)
	set := s.set(key)
	for i := range set {
		e := &set[i]
		if e.key.Load() == key {
			fresh := e.seen.Load()+int64(sourceMemory) >= int64(since)
			return fresh && e.key.Load() == key
		}
	}
	return false
}
