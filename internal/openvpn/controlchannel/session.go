package controlchannel

import (
	"fmt"
	"net/netip"
	"time"

	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
)

// session is one run of the peer, as this end's run sees it. It has one
// negotiation, and beside it the one before, whose key is still good for a while.
type session struct {
	channel    *Channel
	id, remote sessionID      // remote is zero while the peer has not been heard
	addr       netip.AddrPort // of the peer; not valid: whom the link's socket has for it
	wrap       wrapper
	wrapLater  wrapper // of renegotiations, nil: as wrap
	original   *keys.Static
	agreed     agreed
	primary    *negotiation
	lame       *negotiation
	older      *datachannel.Key // of the one before lame; to open with
	heard      time.Time
	pull       pull
}

// newSession begins a session of ours. first is the opcode of our first packet, 0
// if the peer has it already.
func (c *Channel) newSession(id sessionID, first byte, w Wrapping, now time.Time) *session {
	s := &session{channel: c, id: id, heard: now, original: w.original()}
	firstID := uint32(1)
	switch {
	case first == opHardClientV3:
		firstID = earlyNegotiation + 1
	case first == 0:
		firstID = 2
	}
	s.wrap = w.newWrapper(c.config.Server, firstID)
	s.primary = s.begin(0, first, now)
	return s
}

// earlyNegotiation is the number from which the packets of a tls-crypt-v2 client are
// counted that understands the flags of a server's first packet (EARLY_NEG_START in
// ssl_pkt.h).
const (
	earlyNegotiation     = 0x0f000000
	earlyNegotiationMask = 0xff000000
)

// unwrap takes the wrapping off a packet of the peer.
func (s *session) unwrap(op, keyID byte, packet []byte, now time.Time) ([]byte, error) {
	if op == opHardClientV3 || op == opControlKey {
		rest, _, ok := splitKey(packet)
		if !ok {
			return nil, errUnwrap
		}
		packet = rest
	}
	return s.wrapperOf(keyID).unwrap(packet, now)
}

func (s *session) wrapperOf(keyID byte) wrapper {
	if keyID > 0 && s.wrapLater != nil {
		return s.wrapLater
	}
	return s.wrap
}

// receive takes up a packet of the peer.
func (s *session) receive(op, keyID byte, packet []byte, now time.Time) error {
	b, err := s.unwrap(op, keyID, packet, now)
	if err != nil {
		return err
	}
	p, err := parseBody(op, b)
	if err != nil {
		return err
	}
	if op == opSoftReset && keyID == nextKeyID(s.primary.keyID) {
		if s.primary.stage < active { // who begins the next key has this one
			s.primary.conclude()
			s.primary.proceed(now)
			s.channel.settle(s, now)
		}
		if s.primary.stage == keyed {
			s.renegotiate(now)
		}
	}
	s.heard = now
	switch {
	case keyID == s.primary.keyID:
		return s.primary.receive(op, p, now)
	case s.lame != nil && keyID == s.lame.keyID: // the peer may not have all of it
		return s.lame.receive(op, p, now)
	}
	return nil
}

// nextKeyID goes from 1 to 7 and round; 0 is that of a session's beginning alone.
func nextKeyID(id byte) byte {
	if id == 7 {
		return 1
	}
	return id + 1
}

// renegotiate begins a new key. The one in use goes on until the new one is there,
// and packets sealed with it are opened for a while longer.
func (s *session) renegotiate(now time.Time) {
	var older *datachannel.Key
	if s.lame != nil { // packets that were sealed with it may still be on their way
		older = s.lame.key
	}
	s.dropLame()
	s.lame, s.older = s.primary, older
	s.lame.diesAt = now.Add(s.channel.config.TranWindow)
	s.primary = s.begin(nextKeyID(s.lame.keyID), opSoftReset, now)
}

// revert goes back to the key before, when the negotiation of a new one has failed.
func (s *session) revert() {
	s.primary.tls.close()
	s.primary, s.lame = s.lame, nil
}

func (s *session) dropLame() {
	if s.lame != nil {
		s.lame.tls.close()
		s.lame, s.older = nil, nil
	}
}

func (s *session) close() {
	s.primary.tls.close()
	s.dropLame()
}

