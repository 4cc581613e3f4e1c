package controlchannel

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync/atomic"
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
	freely  occasion.Occasion  // how many hard resets are answered
	odd     occasion.Occasion  // of log lines on packets
	failing *occasion.Occasion // and on negotiations
	moved   netip.AddrPort

	known [2]atomic.Uint64 // the peer's ids in current and next, 0 for none; see Knows

	anew      time.Time // when the peer is told to begin anew; zero: not any more
	timesAnew int
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
		failing: c.Failing,
	}
	if ch.failing == nil {
		own := occasion.New(6, time.Minute)
		ch.failing = &own
	}
	if _, err := io.ReadFull(c.Random, ch.secret[:]); err != nil {
		return nil, err
	}
	if c.Server {
		if c.KnowsPeer {
			ch.anew = now.Add(firstAnew)
		}
		return ch, nil
	}
	if err := ch.start(now); err != nil {
		return nil, err
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
	c.noteKnown()
}

// Knows says whether a packet of the control channel is said to be of a session with
// the peer. Unlike other methods it may be called by any goroutine at any time.
func (c *Channel) Knows(packet []byte) bool {
	_, _, from, ok := header(packet)
	if !ok {
		return false
	}
	id := binary.BigEndian.Uint64(from[:])
	return id == c.known[0].Load() || id == c.known[1].Load()
}

func (c *Channel) noteKnown() {
	for i, s := range []*session{c.current, c.next} {
		var id uint64
		if s != nil {
			id = binary.BigEndian.Uint64(s.remote[:])
		}
		c.known[i].Store(id)
	}
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
	defer c.noteKnown()
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

// Output gives the next packet to send, if there is one, and otherwise when to ask
// again at the latest; zero: when there has been Input.
func (c *Channel) Output(now time.Time) (p Packet, ok bool, again time.Time) {
	c.now = now
	defer c.noteKnown()
	if !c.anew.IsZero() && !now.Before(c.anew) {
		c.beginAnew(now)
	}
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
	return p, false, earlier(again, c.anew)
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
	if c.next != nil && c.next.primary.key != nil {
		opening = append(opening, c.next.primary.key)
	}
	if c.current != nil {
		var more []*datachannel.Key
		sending, more = c.current.keys(now)
		opening = append(opening, more...)
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
		switch {
		case c.config.Server:
		case c.current == nil:
			c.err = &NegotiationError{n.err}
		case !c.current.primary.diesAt.IsZero(): // its key is the last
			c.err = c.start(now)
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
