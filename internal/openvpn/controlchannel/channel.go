package controlchannel

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"tmelink/internal/occasion"
	"tmelink/internal/openvpn/datachannel"
)

// Channel is the control channel of one link. Its methods are called by one
// goroutine at a time.
type Channel struct {
	config *Config
	slots  *datachannel.Slots
	now    time.Time

	current *session // whose keys are in use
	next    *session // whose first negotiation goes on
	err     error

	secret  [sha256.Size]byte
	replies []Packet
	freely  occasion.Occasion // how many hard resets are answered
	odd     occasion.Occasion // of log lines on packets
	failing occasion.Occasion // and on sessions
	moved   netip.AddrPort
}

// Packet is a packet for the peer.
type Packet struct {
	Data []byte
	To   netip.AddrPort // not valid: whom the link's socket has for its peer
}

// FinalError is the end of a channel that trying again would not mend.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return e.Err.Error() }
func (e *FinalError) Unwrap() error { return e.Err }

// NegotiationError is that of ends that cannot agree on keys.
type NegotiationError struct{ Err error }

func (e *NegotiationError) Error() string { return "no keys: " + e.Err.Error() }
func (e *NegotiationError) Unwrap() error { return e.Err }

// New begins the channel. What it agrees on goes into the slots.
func New(c Config, slots *datachannel.Slots, now time.Time) (*Channel, error) {
	ch := &Channel{
		config: &c, slots: slots, now: now,
		// As many as OpenVPN's --connect-freq-initial lets by, and as many lines.
		freely:  occasion.New(100, 10*time.Second),
		odd:     occasion.New(3, time.Minute),
		failing: occasion.New(6, time.Minute),
	}
	if _, err := io.ReadFull(c.Random, ch.secret[:]); err != nil {
		return nil, err
	}
	if !c.Server {
		if err := ch.start(now); err != nil {
			return nil, err
		}
	}
	return ch, nil
}

// start begins a session as the client.
func (c *Channel) start(now time.Time) error {
	op := byte(opHardClient)
	if c.config.Wrapping.ClientV2 != nil {
		op = opHardClientV3
	}
	id, err := c.newID()
	if err == nil {
		c.next = c.newSession(id, op, c.config.Wrapping, now)
	}
	return err
}

func (c *Channel) newID() (id sessionID, err error) {
	_, err = io.ReadFull(c.config.Random, id[:])
	id[0] |= 1 // zero is none
	return id, err
}

// Err is why the channel is of no more use, nil while it is.
func (c *Channel) Err() error { return c.err }

// Close ends the channel.
func (c *Channel) Close() {
	for _, s := range []*session{c.current, c.next} {
		if s != nil {
			s.close()
		}
	}
	c.current, c.next = nil, nil
	c.slots.Set(nil)
}

// Moved says that the peer has another address now.
func (c *Channel) Moved(to netip.AddrPort) {
	if c.current != nil {
		c.current.addr = to
	}
}

// Peer gives the address of a peer that has just proved to be the right one, once;
// not valid: it is the one of the link's socket.
func (c *Channel) Peer() netip.AddrPort {
	p := c.moved
	c.moved = netip.AddrPort{}
	return p
}

// Input takes up a packet of the control channel, and says whether it belongs to a
// session with the peer.
func (c *Channel) Input(packet []byte, from netip.AddrPort, now time.Time) bool {
	c.now = now
	heard, err := c.input(packet, from, now)
	if err != nil {
		c.tellOdd("ignored a packet", "from", from, "err", err)
	}
	return heard
}

// tellOdd logs what others may make happen as often as they like.
func (c *Channel) tellOdd(text string, args ...any) {
	if n := c.odd.Due(c.now); n > 0 {
		c.config.Log.Warn(text, append(args, "times", n)...)
	}
}

