package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport/unixsock"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/qemu/stream",
		Summary: "a cable to an emulator on this host: QEMU's -netdev stream over a Unix socket",
		Doc: `Each frame goes over a stream with its length before it, 32 bits, big-endian. QEMU from 7.2 on, passt, socket_vmnet and gvproxy (as qemu) speak so. Either end makes the socket:

    q0 at sw0: tme/host/qemu/stream listen /run/q0.sock
    qemu-system-x86_64 … -netdev stream,id=n0,server=off,addr.type=unix,addr.path=/run/q0.sock -device e1000,netdev=n0

    q1 at sw0: tme/host/qemu/stream connect /run/q1.sock
    qemu-system-x86_64 … -netdev stream,id=n1,server=on,addr.type=unix,addr.path=/run/q1.sock -device e1000,netdev=n1

With listen the element makes the socket, and takes one emulator at a time; a second one is turned away until the first has gone. A socket that a killed process has left at the path is replaced; one that is alive is an error. With connect the element looks for the emulator's socket every second until it is there. Either way the emulator may come later than tmelink, go, and come again; QEMU 8 and later connects again by itself with reconnect=1 (from 9.2 on reconnect-ms=1000). Frames for one that is away are dropped.

A length that no frame has, or a connection that ends inside a frame, ends that connection with an error in the log; the next one is waited for. Frames are sent as they are, also those below 60 bytes, which QEMU's network cards fill up.`,
		Example: `sw0: tme/generic/switch
q0 at sw0: tme/host/qemu/stream listen /tmp/q0.sock
q1 at sw0: tme/host/qemu/stream connect /tmp/q1.sock mtu 9000`,
		MaxConnections: 1,
		Options:        (&streamConfig{}).options(element.Env{}),
		New:            newStream,
	})
}

// streamConfig is what the arguments say.
type streamConfig struct {
	listen, connect path // one of them
	mode            mode
	mtu             int
}

func (c *streamConfig) options(env element.Env) []element.Option {
	return []element.Option{
		pathOption(env, "listen", "PATH", "Make the socket at this path, for the emulator to connect to.", &c.listen),
		pathOption(env, "connect", "PATH", "Connect to the socket that the emulator makes at this path.", &c.connect),
		modeOption(&c.mode),
		mtuOption(&c.mtu),
	}
}

// Stream is an element of type tme/host/qemu/stream.
type Stream struct {
	base
	config   streamConfig
	listener *unixsock.Listener // nil: none, or not started
	retry    time.Duration      // between two attempts to connect
}

// retryEvery is the pause before the next attempt to reach a socket. Where they
// succeed and the connection does not last, it becomes longer, up to retryAtMost.
const (
	retryEvery  = time.Second
	retryAtMost = 30 * time.Second
)

func newStream(env element.Env, args element.Args) (element.Element, error) {
	c := streamConfig{mode: mode{perm: 0o600}, mtu: ethernet.MTU}
	fault := args.Parse(c.options(env))
	switch listens, connects := c.listen.text != "", c.connect.text != ""; {
	case listens && connects:
		second := c.listen.given.Pos
		if c.connect.given.Pos.Column > second.Column {
			second = c.connect.given.Pos
		}
		fault = errors.Join(fault, tmesh.Faultf(second, "listen and connect contradict each other; leave one of them out"))
	case !listens && !connects && fault == nil:
		fault = tmesh.Faultf(args.Pos, "the socket is missing: say listen PATH if the emulator connects to it (QEMU's server=off), connect PATH if the emulator makes it (server=on)")
	case connects && c.mode.given.Line > 0:
		fault = errors.Join(fault, tmesh.Faultf(c.mode.given, "mode is for listen; the permissions of the emulator's socket are the emulator's to give"))
	}
	if fault != nil {
		return nil, fault
	}
	s := &Stream{config: c, retry: retryEvery}
	s.init(env, ethernet.FrameLen(c.mtu), "emulator")
	return s, nil
}

func (s *Stream) socketConfig() unixsock.Config {
	return unixsock.Config{MaxFrame: s.port.maxFrame, Counters: &s.port.counters}
}

// Start makes the socket, or begins to look for the emulator's.
func (s *Stream) Start(context.Context) error {
	if s.config.listen.text == "" {
		s.running.Go(s.keepConnecting)
		return nil
	}
	l, err := unixsock.Listen(s.config.listen.text, s.config.mode.perm, s.socketConfig())
	if err != nil {
		return err
	}
	s.listener = l
	s.log.Info(s.where())
	s.running.Go(s.keepAccepting)
	return nil
}

