package unixsock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"

	"tmelink/internal/ethernet"
)

// Stream is a connection over which frames go with their length before them, as
// QEMU's -netdev stream has it. One goroutine reads it and another writes it;
// Close may be called by any.
//
// Each platform has its own
//
//	streamIO     what it needs for its system calls
//	init         prepares it
//	fill         waits for bytes and puts them into s.in; io.EOF at their end
//	write        writes a batch, and gives the number of frames that went whole
//	Vanished     says whether the other end has closed the connection already
//	peer         says who the other end is
type Stream struct {
	conn   *net.UnixConn
	config Config
	who    string
	in     cutter // the reader's
	streamIO
}

func newStream(conn *net.UnixConn, c Config) (*Stream, error) {
	s := &Stream{conn: conn, config: c, in: cutter{maxFrame: c.MaxFrame, drops: &c.Counters.Read}}
	if err := s.init(); err != nil {
		conn.Close()
		return nil, err
	}
	s.who = s.peer()
	return s, nil
}

// Dial connects to a socket that listens.
func Dial(ctx context.Context, path string, c Config) (*Stream, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, withoutAddress(err))
	}
	return newStream(conn.(*net.UnixConn), c)
}

// ReadFrames waits until at least one frame is there, and gives those that came
// with it. They are borrowed until the next ReadFrames. Its error is
// net.ErrClosed after Close, where nothing is left that was read before, ErrGone
// when the other end has closed, or what is wrong with the stream; each means
// that the Stream is of no more use.
func (s *Stream) ReadFrames() ([]ethernet.Frame, error) {
	for {
		frames, err := s.in.cut()
		if err != nil {
			s.config.Counters.Read.Add(ethernet.Malformed, 1)
			s.in.drop()
			return nil, err
		}
		if len(frames) > 0 {
			return frames, nil
		}
		if err := s.fill(); err != nil {
			return nil, s.ended(err)
		}
	}
}

// ended makes what ReadFrames returns of the error of a read, and lets go of the
// buffer.
func (s *Stream) ended(err error) error {
	cut := s.in.inFrame()
	s.in.drop()
	switch {
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	case err != io.EOF && !errors.Is(err, errReset): // a reset is an end, of one who did not read all
		return err
	case cut:
		s.config.Counters.Read.Add(ethernet.Malformed, 1)
		return errors.New("the connection has ended inside a frame")
	}
	return ErrGone
}

// WriteFrames sends a batch in one piece and keeps nothing of it. It waits while
// the other end does not read. What is not sent is counted. Errors are those of
// ReadFrames; one that is not net.ErrClosed also reaches the reader, behind what
// came in before.
func (s *Stream) WriteFrames(frames []ethernet.Frame) error {
	sent, err := s.write(frames)
	if err == nil {
		return nil
	}
	drops := &s.config.Counters.Write
	switch {
	case errors.Is(err, errShort):
		drops.Add(ethernet.SendFailed, len(frames)-sent)
		return nil
	case errors.Is(err, errPipe) || errors.Is(err, errReset):
		err = ErrGone
	}
	drops.Add(ethernet.Disconnected, len(frames)-sent)
	return closed(err)
}

// errShort: the kernel has no memory for more, and no frame was begun.
var errShort = errors.New("the kernel has no memory for frames")

// putPrefix writes the length of a frame.
func putPrefix(p *[prefixLen]byte, f *ethernet.Frame) {
	binary.BigEndian.PutUint32(p[:], uint32(len(f.Data)))
}

// Peer says who the other end is ("pid 4711"), "" where that is not known.
func (s *Stream) Peer() string { return s.who }

// Close ends both directions and wakes who waits in them.
func (s *Stream) Close() error { return closeOnce(s.conn) }

// Listener waits for connections at a path.
type Listener struct {
	config Config
	unix   *net.UnixListener
	file   *file
}

// Listen makes a listening socket whose file has the permissions of mode. A dead
// socket at its path is replaced.
func Listen(path string, mode fs.FileMode, c Config) (*Listener, error) {
	l := &Listener{config: c}
	lc := net.ListenConfig{Control: restrict(mode)}
	var err error
	l.file, err = makeFile("unix", path, mode, func() error {
		got, err := lc.Listen(context.Background(), "unix", path)
		if err == nil {
			l.unix = got.(*net.UnixListener)
			l.unix.SetUnlinkOnClose(false)
		}
		return err
	})
	if err != nil {
		if l.unix != nil {
			l.unix.Close()
		}
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

// Accept waits for a connection, and returns net.ErrClosed after Close. After
// any other error it may be called again.
func (l *Listener) Accept() (*Stream, error) {
	conn, err := l.unix.AcceptUnix()
	if err != nil {
		return nil, closed(err)
	}
	return newStream(conn, l.config)
}

// Close ends Accept and removes the socket's file; connections accepted stay.
func (l *Listener) Close() error { return errors.Join(l.file.remove(), closeOnce(l.unix)) }
