package openvpn

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn/controlchannel"
	"tmelink/internal/openvpn/datachannel"
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
	Timers
	// Goodbyes is how often a peer is told that this end ends, 0: not at all
	// (--explicit-exit-notify). In the clear, where anybody can forge it, the
	// peer's own goodbye counts only if it is not 0.
	Goodbyes int
	// Static is the key for ever, TLS how keys are agreed on; where both are
	// nil, packets are frames in the clear.
	Static *datachannel.Key
	TLS    *controlchannel.Config
	// PacketLimit says how long packets may become, in bytes, where Options has
	// Fragments. It is asked with every Encode and Message.
	PacketLimit func() int
	// MTUTest has the session find out how long packets may be that arrive.
	MTUTest bool
	// MuteReplays keeps the log from telling of packets that came again.
	MuteReplays bool
	// Dropped counts the packets of the peer that are not frames, or not frames
	// that an Ethernet of this MTU can carry, and Unsent the frames that there is
	// no key for, or that would take too many fragments.
	Dropped, Unsent *ethernet.Drops
	Log             *slog.Logger
}

// Session is the talk with one peer over one connection or socket. Encode and Rest,
// Decode, Reclaim and Introduce, Control, and Over may each be called by a goroutine
// of its own at the same time; Message and Goodbye not during Encode, nor until its
// packets are sent. It takes no lock and allocates nothing per packet.
type Session struct {
	config   Config
	maxFrame int
	start    time.Time // the times below are counted from here

	timers       atomic.Pointer[Timers] // as in Config; a server may say others
	sent, heard  atomic.Int64           // nanoseconds: of the last packet sent, accepted
	begun        atomic.Int64           // nanoseconds: from when Timers.Whole counts
	activity     activity
	goodbyes     atomic.Int32 // as in Config
	spoken       atomic.Bool  // a packet was accepted
	exited       atomic.Bool  // the peer has said that it ends
	largestSent  atomic.Int64 // bytes
	largestHeard atomic.Int64
	waiting      atomic.Uint32 // request

	answerFrom int64 // nanoseconds: when Message may answer again
	message    []byte
	test       mtuTest

	join   *reassembler // nil: without --fragment
	cut    fragmenter
	unsaid fragments // of the message
	piece  []byte    // the last fragment, before it is sealed

	slots   *datachannel.Slots // nil: in the clear
	seal    sealer
	open    opener
	control *controlchannel.Channel  // nil: without TLS
	said    *controlchannel.Settings // what the server has just said; Control's
	inbox   inbox
	stirred atomic.Bool // Control has something to do with the keys
	over    atomic.Pointer[error]
}

// NewSession begins a session at now. Its first ping is due at once.
func NewSession(c Config, now time.Time) (*Session, error) {
	s := &Session{config: c, maxFrame: ethernet.FrameLen(c.MTU), start: now, open: newOpener(&c)}
	s.timers.Store(&c.Timers)
	s.sent.Store(int64(-c.Ping))
	s.goodbyes.Store(int32(c.Goodbyes))
	if c.Fragments {
		s.join = &reassembler{most: MaxPacket(c.MTU), dropped: c.Dropped}
		s.cut.sequence = uint8(rand.Uint32()) // so that one begun anew is not taken for the last
	}
	switch {
	case c.Static != nil:
		s.slots = datachannel.Fixed(c.Static)
	case c.TLS != nil:
		s.slots = datachannel.NewSlots()
		config := *c.TLS
		settled := config.Settled
		config.Settled = func(said *controlchannel.Settings) {
			s.said = said
			if settled != nil {
				settled(said)
			}
		}
		control, err := controlchannel.New(config, s.slots, now)
		if err != nil {
			return nil, fmt.Errorf("begin a session: %w", err)
		}
		s.control = control
	}
	return s, nil
}

// Encode appends the packets that carry the first of the frames, and says how many
// frames these are: all, where one call's memory is enough for them. In the clear the
// packets share the frames' bytes; else, and in fragments, they are borrowed until the
// next Encode or Rest. Frames for which there is no key are dropped.
func (s *Session) Encode(packets [][]byte, frames []ethernet.Frame, now time.Time) (_ [][]byte, taken int) {
	switch {
	case s.join != nil:
		packets, taken = s.cutFrames(packets, frames, now)
	case s.slots != nil:
		packets, taken = s.sealFrames(packets, frames, now)
	default:
		taken = len(frames)
		for i := range frames {
			packets = append(packets, frames[i].Data)
		}
	}
	largest, bytes := 0, 0
	for _, p := range packets {
		largest = max(largest, len(p))
		bytes += len(p)
	}
	if largest > 0 {
		s.noteSent(largest, now)
		s.noteActivity(bytes, now)
	}
	return packets, taken
}

