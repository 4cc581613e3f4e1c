package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tmelink/internal/openvpn"
	"tmelink/internal/transport"
)

// keep makes one circuit after the other until the link is closed or there is
// no hope left.
func (l *Link) keep(o *opening) {
	for connected := false; ; {
		l.setState(l.waiting(), nil, 0)
		conn, err := o.connect(l.ctx)
		if err == nil {
			connected = true
			err = l.serve(conn)
		} else if l.ctx.Err() == nil {
			l.log.Warn("no connection", "err", err)
		}
		if l.ctx.Err() != nil {
			return
		}
		var bind *transport.BindError
		if !connected && errors.As(err, &bind) {
			l.port.shut(err)
			return
		}
		if o = l.reopen(l.ctx); o == nil {
			return
		}
	}
}

func (l *Link) waiting() string {
	if l.config.proto.tcp() {
		return "waiting for the connection"
	}
	return "starting"
}

// serve lets frames flow over a socket until it is lost, its peer is silent for
// too long, or the link is closed.
func (l *Link) serve(conn transport.Conn) error {
	c := newCircuit(conn, l.session(time.Now()))
	if l.config.proto.tcp() {
		l.log.Info("connected", "peer", conn.Peer())
		l.setState("connected", c, 0)
	} else {
		l.setState("open", c, 0)
	}
	ctx, cancel := context.WithCancel(l.ctx)
	var talker sync.WaitGroup
	talker.Go(func() { talk(ctx, c) })
	l.port.publish(c)
	select {
	case <-l.first:
	default:
		close(l.first)
	}
	err := watch(ctx, c)
	l.port.publish(nil)
	cancel()
	conn.Close() // wakes the reader, the writer and the talker
	talker.Wait()
	if l.ctx.Err() == nil {
		l.log.Warn("link is lost", "peer", conn.Peer(), "err", err)
		l.setState(l.waiting(), nil, 1)
	}
	// A connection alone is not yet the peer's: whoever answers at its port may
	// hang up at once. Like OpenVPN, count the first packet.
	if c.session.Spoken() {
		l.tour.arrived()
	}
	return err
}

// watch returns when the circuit is of no more use, and why.
func watch(ctx context.Context, c *circuit) error {
	for {
		over, again := c.session.Silent(time.Now())
		if over && c.conn.Peer().IsValid() {
			return fmt.Errorf("the peer has been silent for %v (--ping-restart)", c.session.Heard(time.Now()).Round(time.Second))
		} else if over { // nobody there who could be silent
			again = time.Second
		}
		var tick <-chan time.Time
		if again > 0 {
			tick = time.After(again)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-c.lost:
			return err
		case <-tick:
		}
	}
}

// talk sends what the session has to say beside the frames. A peer that does
// not read holds up the talker, not the watch over it.
func talk(ctx context.Context, c *circuit) {
	for {
		packet, again := c.session.Message(time.Now())
		if packet != nil {
			// What cannot be sent is lost like any packet; that the socket is
			// gone is the reader's to notice.
			c.conn.Send(packet)
		}
		var tick <-chan time.Time
		if again > 0 {
			tick = time.After(again)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.asked:
		case <-tick:
		}
	}
}

// reopen opens the next socket, after a pause, as often as it takes. It gives
// nil when the link is closed, or when --connect-retry-max is reached.
func (l *Link) reopen(ctx context.Context) *opening {
	pause := l.pause()
	for said := ""; ; pause = openEvery {
		if l.tour.exhausted(l.config.retryMax) {
			err := fmt.Errorf("no connection after %d attempts at each remote (--connect-retry-max)", l.config.retryMax)
			l.log.Error("link has given up", "err", err)
			l.setState("given up", nil, 0)
			l.port.shut(err)
			return nil
		}
		if said == "" {
			l.log.Info("next attempt", "pause", pause)
		}
		if !sleep(ctx, pause) {
			return nil
		}
		o, err := l.open(ctx)
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

// serverPause is OpenVPN's before a tcp-server listens again
// (socket_restart_pause in its init.c).
const serverPause = time.Second

// pause is how long to wait before the next attempt after a lost circuit. Only a
// tcp-client waits longer each time: a UDP link or a tcp-server would be deaf
// meanwhile.
func (l *Link) pause() time.Duration {
	c := l.config
	switch c.proto.mode {
	case openvpn.TCPClient:
		return l.tour.pause(c.retry, c.retryLimit)
	case openvpn.TCPServer:
		return serverPause
	}
	return c.retry
}
