package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/openvpn/controlchannel"
	"tmelink/internal/transport"
)

// keep makes one circuit after the other until the link is closed or there is
// no hope left.
func (l *Link) keep(o *opening) {
	defer l.stopListening()
	for connected := false; ; {
		l.setState(l.waiting(o.way), nil, 0)
		o.level = l.failures.level(slog.LevelInfo)
		c, err := o.connect(l.ctx)
		if err != nil && l.ctx.Err() == nil {
			l.failures.note(err, time.Now())
			l.log.Log(l.ctx, l.failures.level(slog.LevelWarn), "no connection", "err", err)
		}
		for err == nil { // a better way may follow at once
			connected = true
			l.failures.known = false
			if c, err = l.serve(c); err == nil {
				l.tour.goTo(c.way, c.conn.Peer())
			}
		}
		if l.ctx.Err() != nil {
			return
		}
		var bind *transport.BindError
		if !connected && errors.As(err, &bind) {
			l.port.shut(err)
			return
		}
		if l.hopeless(err) {
			l.giveUp(err)
			return
		}
		if o = l.reopen(l.ctx); o == nil {
			return
		}
	}
}

// hopeless says whether an error ends the link: trying again would not mend it, or is
// not wanted.
func (l *Link) hopeless(err error) bool {
	s := &l.config.security
	var final *controlchannel.FinalError
	var negotiation *controlchannel.NegotiationError
	return errors.As(err, &final) && !s.retryAuth || s.tlsExit && errors.As(err, &negotiation) || asked(err)
}

// giveUp ends the link for good.
func (l *Link) giveUp(err error) {
	l.port.guide(nil, l.log)
	if asked(err) {
		l.log.Info("link has ended", "err", err)
		l.setState("ended", nil, 0)
		l.port.shut(fmt.Errorf("%w: %w", element.ErrEnded, err))
		return
	}
	l.log.Error("link has given up", "err", err)
	l.setState("given up", nil, 0)
	l.port.shut(err)
}

// asked says whether an error is an end that a link's words, or its server, ask for.
func asked(err error) bool {
	var timeout *openvpn.TimeoutError
	return errors.As(err, &timeout) && timeout.Final
}

func (l *Link) waiting(w way) string {
	if w.tcp() {
		return "waiting for the connection"
	}
	return "starting"
}

// serve lets frames flow over a socket until it is lost, its peer is silent for
// too long, or the link is closed, whose error it gives; or until there is a better way,
// whose circuit it gives.
func (l *Link) serve(c *circuit) (better *circuit, err error) {
	l.notice(c)
	if c.end == nil {
		l.beginTalk(c)
	}
	before := l.port.publish(c)
	if before != nil {
		l.depart(before)
	}
	// Now and not when there are keys: these are agreed on by what the machine's
	// connection reads.
	l.began()
	better, err = l.watch(c)
	if better != nil {
		l.noteArrival(c)
		return better, nil
	}
	l.port.publish(nil)
	c.leave.Store(asked(err))
	l.finish(c)
	if l.ctx.Err() == nil {
		l.tellLost(c, err)
		l.setState(l.waiting(c.way), nil, 1)
	}
	l.noteArrival(c)
	return nil, err
}

// notice takes down that a circuit is the link's now.
func (l *Link) notice(c *circuit) {
	doing := "open"
	if c.way.tcp() {
		l.log.Info("connected", "peer", c.peerName())
		doing = "connected"
	}
	if before := l.went; before != nil && *before != c.way {
		l.log.Info("the link goes another way", "way", c.way, "before", *before)
		l.mu.Lock()
		l.state.changes++
		l.mu.Unlock()
	}
	l.went = &c.way
	l.setState(doing, c, 0)
}

// noteArrival notes that the peer was there, if it was. A connection alone is not yet
// the peer's: whoever answers at its port may hang up at once. Like OpenVPN, count the
// first packet; with keys, that it has them.
func (l *Link) noteArrival(c *circuit) {
	if c.session.Spoken() && (!l.config.security.keyed() || c.agreed.Load()) {
		l.tour.arrived(c.conn.Peer())
		l.failures = failures{}
	}
}

// beginTalk starts the talker of a circuit.
func (l *Link) beginTalk(c *circuit) {
	var ctx context.Context
	ctx, c.end = context.WithCancel(l.ctx)
	c.over = ctx.Done()
	c.talker.Go(func() { l.talk(ctx, c) })
}