// Decode appends the frames in a batch of packets that the peer sent, and keeps
// what is said to the session itself. The frames share the packets' bytes, and the
// packets' capacity is used: see datachannel.Slack. What was put together of fragments
// is borrowed until Reclaim.
func (s *Session) Decode(frames []ethernet.Frame, packets [][]byte, from netip.AddrPort, now time.Time) []ethernet.Frame {
	largest, bytes := 0, 0
	if s.slots != nil {
		packets, largest = s.openPackets(packets, from, now)
	} else {
		for _, p := range packets {
			largest = max(largest, len(p))
		}
	}
	for _, p := range packets {
		if s.join != nil {
			if p = s.join.add(p, now); p == nil {
				continue
			}
		}
		switch {
		case isPing(p):
			s.config.Dropped.Add(ethernet.Control, 1)
		case isOCC(p):
			s.config.Dropped.Add(ethernet.Control, 1)
			s.hearOCC(p)
		case len(p) < ethernet.HeaderLen:
			s.config.Dropped.Add(ethernet.Runt, 1)
		case len(p) > s.maxFrame:
			s.config.Dropped.Add(ethernet.Oversize, 1)
			s.tellOversize(len(p), from)
		default:
			frames = append(frames, ethernet.Frame{Data: p})
			bytes += len(p)
		}
	}
	if bytes > 0 {
		s.noteActivity(bytes, now)
	}
	if largest > 0 {
		s.noteHeard(now)
		raise(&s.largestHeard, largest)
	}
	return frames
}

// tellOversize tells once of a frame that is longer than --tun-mtu lets it be.
func (s *Session) tellOversize(length int, from netip.AddrPort) {
	if !s.open.toldOversize {
		s.open.toldOversize = true
		s.config.Log.Warn("dropped a frame that is longer than --tun-mtu allows: give both ends the same --tun-mtu",
			"peer", from, "frame", length, "most", s.maxFrame)
	}
}

// Reclaim says that the frames of the last Decode are used no more.
func (s *Session) Reclaim() {
	if s.join != nil {
		s.join.rest()
	}
}

func (s *Session) hearOCC(message []byte) {
	if r := asks(message); r != 0 {
		s.waiting.Store(uint32(r))
	}
	s.hearMTUReply(message)
	if isExit(message) && (s.slots != nil || s.config.Goodbyes > 0) {
		s.exited.Store(true)
	}
}

// Asked says whether there is something to be done at once by Control or Message.
func (s *Session) Asked() bool {
	return s.waiting.Load() != 0 || s.exited.Load() || s.control != nil && (s.inbox.filled.Load() || s.stirred.Load())
}

// Spoken says whether the peer has been heard at all.
func (s *Session) Spoken() bool { return s.spoken.Load() }

// Ready says whether frames can be sent: in the clear always, else once there is a
// key.
func (s *Session) Ready() bool { return s.slots == nil || s.slots.Sending() != nil }

// Overhead is how much longer a packet is than its frame, in bytes, if that is not cut;
// what sealing adds is left out while there is no key.
func (s *Session) Overhead() int {
	if s.join != nil {
		return fragmentHeader + s.sealing()
	}
	return s.sealing()
}

// sealing is how much longer a packet becomes by being sealed, 0 while there is no key.
func (s *Session) sealing() int {
	if s.slots != nil {
		if k := s.slots.Sending(); k != nil {
			return k.Sealer.Overhead()
		}
	}
	return 0
}

// Heard is how long before now the peer was last heard, or the session began.
func (s *Session) Heard(now time.Time) time.Duration {
	return now.Sub(s.start) - time.Duration(s.heard.Load())
}

