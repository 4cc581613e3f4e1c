package unixsock

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"tmelink/internal/ethernet"
)

// Stream is a connection, or a pair of pipes, over which frames go with their
// length before them. One goroutine reads it and another writes it; Close may be
// called by any.
//
// Each platform has its own
//
//	streamIO     what it needs for its system calls
//	init         prepares it
//	fill         waits for bytes and puts them into s.in; io.EOF at their end
//	write        writes a batch, and gives the number of frames that went whole
//	Vanished     says whether the other end has closed the connection already
//	owner        says which process has the other end of a Unix stream
type Stream struct {
	reads, writes pipe // one and the same, unless it is pipes
	config        Config
	who           string
	over          atomic.Bool // Close was called
	in            cutter      // the reader's
	streamIO
}

// pipe is what a Stream reads or writes: a *net.UnixConn, *net.TCPConn or *os.File.
type pipe interface {
	io.ReadWriteCloser
	syscall.Conn
}

func newStream(reads, writes pipe, c Config) (*Stream, error) {
	s := &Stream{reads: reads, writes: writes, config: c, in: cutter{prefix: c.Prefix, maxFrame: c.MaxFrame, drops: &c.Counters.Read}}
	if err := s.init(); err != nil {
		s.Close()
		return nil, err
	}
	switch conn := reads.(type) {
	case *net.TCPConn:
		s.who = conn.RemoteAddr().String()
	case *net.UnixConn:
		s.who = s.owner()
	}
	return s, nil
}

// Pipes makes a Stream of two files that do not block, one to be read and one to
// be written. It owns them, also after an error.
func Pipes(reads, writes *os.File, c Config) (*Stream, error) { return newStream(reads, writes, c) }

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
	case s.over.Load(): // which a file says by an error that cannot be told from others
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
	if s.over.Load() {
		return net.ErrClosed
	}
	return err
}

// errShort: the kernel has no memory for more, and no frame was begun.
var errShort = errors.New("the kernel has no memory for frames")

// Peer says who the other end is.
func (s *Stream) Peer() string { return s.who }

// Close ends both directions and wakes who waits in them.
func (s *Stream) Close() error {
	s.over.Store(true)
	return errors.Join(closeOnce(s.reads), closeOnce(s.writes))
}