func (c *Channel) input(packet []byte, from netip.AddrPort, now time.Time) (heard bool, err error) {
	op, keyID, remote, ok := header(packet)
	if !ok {
		return false, errBody
	}
	if isHardReset(op) && (op == opHardServer) == c.config.Server {
		role, other := "tls-client", "tls-server"
		if c.config.Server {
			role, other = other, role
		}
		return false, fmt.Errorf("the peer is a %s like this end; make one of them the --%s", role, other)
	}
	for _, s := range []*session{c.current, c.next} {
		if s != nil && s.remote == remote {
			if s.addr.IsValid() && s.addr != from {
				return false, fmt.Errorf("it belongs to the session with %v", s.addr)
			}
			err := s.receive(op, keyID, packet, now)
			return err == nil, err
		}
	}
	switch {
	case keyID != 0:
		return false, errors.New("it belongs to no session that is known here; the peer will begin a new one when it notices")
	case c.config.Server:
		err := c.greet(op, packet, remote, from, now)
		return err == nil && c.next != nil && c.next.remote == remote, err
	case op == opHardServer:
		return c.answered(packet, remote, from, now)
	}
	return false, nil // of a session that has ended
}

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
		if now.Sub(c.next.heard) < stale {
			return errors.New("another session is just being negotiated")
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

// Output gives the next packet to send, if there is one, and otherwise when to ask
// again at the latest; zero: when there has been Input.
func (c *Channel) Output(now time.Time) (p Packet, ok bool, again time.Time) {
	c.now = now
	if len(c.replies) > 0 {
		p, c.replies = c.replies[0], c.replies[1:]
		return p, true, now
	}
	for _, s := range []*session{c.current, c.next} {
		if s == nil || c.err != nil {
			continue
		}
		s.proceed(now)
		c.settle(s, now)
		c.useKeys(now)
		if s != c.current && s != c.next {
			continue // it has ended
		}
		if data := s.packet(now); data != nil {
			return Packet{data, s.addr}, true, now
		}
	}
	for _, s := range []*session{c.current, c.next} {
		if s != nil && c.err == nil {
			again = earlier(again, s.wake(now))
		}
	}
	return p, false, again
}

// settle does what follows from how far a session has come.
func (c *Channel) settle(s *session, now time.Time) {
	n := s.primary
	if n.stage == failed {
		c.lost(s, now)
		return
	}
	if n.key == nil && n.mayHaveKey() {
		if err := s.makeKey(); err != nil {
			n.fail(err, now)
			return
		}
	}
	if n.stage == active && s == c.next {
		c.promote(s)
	}
	if n.stage == active && n.key != nil {
		n.stage = keyed
		c.tell(n)
	}
}

// promote makes a session the one in use.
func (c *Channel) promote(s *session) {
	if c.current != nil {
		c.current.close()
	}
	c.current, c.next = s, nil
	c.moved = s.addr
}

// tell logs what was agreed on.
func (c *Channel) tell(n *negotiation) {
	level, text := slog.LevelInfo, "keys agreed on"
	if n.keyID > 0 {
		level, text = slog.LevelDebug, "keys renewed"
	}
	c.config.Log.Log(context.Background(), level, text, "peer", n.session.addr, "cipher", n.session.agreed.suite, "tls", n.version(), "key", n.keyID, "after", c.now.Sub(n.began).Round(time.Millisecond))
}

// useKeys puts the sessions' keys into the slots. Of the next session it is only the
// one to open with: the peer's first frames may be here before we know that the peer
// has all of ours.
func (c *Channel) useKeys(now time.Time) {
	var sending *datachannel.Key
	var opening []*datachannel.Key
	if c.current != nil {
		sending, opening = c.current.keys(now)
	}
	if c.next != nil && c.next.primary.key != nil {
		opening = append(opening, c.next.primary.key)
	}
	c.slots.Set(sending, opening...)
}

// lost takes up that a session's negotiation has failed: at once, so that the log
// has it, and when the peer has been told, for good.
func (c *Channel) lost(s *session, now time.Time) {
	n := s.primary
	if !n.told {
		n.told, n.err = true, explain(n.err)
		if times := c.failing.Due(now); times > 0 {
			c.config.Log.Warn("no keys", "peer", s.addr, "err", n.err, "times", times)
		}
	}
	if n.flush(); !n.out.empty() && s.remote != (sessionID{}) && now.Before(n.mustEnd) {
		return
	}
	switch {
	case s == c.next:
		s.close()
		c.next = nil
		if !c.config.Server && c.current == nil {
			c.err = &NegotiationError{n.err}
		}
	case s.lame != nil && s.lame.key != nil:
		s.revert()
		c.config.Log.Warn("the old key is used on", "until", s.primary.diesAt.Format(time.TimeOnly))
		if !c.config.Server && c.next == nil {
			c.err = c.start(now)
		}
	default:
		c.err = &NegotiationError{n.err}
	}
}

// proceed goes on with a session's negotiation, and replaces its key when it is time.
func (s *session) proceed(now time.Time) {
	c := s.channel
	if s.lame != nil && !now.Before(s.lame.diesAt) {
		s.dropLame()
	}
	n := s.primary
	n.proceed(now)
	if n.stage < active || n.stage == failed {
		return
	}
	for record, ok := n.tls.take(); ok; record, ok = n.tls.take() {
		c.hear(s, record, now)
	}
	s.request(now)
	switch {
	case n.stage != keyed:
	case !n.diesAt.IsZero(): // the negotiation of another has failed
		if !now.Before(n.diesAt) {
			c.err = errors.New("the last key that was agreed on has expired (--tran-window)")
		}
	case n.worn(now):
		s.renegotiate(now)
		s.primary.proceed(now)
	}
}
