package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/transport/unixsock"
)

func init() {
	registerStream(element.Type{
		Path:    "tme/host/qemu/stream",
		Aliases: []string{"tme/host/gvproxy/qemu"},
		Summary: "a cable to an emulator: QEMU's -netdev stream over a Unix socket or TCP",
		Doc: `Each frame goes over a stream with its length before it, 32 bits, big-endian. QEMU from 7.2 on, passt, socket_vmnet and gvproxy (as qemu) speak so. Either end makes the socket:

    q0 at sw0: tme/host/qemu/stream listen /run/q0.sock
    qemu-system-x86_64 … -netdev stream,id=n0,server=off,addr.type=unix,addr.path=/run/q0.sock -device e1000,netdev=n0

    q1 at sw0: tme/host/qemu/stream connect /run/q1.sock
    qemu-system-x86_64 … -netdev stream,id=n1,server=on,addr.type=unix,addr.path=/run/q1.sock -device e1000,netdev=n1

    q2 at sw0: tme/host/qemu/stream listen tcp:127.0.0.1:4711
    qemu-system-x86_64 … -netdev stream,id=n2,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=4711 -device e1000,netdev=n2

    q3 at sw0: tme/host/qemu/stream connect /run/gvproxy.sock
    gvproxy -listen-qemu unix:///run/gvproxy.sock

With listen the element makes the socket, and takes one emulator at a time; a second one is turned away until the first has gone. A socket that a killed process has left at the path is replaced; one that is alive is an error, and so is a folder in which everybody could replace the socket. Over TCP nobody is asked who he is and nothing is encrypted: whoever reaches the port is the emulator. With connect the element looks for the emulator's socket every second until it is there. Either way the emulator may come later than tmelink, go, and come again; QEMU 8 and later connects again by itself with reconnect=1 (from 9.2 on reconnect-ms=1000). Frames for one that is away are dropped.

A length that no frame has, or a connection that ends inside a frame, ends that connection with an error in the log; the next one is waited for. Frames are sent as they are, also those below 60 bytes, which QEMU's network cards fill up.`,
		Example: `sw0: tme/generic/switch
q0 at sw0: tme/host/qemu/stream listen /tmp/q0.sock
q1 at sw0: tme/host/qemu/stream connect /tmp/q1.sock mtu 9000
q2 at sw0: tme/host/qemu/stream listen tcp:127.0.0.1:4711`,
	}, streamKind{"unix", "PATH|tcp:HOST:PORT", "the socket is missing: say listen PATH if the emulator connects to it (QEMU's server=off), connect PATH if the emulator makes it (server=on)"})
	registerStream(element.Type{
		Path:    "tme/host/gvproxy/bess",
		Summary: "a cable to an emulator on this host: frames in packets of a Unix socket, as gvproxy's bess and User-mode Linux",
		Doc: `Each frame is a packet of a connection (SOCK_SEQPACKET). User-mode Linux speaks so, and gvproxy; either end makes the socket:

    b0 at sw0: tme/host/gvproxy/bess listen /run/b0.sock
    linux … vec0:transport=bess,dst=/run/b0.sock

    b1 at sw0: tme/host/gvproxy/bess connect /run/gvproxy.sock
    gvproxy -listen-bess unixpacket:///run/gvproxy.sock

What tme/host/qemu/stream says of listen and connect is the same here. Empty packets are dropped.

Only on Linux.`,
		Example: `sw0: tme/generic/switch
b0 at sw0: tme/host/gvproxy/bess listen /tmp/b0.sock`,
	}, streamKind{"unixpacket", "PATH", "the socket is missing: say listen PATH if the emulator connects to it, connect PATH if the emulator makes it, as gvproxy does"})
}

// streamKind is what the types of connections differ in.
type streamKind struct {
	network string // of its socket with a path
	places  string // what listen and connect take
	missing string // the fault where neither is given
}

func registerStream(t element.Type, kind streamKind) {
	t.MaxConnections = 1
	t.Options = (&streamConfig{streamKind: kind}).options(element.Env{})
	t.New = func(env element.Env, args element.Args) (element.Element, error) {
		return newStream(kind, env, args)
	}
	element.Register(t)
}

// streamConfig is what the arguments say.
type streamConfig struct {
	streamKind
	listen, connect place // one of them
	mode            mode
	mtu             int
}

func (c *streamConfig) options(env element.Env) []element.Option {
	return []element.Option{
		placeOption(env, c.network, "listen", c.places, "Make the socket there, for the emulator to connect to.", &c.listen),
		placeOption(env, c.network, "connect", c.places, "Connect to the socket that the emulator makes there.", &c.connect),
		modeOption(&c.mode),
		mtuOption(&c.mtu),
	}
}

// Stream is an element with one connection after the other.
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

func newStream(kind streamKind, env element.Env, args element.Args) (element.Element, error) {
	c := streamConfig{streamKind: kind, mode: mode{perm: 0o600}, mtu: ethernet.MTU}
	err := args.Parse(c.options(env))
	if err == nil || c.listen.Text != "" || c.connect.Text != "" {
		if fault := checkPlaces(args.Pos, c.listen, c.connect, c.mode, kind.missing); fault != nil {
			err = errors.Join(err, fault)
		}
	}
	if err != nil {
		return nil, err
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
	at := s.config.listen.Address
	if at.Text == "" {
		s.running.Go(s.keepConnecting)
		return nil
	}
	if at.Network != "tcp" {
		if err := unixsock.CheckFolder(at.Text); err != nil {
			return fmt.Errorf("listen on %s: %w", at, err)
		}
	}
	l, err := unixsock.Listen(at, s.config.mode.perm, s.socketConfig())
	if err != nil {
		return err
	}
	s.listener = l
	s.log.Info(s.where() + s.forQEMU())
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
	if !now.socket.(unixsock.Conn).Vanished() {
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

func (s *Stream) publish(conn unixsock.Conn) error {
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
		conn, err := unixsock.Dial(s.ctx, s.config.connect.Address, s.socketConfig())
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
	if at := s.config.listen; at.Text != "" {
		return "listening on " + at.String()
	}
	return "connecting to " + s.config.connect.String()
}

// forQEMU is what QEMU has to be told to connect, for the log.
func (s *Stream) forQEMU() string {
	const netdev = "; for QEMU: -netdev stream,id=n0,server=off,"
	switch at := s.config.listen; at.Network {
	case "unix":
		path, err := filepath.Abs(at.Text) // QEMU may have another working folder
		if err != nil {
			path = at.Text
		}
		return netdev + "addr.type=unix,addr.path=" + strings.ReplaceAll(path, ",", ",,")
	case "tcp":
		host, port, _ := net.SplitHostPort(at.Text)
		return netdev + "addr.type=inet,addr.host=" + host + ",addr.port=" + port
	}
	return ""
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
	end := func(at place) string {
		if at.Network == "tcp" {
			return "tcp " + at.Text
		}
		return "unix " + at.Text
	}
	if at := s.config.listen; at.Text != "" {
		return element.Sketch{Kind: element.LinkKind, Local: end(at), Detail: []string{"listen " + at.String()}}
	}
	at := s.config.connect
	return element.Sketch{Kind: element.LinkKind, Remote: end(at), Detail: []string{"connect " + at.String()}}
}

var _ element.Reporter = (*Stream)(nil)