// Close ends the element and removes its socket.
func (s *Stream) Close() error {
	var err error
	if s.listener != nil {
		err = s.listener.Close()
	}
	return errors.Join(err, s.end())
}

// keepAccepting takes one emulator after the other.
func (s *Stream) keepAccepting() {
	told := false // that somebody was turned away while this emulator is here
	for said := ""; ; {
		conn, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no descriptor is free, or the like
			if text := err.Error(); text != said {
				s.log.Warn("cannot take an emulator", "err", err, "again", s.retry)
				said = text
			}
			if !sleep(s.ctx, s.retry) {
				return
			}
			continue
		}
		said = ""
		if now := s.port.line.Load(); now != nil && !s.makeRoom(now) {
			if !told {
				s.log.Warn("turned a second emulator away; the first is still connected", "peer", conn.Peer())
			}
			told = true
			conn.Close()
			continue
		}
		told = false
		if s.publish(conn) != nil {
			return
		}
	}
}

// drain is how long a connection whose other end is closed may still be read.
const drain = 2 * time.Second

// makeRoom says whether there is no emulator any more. One that has closed its
// end while the port's reader is busy is given time to be read to its end.
func (s *Stream) makeRoom(now *line) bool {
	if !now.socket.(*unixsock.Stream).Vanished() {
		return false
	}
	timer := time.NewTimer(drain)
	defer timer.Stop()
	select {
	case <-now.over:
	case <-s.ctx.Done():
	case <-timer.C:
		s.port.lose(now, unixsock.ErrGone)
	}
	return true
}

func (s *Stream) publish(conn *unixsock.Stream) error {
	l := newLine(conn, conn.Peer())
	log := s.log
	if l.peer != "" {
		log = log.With("peer", l.peer)
	}
	log.Info("emulator connected")
	return s.port.publish(l)
}

// keepConnecting looks for the emulator's socket whenever there is no connection.
func (s *Stream) keepConnecting() {
	pause := s.retry
	for said := ""; ; {
		conn, err := unixsock.Dial(s.ctx, s.config.connect.text, s.socketConfig())
		if s.ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return
		}
		if err != nil {
			pause = s.retry
			if why := kind(err); why != said {
				s.log.Info("the emulator's socket is not there yet", "err", err, "again", pause)
				said = why
			}
		} else {
			said = ""
			if s.publish(conn) != nil {
				return
			}
			pause = s.outlast(pause)
		}
		if !sleep(s.ctx, pause) {
			return
		}
	}
}

// kind is what the log has a line for, once: that nobody is there, in whatever
// way, or another error.
func kind(err error) string {
	if unixsock.Absent(err) {
		return "absent"
	}
	return err.Error()
}

// outlast waits for the end of the connection, and gives the pause before the
// next one.
func (s *Stream) outlast(pause time.Duration) time.Duration {
	l := s.port.line.Load()
	if l == nil { // lost already
		return min(2*pause, retryAtMost)
	}
	select {
	case <-l.over:
	case <-s.ctx.Done():
	}
	if time.Since(l.from) > pause {
		return s.retry
	}
	return min(2*pause, retryAtMost)
}

// where says which socket the element is at: "listening on /tmp/x".
func (s *Stream) where() string {
	if c := s.config; c.listen.text != "" {
		return "listening on " + c.listen.text
	}
	return "connecting to " + s.config.connect.text
}

// Status says whether an emulator is there.
func (s *Stream) Status() string {
	l := s.port.line.Load()
	switch {
	case s.ctx.Err() != nil:
		return "closed"
	case l == nil:
		return s.where() + ", no emulator"
	}
	return fmt.Sprintf("%s, emulator %sconnected for %v", s.where(), space(l.peer), time.Since(l.from).Round(time.Second))
}

func space(word string) string {
	if word == "" {
		return ""
	}
	return word + " "
}

// Sketch shows the socket.
func (s *Stream) Sketch() element.Sketch {
	if path := s.config.listen.text; path != "" {
		return element.Sketch{Kind: element.LinkKind, Local: "unix " + path, Detail: []string{"listen " + path}}
	}
	path := s.config.connect.text
	return element.Sketch{Kind: element.LinkKind, Remote: "unix " + path, Detail: []string{"connect " + path}}
}

var _ element.Reporter = (*Stream)(nil)