// agree takes up what the peer's first hello says, as far as it is not a server's
// to say.
func (s *session) agree(n *negotiation) (err error) {
	if s.channel.config.Pull {
		return nil // see pull
	}
	if s.agreed, err = s.channel.config.agree(&n.peer); err != nil {
		return err
	}
	if s.agreed.export && s.agreed.numbered {
		id, err := n.tls.export("EXPORTER-OpenVPN-p2p-peerid", 3)
		if err != nil {
			return fmt.Errorf("export the peer id from TLS: %w", err)
		}
		s.agreed.peerID = uint32(id[0])<<16 | uint32(id[1])<<8 | uint32(id[2])
	}
	return nil
}

// makeKey makes the key of the primary negotiation, and with a session's first one the
// wrapping of its renegotiations.
func (s *session) makeKey() error {
	if s.primary.keyID == 0 && s.agreed.dynamic {
		b, err := s.primary.tls.export("EXPORTER-OpenVPN-dynamic-tls-crypt", keyMaterial)
		if err != nil {
			return fmt.Errorf("export the renegotiations' key from TLS: %w", err)
		}
		key := fromMaterial(b)
		if s.original != nil {
			key.Xor(s.original)
		}
		s.wrapLater = newCrypter(key, s.channel.config.Server, 1)
		key.Wipe()
	}
	return s.primary.makeKey()
}

// room is how much of the TLS stream a packet may carry, in bytes, so that it fits
// --max-packet-size together with all that is around it, IPv6 and UDP included
// (calc_control_channel_frame_overhead in ssl.c).
func (s *session) room() int {
	const around = headerLen + 1 + maxAcksBeside*4 + len(sessionID{}) + 4 + 40 + 8
	return max(16, s.channel.config.MaxPacket-around-s.wrapperOf(s.primary.keyID).overhead())
}

// packet gives the next packet for the peer, nil for none now.
func (s *session) packet(now time.Time) []byte {
	packet := s.packetOf(s.primary, now)
	if packet == nil && s.lame != nil {
		packet = s.packetOf(s.lame, now)
	}
	return packet
}

func (s *session) packetOf(n *negotiation, now time.Time) []byte {
	var op byte
	var b body
	if p := n.out.due(now); p != nil {
		op = p.op
		b = body{acks: n.acks.take(maxAcksBeside), id: p.id, payload: p.payload}
	} else if len(n.acks.due) > 0 || n.remind(now) {
		if n.resendsKey && n.out.next == 1 {
			// An acknowledgement alone would be lost on a server that waits for
			// the wrapped key: an empty packet carries both.
			n.out.add(opControlKey, nil)
			return s.packetOf(n, now)
		}
		op, b.acks = opAck, n.acks.take(maxAcks)
	} else {
		return nil
	}
	b.acked = s.remote
	packet := s.wrapperOf(n.keyID).wrap(nil, op<<3|n.keyID, s.id, b.append(nil, op), now)
	if op == opHardClientV3 || op == opControlKey {
		packet = append(packet, s.channel.config.Wrapping.ClientV2.Wrapped...)
	}
	return packet
}

// wake is when there will be something to do, at the earliest; zero: not by itself.
func (s *session) wake(now time.Time) time.Time {
	n := s.primary
	at := earlier(earlier(n.out.wake(), s.pull.again), n.reminder())
	switch c := s.channel.config; {
	case n.stage < active || n.stage == failed:
		at = earlier(at, n.mustEnd)
	case n.stage == active:
	case !n.diesAt.IsZero():
		at = earlier(at, n.diesAt)
	case c.RenegTime > 0:
		at = earlier(at, n.activeAt.Add(c.RenegTime))
	}
	if s.lame != nil {
		at = earlier(earlier(earlier(at, s.lame.diesAt), s.lame.out.wake()), s.lame.reminder())
		if now.Before(n.sendFrom) {
			at = earlier(at, n.sendFrom)
		}
	}
	return at
}

// earlier is the first of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// keys are those of the session: the one to seal with, and those to open with.
//
// Beside the key before it a new one is sealed with once the peer surely has it: when
// it has used it, or when its negotiation would have failed by now.
func (s *session) keys(now time.Time) (sending *datachannel.Key, opening []*datachannel.Key) {
	n := s.primary
	if n.key != nil {
		opening = append(opening, n.key)
		if !n.activeAt.IsZero() {
			sending = n.key
		}
	}
	if s.lame != nil {
		opening = append(opening, s.lame.key)
		if sending == nil || now.Before(n.sendFrom) && !n.key.Heard.Load() {
			sending = s.lame.key
		}
	}
	if s.older != nil {
		opening = append(opening, s.older)
	}
	return sending, opening
}