// Message gives the next packet that has to be sent now beside the frames, nil for
// none, and after how long a time to ask again: 0 if not before Asked. The packet is
// borrowed until the next Message. After one there may be another.
func (s *Session) Message(now time.Time) (packet []byte, again time.Duration) {
	at := int64(now.Sub(s.start))
	if !s.Ready() {
		return nil, 0
	}
	if s.unsaid.left > 0 {
		return s.sendPiece(now), s.untilMessage(at)
	}
	if s.waiting.Load() != 0 {
		if wait := s.answerFrom - at; wait > 0 {
			return nil, time.Duration(wait)
		}
		s.answerFrom = at + int64(answerEvery)
		s.compose(request(s.waiting.Swap(0)))
		return s.sendMessage(s.message, now), s.untilMessage(at)
	}
	if r := s.testMTU(at); r != 0 {
		s.compose(r)
		return s.sendMessage(s.message, now), s.untilMessage(at)
	}
	if s.timers.Load().Ping != 0 && s.untilPing(at) == 0 {
		return s.sendMessage(pingMessage, now), s.untilMessage(at)
	}
	return nil, s.untilMessage(at)
}

// Greeting gives a ping that is not due yet, nil if there is no key for it.
func (s *Session) Greeting(now time.Time) []byte {
	if !s.Ready() {
		return nil
	}
	return s.sendMessage(pingMessage, now)
}

// sendMessage gives the packet of a message, or of its first fragment.
func (s *Session) sendMessage(m []byte, now time.Time) []byte {
	if s.join == nil {
		return s.sendWhole(m, now)
	}
	if s.cutMessage(m); s.unsaid.left == 0 {
		return nil // it would take too many
	}
	return s.sendPiece(now)
}

// sendPiece gives the packet of a message's next fragment.
func (s *Session) sendPiece(now time.Time) []byte {
	s.piece = s.unsaid.next(s.piece[:0])
	return s.sendWhole(s.piece, now)
}

func (s *Session) sendWhole(m []byte, now time.Time) []byte {
	packet := m
	if s.slots != nil {
		packet = s.sealMessage(m, now)
	}
	s.noteSent(len(packet), now)
	return packet
}

// Limited says whether the peer's silence can be the session's end.
func (s *Session) Limited() bool { return s.timers.Load().Silence > 0 }

// ErrExit is the end of a session whose peer has said that it ends.
var ErrExit = controlchannel.ErrExit

// Err is why the session is over, nil while it is not. It follows Control.
func (s *Session) Err() error {
	if err := s.over.Load(); err != nil {
		return *err
	}
	if s.exited.Load() {
		return ErrExit
	}
	return nil
}

// untilPing is how long after at the next ping is due, 0 where none ever is.
func (s *Session) untilPing(at int64) time.Duration {
	ping := s.timers.Load().Ping
	if ping == 0 {
		return 0
	}
	return max(0, time.Duration(s.sent.Load()-at)+ping)
}

// untilMessage is how long after at a message is due without being asked for, 0 where
// none ever is.
func (s *Session) untilMessage(at int64) time.Duration {
	ping, test := s.untilPing(at), s.untilTest(at)
	if ping == 0 || test != 0 && test < ping {
		return test
	}
	return ping
}

// compose builds a message (check_send_occ_msg_dowork in OpenVPN's occ.c).
func (s *Session) compose(r request) {
	m := append(s.message[:0], occMagic...)
	m = append(m, r.opcode())
	switch r.opcode() {
	case occReply:
		m = append(m, s.config.Options.String()...)
		m = append(m, 0)
	case occMTUReply:
		m = binary.BigEndian.AppendUint16(m, uint16(s.largestHeard.Load()))
		m = binary.BigEndian.AppendUint16(m, uint16(s.largestSent.Load()))
	case occMTULoadRequest:
		m = binary.BigEndian.AppendUint16(m, uint16(r.size()))
	case occMTULoad:
		size := min(r.size(), MaxPacket(s.config.MTU)) - s.loadOverhead()
		for i := len(m); i < size; i++ {
			m = append(m, byte(i*167)) // anything; OpenVPN sends noise
		}
	}
	s.message = m
}

// loadOverhead is how much longer a packet is than a message, as OpenVPN reckons for
// load packets.
func (s *Session) loadOverhead() int {
	n := s.Overhead()
	if s.slots == nil {
		n += packetID
	}
	return n
}

func (s *Session) noteSent(size int, now time.Time) {
	s.sent.Store(int64(now.Sub(s.start)))
	raise(&s.largestSent, size)
}

func (s *Session) noteHeard(now time.Time) {
	s.heard.Store(int64(now.Sub(s.start)))
	s.spoken.Store(true)
}

// raise lifts a mark to n if it is lower. Two writers at once may leave the
// lower of their two: it is a report, not a bound.
func raise(mark *atomic.Int64, n int) {
	if int64(n) > mark.Load() {
		mark.Store(int64(n))
	}
}
