package openvpn

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/occasion"
	"tmelink/internal/openvpn/controlchannel"
	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/spare"
)

// bufferSize is how much memory the packets of one Encode take: what a TAP brings at
// once, and so little that it stays in the processor's cache until it is sent.
const bufferSize = 128 << 10

// buffers are those that no session holds.
var buffers = spare.New(func() *[]byte {
	b := make([]byte, bufferSize)
	return &b
})

// sealer is what a session seals with; the writer's.
type sealer struct {
	buffer  *[]byte // nil at rest
	message []byte  // for packets beside the frames
}

// space is the memory for the packets of one Encode.
func (s *sealer) space() []byte {
	if s.buffer == nil {
		s.buffer = buffers.Take()
	}
	return *s.buffer
}

// sealFrames seals frames one behind the other, so that packets of one size are one
// piece of memory to the kernel.
func (s *Session) sealFrames(packets [][]byte, frames []ethernet.Frame, now time.Time) ([][]byte, int) {
	key := s.slots.Sending()
	room := 0
	if key != nil {
		room = key.Sealer.Begin(now)
	}
	space := s.seal.space()
	before := len(packets)
	taken, bytes := 0, 0
	for _, f := range frames {
		if len(packets)-before == room {
			s.config.Unsent.Add(ethernet.NoKey, len(frames)-taken)
			taken = len(frames)
			break
		}
		if len(f.Data)+key.Sealer.Overhead()+datachannel.Slack > len(space) {
			break
		}
		p := key.Sealer.Seal(space, f.Data)
		packets = append(packets, p)
		space = space[len(p):]
		bytes += len(p)
		taken++
	}
	if n := len(packets) - before; n > 0 && key.Sealed(n, bytes) {
		s.stirred.Store(true)
	}
	return packets, taken
}

// Rest says that the packets of the last Encode are sent: their memory goes to other
// sessions.
func (s *Session) Rest() {
	if s.seal.buffer != nil {
		buffers.Give(s.seal.buffer)
		s.seal.buffer = nil
	}
}

// sealMessage seals a message, nil if there is no key.
func (s *Session) sealMessage(m []byte, now time.Time) []byte {
	key := s.slots.Sending()
	if key == nil || key.Sealer.Begin(now) == 0 {
		return nil
	}
	if need := len(m) + key.Sealer.Overhead() + datachannel.Slack; need > len(s.seal.message) {
		s.seal.message = make([]byte, need)
	}
	packet := key.Sealer.Seal(s.seal.message, m)
	if key.Sealed(1, len(packet)) {
		s.stirred.Store(true)
	}
	return packet
}

// opener is what a session opens with; the reader's.
type opener struct {
	mu       sync.Mutex // held while keys are used: others may ask by Recognize
	payloads [][]byte
	again    occasion.Occasion // of telling of packets that came again
	bad      occasion.Occasion // or are not the peer's
	mute     bool

	toldOversize bool
}

func newOpener(c *Config) opener {
	return opener{again: occasion.New(1, time.Minute), bad: occasion.New(1, time.Minute), mute: c.MuteReplays}
}

// openPackets gives the payloads of a batch, and how long the longest of their packets
// is. It takes out what belongs to the control channel.
func (s *Session) openPackets(packets [][]byte, from netip.AddrPort, now time.Time) (payloads [][]byte, largest int) {
	o := &s.open
	o.mu.Lock()
	defer o.mu.Unlock()
	s.slots.Begin(now)
	o.payloads = o.payloads[:0]
	var last *datachannel.Key
	count, bytes := 0, 0
	for _, p := range packets {
		if s.control != nil && controlchannel.IsControl(p[0]) {
			s.config.Dropped.Add(ethernet.Control, 1)
			s.inbox.put(p, from)
			continue
		}
		key := s.slots.Opening(p)
		if key == nil {
			s.config.Dropped.Add(ethernet.NoKey, 1)
			continue
		}
		payload, err := key.Opener.Open(p)
		if err != nil {
			s.refuse(err, from, now)
			continue
		}
		if key != last {
			s.opened(last, count, bytes)
			last, count, bytes = key, 0, 0
		}
		count++
		bytes += len(p)
		if len(payload) == 0 {
			s.config.Dropped.Add(ethernet.Runt, 1)
			continue
		}
		o.payloads = append(o.payloads, payload)
		largest = max(largest, len(p))
	}
	s.opened(last, count, bytes)
	return o.payloads, largest
}

func (s *Session) opened(key *datachannel.Key, packets, bytes int) {
	if key.Opened(packets, bytes) {
		s.stirred.Store(true)
	}
}