// finish ends a circuit's talker, its socket and its session.
func (l *Link) finish(c *circuit) {
	c.end()
	if c.session.Goodbyes() > 0 {
		c.talker.Wait() // it says goodbye, if it is time
	}
	c.conn.Close() // wakes the reader, the writer and the talker
	c.talker.Wait()
	c.session.Close()
}

// departTime bounds how long a circuit that is left may take to bring what is on its
// way.
const departTime = time.Second

// depart finishes a circuit that works, when another one has taken its place.
func (l *Link) depart(c *circuit) {
	c.leave.Store(true)
	c.conn.Interrupt() // its reader goes over to the other
	l.running.Go(func() {
		if conn, ok := c.conn.(*transport.TCP); ok {
			l.drain(c, conn)
		}
		l.finish(c)
	})
}

// drain has a connection's peer read to the end what was written. What comes meanwhile
// is dropped: to close a connection with something unread breaks it both ways.
func (l *Link) drain(c *circuit, conn *transport.TCP) {
	ctx, cancel := context.WithTimeout(l.ctx, departTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.CloseWrite()
	select {
	case <-c.left:
	case <-ctx.Done():
		return
	}
	for {
		packets, err := conn.ReadPackets()
		switch {
		case err == nil:
			l.dropFrames(c, packets)
		case !errors.Is(err, transport.ErrInterrupted):
			return
		}
	}
}

// tellLost logs the end of a circuit, unless the negotiation that failed has its line
// already, or the link's end is going to have one.
func (l *Link) tellLost(c *circuit, err error) {
	var negotiation *controlchannel.NegotiationError
	if !errors.As(err, &negotiation) && !l.hopeless(err) {
		l.log.Warn("link is lost", "peer", c.peerName(), "err", err)
	}
}

// began lets a machine proceed that waits for the link. It does not wait for keys:
// only a machine that is up reads the packets by which these are agreed on.
func (l *Link) began() {
	select {
	case <-l.first:
	default:
		close(l.first)
	}
}

// pullPoll is how often a client looks whether its server is still heard.
const pullPoll = time.Second

// watch returns when the circuit is of no more use, and why, or when there is a better
// one.
func (l *Link) watch(c *circuit) (better *circuit, err error) {
	found, stop := l.scout(c)
	defer stop()
	look, stopLooking := l.lookAtInterface()
	defer stopLooking()
	known := false // a peer that has just come may not be noted as heard yet
	for begun := time.Now(); ; {
		again, err := c.session.Over(known, time.Now())
		if err != nil {
			return nil, err
		}
		known = c.conn.Peer().IsValid()
		if l.config.security.pull && (again == 0 || again > pullPoll) {
			again = pullPoll // the server may say another time
		}
		if limit, complaint := l.patience(c); limit > 0 {
			left := limit - time.Since(begun)
			if left <= 0 {
				return nil, fmt.Errorf(complaint, c.conn.Peer(), limit)
			}
			if again == 0 || left < again {
				again = left
			}
		}
		var tick <-chan time.Time
		if again > 0 {
			tick = time.After(again)
		}
		select {
		case <-l.ctx.Done():
			return nil, l.ctx.Err()
		case err := <-c.lost:
			return nil, err
		case better := <-found:
			return better, nil
		case <-look:
			if err := l.moved(c.conn.Local().Addr()); err != nil {
				return nil, err
			}
		case <-tick:
		}
	}
}

// patience is how long a circuit may take until it is known to lead to the peer, and
// what to say then of the peer and the time; 0: for ever, or it is known. A connection
// keeps others out meanwhile; over UDP a server waits for whoever comes, and a client
// too if it has no other way.
func (l *Link) patience(c *circuit) (time.Duration, string) {
	s := &l.config.security
	switch {
	case l.proved(c):
	case c.way.tcp() && s.tls():
		return s.hand, "%v has connected and not agreed on keys within %v (--hand-window)"
	case c.way.udp() && len(l.config.ways) > 1 && (s.client || !s.tls() && c.session.Limited()):
		return c.way.timeout, "%v has not answered within %v (--connect-timeout)"
	}
	return 0, ""
}

// proved says whether a circuit is known to lead to the peer: by keys that were agreed
// on, by a connection, or by what was heard.
func (l *Link) proved(c *circuit) bool {
	if l.config.security.tls() {
		return c.agreed.Load()
	}
	return c.way.tcp() || c.session.Spoken()
}

// talk sends what the session has to say beside the frames. A peer that does
// not read holds up the talker, not the watch over it.
func (l *Link) talk(ctx context.Context, c *circuit) {
	for {
		again := l.negotiate(c)
		if err := c.session.Err(); err != nil {
			c.fail(err)
			return
		}
		if wait := l.sayMessage(c); wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
		var tick <-chan time.Time
		if again > 0 {
			tick = time.After(again)
		}
		select {
		case <-ctx.Done():
			if c.leave.Load() || l.ctx.Err() != nil {
				l.sayGoodbye(c)
			}
			return
		case <-c.asked:
		case <-tick:
		}
	}
}

// negotiate sends what agreeing on keys asks for, and says after how long a time to
// do so again; 0: when the session is asked.
func (l *Link) negotiate(c *circuit) time.Duration {
	for {
		p, ok, moved, again := c.session.Control(c.conn.Peer(), time.Now())
		if moved.IsValid() {
			c.conn.SetPeer(moved)
		}
		if !c.agreed.Load() && c.session.Ready() {
			c.agreed.Store(true)
		}
		if !ok {
			return l.runRace(c, again)
		}
		if err := l.port.sendBeside(c, p.Data, p.To); transport.IsTooLong(err) && !c.toldTooLong {
			c.toldTooLong = true
			l.log.Warn("a packet of the negotiation is longer than the path takes, and --mtu-disc yes keeps it from going in fragments: give a smaller --max-packet-size",
				"packet", len(p.Data)+c.conn.Overhead(), "mtu", c.conn.PathMTU())
		}
		c.race.note(p.Data)
	}
}

// sayMessage sends a ping, or what else there is to say, if it is time, and says after how long a time
// to ask again; 0: when the session is asked.
func (l *Link) sayMessage(c *circuit) time.Duration {
	c.sending.Lock()
	defer c.sending.Unlock()
	for {
		packet, again := c.session.Message(time.Now())
		if packet == nil {
			return again
		}
		l.port.sendBeside(c, packet, netip.AddrPort{})
	}
}

// goodbyeEvery is the time between two goodbyes that a peer does not acknowledge,
// and goodbyePoll how often it is looked whether one has that does.
const (
	goodbyeEvery = time.Second
	goodbyePoll  = 20 * time.Millisecond
)

// sayGoodbye tells the peer that this end ends, if that is wanted, as often as is
// wanted, or until it has heard it.
func (l *Link) sayGoodbye(c *circuit) {
	if !c.session.Ready() || !c.conn.Peer().IsValid() {
		return
	}
	for left := c.session.Goodbyes(); left > 0; left-- {
		c.sending.Lock()
		packet := c.session.Goodbye(time.Now())
		if packet != nil {
			l.port.sendBeside(c, packet, netip.AddrPort{})
		}
		c.sending.Unlock()
		if packet != nil {
			if left > 1 {
				time.Sleep(goodbyeEvery)
			}
			continue
		}
		for end := time.Now().Add(time.Duration(left) * goodbyeEvery); time.Now().Before(end); {
			l.negotiate(c)
			if c.session.Said() {
				return
			}
			select {
			case <-c.asked:
			case <-time.After(goodbyePoll):
			}
		}
		return
	}
}

// reopen opens the next socket, after a pause, as often as it takes. It gives
// nil when the link is closed, or when --connect-retry-max is reached.
func (l *Link) reopen(ctx context.Context) *opening {
	pause := l.pause()
	l.listenAgain(ctx)
	for said := ""; ; pause = openEvery {
		if l.tour.exhausted(l.config.retryMax) {
			err := fmt.Errorf("no connection after %d attempts at each remote (--connect-retry-max)", l.config.retryMax)
			l.giveUp(err)
			return nil
		}
		if said == "" {
			l.log.Log(ctx, l.failures.level(slog.LevelInfo), "next attempt", "pause", pause)
		}
		if !sleep(ctx, pause) {
			return nil
		}
		o, err := l.open(ctx, &l.tour)
		if err == nil {
			return o
		}
		if ctx.Err() != nil {
			return nil
		}
		if text := err.Error(); text != said {
			l.log.Warn("link cannot be opened", "err", err, "again", openEvery)
			said = text
		}
	}
}

// serverPause is OpenVPN's before a tcp-server takes another connection
// (socket_restart_pause in its init.c).
const serverPause = time.Second

// pause is how long to wait before the next attempt after a lost circuit. Only a
// tcp-client, or who goes through a proxy, waits longer each time: a UDP link or a tcp-server would be deaf
// meanwhile.
func (l *Link) pause() time.Duration {
	c, w := l.config, l.tour.way()
	switch {
	case w.proto.mode == openvpn.TCPClient || w.proxy != nil:
		return l.tour.pause(c.retry, c.retryLimit)
	case w.proto.mode == openvpn.TCPServer:
		return serverPause
	}
	return c.retry
}
