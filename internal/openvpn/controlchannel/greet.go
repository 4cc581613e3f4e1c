package controlchannel

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// stale is how long a session may be on its way without hearing the peer before
// another one may take its place.
const stale = 5 * time.Second

// answered takes up a server's first packet of a session: it answers ours, or the
// server has begun anew. A packet that is not of this link's server begins nothing.
func (c *Channel) answered(packet []byte, remote sessionID, from netip.AddrPort, now time.Time) (heard bool, err error) {
	if c.config.Single && c.current != nil {
		return false, errSingle
	}
	b, err := c.config.Wrapping.newWrapper(false, 1).unwrap(packet, now)
	if err != nil {
		return false, err
	}
	p, err := parseBody(opHardServer, b)
	if err != nil {
		return false, err
	}
	s := c.next
	switch {
	case s != nil && s.remote == (sessionID{}): // it waits for this
	case s != nil && s.primary.stage == greeting && p.acked == s.id: // see beginAnew
	case len(p.acks) > 0: // it answers a session that has ended
		return false, nil
	case s != nil && now.Sub(s.heard) < stale:
		return false, nil
	default:
		if s != nil {
			s.close()
		}
		if err := c.start(now); err != nil {
			return false, err
		}
		s = c.next
	}
	if err := s.receive(opHardServer, 0, packet, now); err != nil {
		return false, err
	}
	s.remote, s.addr = remote, from
	s.primary.out.hurry(now)
	return true, nil
}

var errSingle = errors.New("the peer begins a second session, which --single-session forbids")

// greet takes up a packet of a client that has no session here. Nothing is kept for
// it until it has shown that it hears us where it claims to be: our session id in the
// answer to its first packet is a hash of that packet's sender, which its next packet
// has to name (session_id_hmac in ssl_pkt.c). So floods cost no memory, and one packet
// is answered by one.
func (c *Channel) greet(op byte, packet []byte, remote sessionID, from netip.AddrPort, now time.Time) error {
	wrapping := c.config.Wrapping
	early := true
	if wrapping.ServerV2 == nil && op == opHardClientV3 {
		return errors.New("it has a tls-crypt-v2 key, and this end no server key for that; give one with --tls-crypt-v2, or take it from the peer")
	}
	if wrapping.ServerV2 != nil {
		if op != opHardClientV3 && op != opControlKey {
			return errors.New("it has no tls-crypt-v2 key, which this end demands; give the peer one (tmelink key tls-crypt-v2-client) with --tls-crypt-v2")
		}
		rest, wrapped, ok := splitKey(packet)
		if !ok {
			return errUnwrap
		}
		key, _, err := wrapping.ServerV2.Unwrap(wrapped)
		if err != nil {
			return err
		}
		wrapping = Wrapping{Crypt: key}
		early = len(rest) >= headerLen+4 && binary.BigEndian.Uint32(rest[headerLen:])&earlyNegotiationMask == earlyNegotiation
		packet = rest
	}
	body, err := wrapping.newWrapper(true, 1).unwrap(packet, now)
	if err != nil {
		return err
	}
	p, err := parseBody(op, body)
	if err != nil {
		return err
	}
	if c.config.Single && c.current != nil {
		return errSingle
	}
	c.anew = time.Time{} // it has begun by itself, and would be led astray
	switch {
	case op == opHardClientV3 && !early:
		return c.admit(op, packet, wrapping, c.cookie(from, remote, now, 0), remote, from, now)
	case isHardReset(op):
		c.replyTo(op, p, wrapping, remote, from, now)
		return nil
	case len(p.acks) > 0 && c.isCookie(p.acked, from, remote, now):
		return c.admit(op, packet, wrapping, p.acked, remote, from, now)
	}
	return nil // of a session that has ended
}

// A server that knows where its client is tells it, when it has begun, that a session
// from before is of no use any more, unless the client is heard first: after
// firstAnew, and then twice as long each time.
const (
	firstAnew = time.Second
	mostAnew  = 3 // times
)

// beginAnew has the client begin a session, by a first packet that answers none. What
// the client answers to it is answered as any client's first packet is, with another
// session id, so that nothing need be kept.
func (c *Channel) beginAnew(now time.Time) {
	c.anew = time.Time{}
	if c.current != nil || c.next != nil || c.config.Wrapping.ServerV2 != nil {
		return
	}
	id, err := c.newID()
	if err != nil {
		return // it is not needed, only quicker
	}
	if c.timesAnew++; c.timesAnew < mostAnew {
		c.anew = now.Add(firstAnew << c.timesAnew)
	}
	// A packet of a second ago is no obstacle to the answer that follows it at once.
	wrap := c.config.Wrapping.newWrapper(true, 1)
	c.replies = append(c.replies, Packet{Data: wrap.wrap(nil, opHardServer<<3, id, body{}.append(nil, opHardServer), now.Add(-time.Second))})
}

// replyTo answers a client's first packet.
func (c *Channel) replyTo(op byte, p body, wrapping Wrapping, remote sessionID, from netip.AddrPort, now time.Time) {
	if len(c.replies) > 8 || c.freely.Due(now) == 0 {
		return
	}
	answer := body{acks: []uint32{p.id}, acked: remote}
	if op == opHardClientV3 {
		answer.payload = []byte{0, 1, 0, 2, 0, 1} // see readFlags
	}
	data := wrapping.newWrapper(true, 1).wrap(nil, opHardServer<<3, c.cookie(from, remote, now, 0), answer.append(nil, opHardServer), now)
	c.replies = append(c.replies, Packet{data, from})
}

// admit begins a session with a client.
func (c *Channel) admit(op byte, packet []byte, wrapping Wrapping, id, remote sessionID, from netip.AddrPort, now time.Time) error {
	if c.next != nil {
		if c.next.primary.stage != failed && now.Sub(c.next.heard) < stale {
			return nil // one at a time; the client repeats its packets
		}
		c.next.close()
	}
	first := byte(0)
	switch op { // behind which a key was is off already
	case opHardClientV3:
		first, op = opHardServer, opHardClient
	case opControlKey:
		op = opControl
	}
	c.next = c.newSession(id, first, wrapping, now)
	c.next.remote, c.next.addr = remote, from
	return c.next.receive(op, 0, packet, now)
}

// cookieTime is for how long a client may take to answer, at the least.
const cookieTime = 30 * time.Second

// cookie is our session id for a client; ago counts back periods of time.
func (c *Channel) cookie(from netip.AddrPort, remote sessionID, now time.Time, ago int64) (id sessionID) {
	mac := hmac.New(sha256.New, c.secret[:])
	addr := from.Addr().As16()
	b := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()/int64(cookieTime/time.Second)-ago))
	b = binary.BigEndian.AppendUint16(append(b, addr[:]...), from.Port())
	mac.Write(append(b, remote[:]...))
	copy(id[:], mac.Sum(nil))
	id[0] |= 1 // zero is none
	return id
}

func (c *Channel) isCookie(id sessionID, from netip.AddrPort, remote sessionID, now time.Time) bool {
	for ago := int64(-1); ago < 3; ago++ { // a clock may be put back a little
		if want := c.cookie(from, remote, now, ago); hmac.Equal(id[:], want[:]) {
			return true
		}
	}
	return false
}
