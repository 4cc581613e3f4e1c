package openvpn

import (
	"math"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn/datachannel"
)

// cutFrames is Encode with --fragment: each frame goes in as many packets as it takes.
func (s *Session) cutFrames(packets [][]byte, frames []ethernet.Frame, now time.Time) (_ [][]byte, taken int) {
	key, room, overhead := (*datachannel.Key)(nil), math.MaxInt, 0
	if s.slots != nil {
		if key = s.slots.Sending(); key == nil {
			s.config.Unsent.Add(ethernet.NoKey, len(frames))
			return packets, len(frames)
		}
		room, overhead = key.Sealer.Begin(now), key.Sealer.Overhead()
	}
	most := s.config.PacketLimit() - overhead
	space := s.seal.space()
	before, bytes := len(packets), 0
	for _, f := range frames {
		n, size := pieces(len(f.Data), most)
		if n == 0 {
			s.config.Unsent.Add(ethernet.Oversize, 1)
			taken++
			continue
		}
		if len(packets)-before+n > room {
			s.config.Unsent.Add(ethernet.NoKey, len(frames)-taken)
			taken = len(frames)
			break
		}
		if len(f.Data)+n*(fragmentHeader+overhead)+datachannel.Slack > len(space) {
			break
		}
		for cut := s.cut.cut(f.Data, n, size); cut.left > 0; {
			p := s.cutPacket(&cut, key, space)
			packets = append(packets, p)
			space = space[len(p):]
			bytes += len(p)
		}
		taken++
	}
	if n := len(packets) - before; key != nil && n > 0 && key.Sealed(n, bytes) {
		s.stirred.Store(true)
	}
	return packets, taken
}

// cutPacket makes the packet of the next fragment at the beginning of space.
func (s *Session) cutPacket(cut *fragments, key *datachannel.Key, space []byte) []byte {
	if key == nil {
		return cut.next(space[:0])
	}
	s.piece = cut.next(s.piece[:0])
	return key.Sealer.Seal(space, s.piece)
}

// cutMessage begins to send a message in fragments.
func (s *Session) cutMessage(m []byte) {
	n, size := pieces(len(m), s.config.PacketLimit()-s.sealing())
	s.unsaid = s.cut.cut(m, n, size)
}