// refuse counts a packet that was not opened, and tells of it now and then.
func (s *Session) refuse(err error, from netip.AddrPort, now time.Time) {
	switch err {
	case datachannel.ErrReplayed:
		s.config.Dropped.Add(ethernet.Replayed, 1)
		if n := s.open.again.Due(now); n > 0 && !s.open.mute {
			s.config.Log.Warn("dropped packets that came a second time or too late: somebody repeats them, or the way reorders more than --replay-window lets by",
				"peer", from, "times", n)
		}
	default: // of another cipher or digest it may just be too short
		reason := ethernet.Forged
		if err == datachannel.ErrShort {
			reason = ethernet.Malformed
		}
		s.config.Dropped.Add(reason, 1)
		if n := s.open.bad.Due(now); n > 0 {
			s.config.Log.Warn("dropped packets that were not sealed with this link's key: somebody forges them, or the ends have different keys, ciphers or digests",
				"peer", from, "times", n)
		}
	}
}

// Introduce says whether a packet proves that its sender, who is not the one that
// the socket has for the peer, is the peer from now on. What belongs to the control
// channel is taken up and proves nothing yet.
func (s *Session) Introduce(packet []byte, from netip.AddrPort, now time.Time) bool {
	switch {
	case s.slots == nil:
		return true
	case s.control != nil && controlchannel.IsControl(packet[0]):
		s.inbox.put(packet, from)
		return false
	}
	return s.genuine(packet)
}

// genuine says whether a packet is sealed with a key of this session, and new.
func (s *Session) genuine(packet []byte) bool {
	s.open.mu.Lock()
	defer s.open.mu.Unlock()
	key := s.slots.Opening(packet)
	return key != nil && key.Opener.Genuine(packet)
}

// Recognize says whether a packet, from wherever, is the peer's: sealed with a key of
// this session, or, which proves nothing, of the control channel and said to be of the
// peer's session. In the clear nothing is. It may be called by any goroutine.
func (s *Session) Recognize(packet []byte) bool {
	switch {
	case s.slots == nil || len(packet) == 0:
		return false
	case s.control != nil && controlchannel.IsControl(packet[0]):
		return s.control.Knows(packet)
	}
	return s.genuine(packet)
}

// inbox holds packets of the control channel until Control takes them.
type inbox struct {
	mu      sync.Mutex
	packets []controlchannel.Packet
	filled  atomic.Bool
}

// inboxSize is how many packets may wait; the peer repeats what is lost.
const inboxSize = 64

func (i *inbox) put(packet []byte, from netip.AddrPort) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.packets) < inboxSize {
		i.packets = append(i.packets, controlchannel.Packet{Data: append([]byte(nil), packet...), To: from})
		i.filled.Store(true)
	}
}

func (i *inbox) take() []controlchannel.Packet {
	i.mu.Lock()
	defer i.mu.Unlock()
	packets := i.packets
	i.packets = nil
	i.filled.Store(false)
	return packets
}

// Control does what the control channel has to do: it takes up what has come and
// gives the next packet to send, if there is one, and otherwise after how long a time
// to ask again: 0 if not before Asked. peer is whom the socket has for the peer, and
// moved, where valid, whom it should have from now on.
func (s *Session) Control(peer netip.AddrPort, now time.Time) (p controlchannel.Packet, ok bool, moved netip.AddrPort, again time.Duration) {
	if s.control == nil {
		return p, false, moved, 0
	}
	s.stirred.Store(false)
	s.control.Moved(peer)
	for _, in := range s.inbox.take() {
		if s.control.Input(in.Data, in.To, now) {
			s.noteHeard(now)
		}
	}
	p, ok, at := s.control.Output(now)
	if s.said != nil {
		s.obey(s.said, now)
		s.said = nil
	}
	moved = s.control.Peer()
	if err := s.control.Err(); err != nil {
		s.over.CompareAndSwap(nil, &err)
	}
	if !at.IsZero() {
		again = max(at.Sub(now), time.Millisecond)
	}
	return p, ok, moved, again
}

// Goodbye tells the peer that this end ends: over the control channel if it can,
// where Said says when the peer has heard it, or else by the packet that it gives, nil
// for none.
func (s *Session) Goodbye(now time.Time) []byte {
	if s.control != nil && s.control.Exit() || !s.Ready() {
		return nil
	}
	return s.sendMessage(append(append([]byte(nil), occMagic...), occExit), now)
}

// Said says whether the peer has all that was said to it over the control channel.
func (s *Session) Said() bool { return s.control == nil || s.control.Said() }

// Secrecy says what frames are sealed with: "AES-256-GCM", "no key yet", or "in the
// clear".
func (s *Session) Secrecy() string {
	if s.slots == nil {
		return "in the clear"
	}
	if k := s.slots.Sending(); k != nil {
		return k.Sealer.Suite().String()
	}
	return "no key yet"
}

// Close ends the session. Control, Message and Goodbye must have returned.
func (s *Session) Close() {
	if s.control != nil {
		s.control.Close()
	}
}
