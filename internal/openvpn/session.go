package openvpn

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
)

// answerEvery is the shortest time between two answers to the peer's OCC
// messages. OpenVPN asks every 10 s, or 3 s in an MTU test; who asks more often
// wants us to flood somebody.
const answerEvery = 100 * time.Millisecond

// packetID is the length of the packet id that OpenVPN counts into the size of a
// load packet even where there are no keys (calc_packet_id_size_dc, mtu.c).
const packetID = 8

// Config is what a Session is made of.
type Config struct {
	Options
	// Ping is after how long a time without sending a ping is due; 0: never.
	Ping time.Duration
	// PingRestart is after how long a time without hearing the peer a session
	// is over; 0: never.
	PingRestart time.Duration
	// Dropped counts the packets that are not frames, or not frames that an
	// Ethernet of this MTU can carry.
	Dropped *ethernet.Drops
}

// Session is the talk with one peer over one connection or socket. Encode,
// Decode, Message and Silent may each be called by a goroutine of its own at the
// same time. It takes no lock and allocates nothing per packet.
type Session struct {
	config   Config
	maxFrame int
	start    time.Time // the times below are counted from here

	sent, heard  atomic.Int64 // nanoseconds: of the last packet sent, accepted
	spoken       atomic.Bool  // a packet was accepted
	largestSent  atomic.Int64 // bytes
	largestHeard atomic.Int64
	waiting      atomic.Uint32 // request

	answerFrom int64 // nanoseconds: when Message may answer again
	message    []byte
}

// NewSession begins a session at now. Its first ping is due at once.
func NewSession(c Config, now time.Time) *Session {
	s := &Session{config: c, maxFrame: ethernet.FrameLen(c.MTU), start: now}
	s.sent.Store(int64(-c.Ping))
	return s
}

// Encode appends the packets that carry the frames. The packets share the
// frames' bytes.
func (s *Session) Encode(packets [][]byte, frames []ethernet.Frame, now time.Time) [][]byte {
	largest := 0
	for i := range frames {
		packets = append(packets, frames[i].Data)
		largest = max(largest, len(frames[i].Data))
	}
	s.noteSent(largest, now)
	return packets
}

// Decode appends the frames in a batch of packets that the peer sent, and keeps
// what is said to the session itself. The frames share the packets' bytes.
func (s *Session) Decode(frames []ethernet.Frame, packets [][]byte, now time.Time) []ethernet.Frame {
	largest := 0
	for _, p := range packets {
		largest = max(largest, len(p))
		switch {
		case isPing(p):
			s.config.Dropped.Add(ethernet.Control, 1)
		case isOCC(p):
			s.config.Dropped.Add(ethernet.Control, 1)
			if r := asks(p); r != 0 {
				s.waiting.Store(uint32(r))
			}
		case len(p) < ethernet.HeaderLen:
			s.config.Dropped.Add(ethernet.Runt, 1)
		case len(p) > s.maxFrame:
			s.config.Dropped.Add(ethernet.Oversize, 1)
		default:
			frames = append(frames, ethernet.Frame{Data: p})
		}
	}
	if largest > 0 {
		s.heard.Store(int64(now.Sub(s.start)))
		s.spoken.Store(true)
		raise(&s.largestHeard, largest)
	}
	return frames
}

// Asked says whether the peer waits for an answer, so that Message should be
// called.
func (s *Session) Asked() bool { return s.waiting.Load() != 0 }

// Spoken says whether the peer has been heard at all.
func (s *Session) Spoken() bool { return s.spoken.Load() }

// Heard is how long before now the peer was last heard, or the session began.
func (s *Session) Heard(now time.Time) time.Duration {
	return now.Sub(s.start) - time.Duration(s.heard.Load())
}

// Message gives the packet that has to be sent now beside the frames, nil for
// none, and after how long a time to ask again: 0 if not before Asked. The
// packet is borrowed until the next Message.
func (s *Session) Message(now time.Time) (packet []byte, again time.Duration) {
	at := int64(now.Sub(s.start))
	if s.Asked() {
		if wait := s.answerFrom - at; wait > 0 {
			return nil, time.Duration(wait)
		}
		s.answerFrom = at + int64(answerEvery)
		s.answer(request(s.waiting.Swap(0)))
		s.noteSent(len(s.message), now)
		return s.message, s.untilPing(at)
	}
	if s.config.Ping == 0 {
		return nil, 0
	}
	if wait := s.untilPing(at); wait > 0 {
		return nil, wait
	}
	s.noteSent(len(pingMessage), now)
	return pingMessage, s.config.Ping
}

// Silent says whether the peer has not been heard for so long that the session
// is over, and if not, after how long a time to ask again: 0 for never.
func (s *Session) Silent(now time.Time) (over bool, again time.Duration) {
	if s.config.PingRestart == 0 {
		return false, 0
	}
	left := s.config.PingRestart - s.Heard(now)
	return left <= 0, max(left, 0)
}

// untilPing is how long after at the next ping is due, 0 where none ever is.
func (s *Session) untilPing(at int64) time.Duration {
	if s.config.Ping == 0 {
		return 0
	}
	return max(0, time.Duration(s.sent.Load()-at)+s.config.Ping)
}

// answer builds the answer to a request (check_send_occ_msg_dowork in OpenVPN's
// occ.c).
func (s *Session) answer(r request) {
	m := append(s.message[:0], occMagic...)
	m = append(m, r.opcode())
	switch r.opcode() {
	case occReply:
		m = append(m, s.config.Options.String()...)
		m = append(m, 0)
	case occMTUReply:
		m = binary.BigEndian.AppendUint16(m, uint16(s.largestHeard.Load()))
		m = binary.BigEndian.AppendUint16(m, uint16(s.largestSent.Load()))
	case occMTULoad:
		size := min(r.size(), MaxPacket(s.config.MTU)) - packetID
		for i := len(m); i < size; i++ {
			m = append(m, byte(i*167)) // anything; OpenVPN sends noise
		}
	}
	s.message = m
}

func (s *Session) noteSent(size int, now time.Time) {
	s.sent.Store(int64(now.Sub(s.start)))
	raise(&s.largestSent, size)
}

// raise lifts a mark to n if it is lower. Two writers at once may leave the
// lower of their two: it is a report, not a bound.
func raise(mark *atomic.Int64, n int) {
	if int64(n) > mark.Load() {
		mark.Store(int64(n))
	}
}
