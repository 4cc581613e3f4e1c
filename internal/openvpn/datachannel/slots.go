package datachannel

import (
	"sync/atomic"
	"time"
)

// Key is both halves of a key, and how much it has been used.
type Key struct {
	Sealer *Sealer
	Opener *Opener
	ID     byte // that packets name, from 0 to 7
	// MaxPackets and MaxBytes, of packets, are how much of both directions together
	// wears the key; 0: nothing does.
	MaxPackets, MaxBytes uint64
	// Worn is set once the key should be replaced.
	Worn atomic.Bool
	// Heard is set once a packet of the peer was opened with the key: the peer has
	// it, too.
	Heard atomic.Bool

	packets, bytes atomic.Uint64
}

// Sealed adds to how much a key has been used, and says whether it has become Worn
// now.
func (k *Key) Sealed(packets, bytes int) bool {
	return k.count(packets, bytes) || k.Sealer.Worn() && k.wear()
}

// Opened adds to how much a key has been used, and says whether that is news: the key
// has become Heard or Worn now. A nil key counts nothing.
func (k *Key) Opened(packets, bytes int) bool {
	if k == nil || packets == 0 {
		return false
	}
	first := !k.Heard.Load()
	if first {
		k.Heard.Store(true)
	}
	return k.count(packets, bytes) || first
}

func (k *Key) count(packets, bytes int) bool {
	p, b := k.packets.Add(uint64(packets)), k.bytes.Add(uint64(bytes))
	return (k.MaxPackets > 0 && p >= k.MaxPackets || k.MaxBytes > 0 && b >= k.MaxBytes) && k.wear()
}

func (k *Key) wear() bool { return !k.Worn.Load() && !k.Worn.Swap(true) }

// Slots are the keys in use: one to seal with, and those that packets of the peer
// may have been sealed with. One goroutine changes them; another may seal, and a
// third open.
type Slots struct {
	sending  atomic.Pointer[Key]
	opening  [4]atomic.Pointer[Key]
	identify bool // packets name their key
}

// NewSlots makes empty slots for packets that name their key.
func NewSlots() *Slots { return &Slots{identify: true} }

// Fixed makes slots with one key for ever, for packets that name none.
func Fixed(k *Key) *Slots {
	s := new(Slots)
	s.sending.Store(k)
	s.opening[0].Store(k)
	return s
}

// Set replaces the keys: the one to seal with, nil for none, and up to four to open
// with, of which an earlier one has precedence.
func (s *Slots) Set(sending *Key, opening ...*Key) {
	s.sending.Store(sending)
	for i := range s.opening {
		var k *Key
		if i < len(opening) {
			k = opening[i]
		}
		s.opening[i].Store(k)
	}
}

// Sending is the key to seal with, nil for none.
func (s *Slots) Sending() *Key { return s.sending.Load() }

// Opening finds the key with which a packet can be opened, nil for none.
func (s *Slots) Opening(packet []byte) *Key {
	if !s.identify {
		return s.opening[0].Load()
	}
	if headerLen(packet) == 0 {
		return nil
	}
	for i := range s.opening {
		if k := s.opening[i].Load(); k != nil && k.ID == packet[0]&7 {
			return k
		}
	}
	return nil
}

// Begin must be called before a batch is opened.
func (s *Slots) Begin(now time.Time) {
	for i := range s.opening {
		if k := s.opening[i].Load(); k != nil {
			k.Opener.Begin(now)
		}
	}
}
