package nat

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/windows"
)

// reader reads a socket. Here it holds a buffer while it waits.
type reader struct {
	conn io.Reader
	buf  *buffer
}

func newReader(c syscall.Conn) (*reader, error) {
	conn, ok := c.(io.Reader)
	if !ok {
		return nil, errors.New("it cannot be read")
	}
	return &reader{conn: conn}, nil
}

// next waits for what the socket brings. It is borrowed until done, which must be
// called before the next call unless there was an error. No bytes and no error is
// the end of a TCP connection, or an empty datagram.
func (r *reader) next() ([]byte, error) {
	b := buffers.Take()
	n, err := r.conn.Read(b[:])
	if err != nil && err != io.EOF {
		buffers.Give(b)
		return nil, err
	}
	r.buf = b
	return b[:n], nil
}

func (r *reader) done() {
	buffers.Give(r.buf)
	r.buf = nil
}

// sender sends datagrams.
type sender struct{ conn io.Writer }

func newSender(c syscall.Conn) (*sender, error) {
	conn, ok := c.(io.Writer)
	if !ok {
		return nil, errors.New("it cannot be written")
	}
	return &sender{conn}, nil
}

// send sends one datagram. One goroutine at a time calls it.
func (s *sender) send(data []byte) error {
	_, err := s.conn.Write(data)
	return err
}

// Reasons for which a socket cannot reach its destination (WinSock's error codes).
const (
	errRefused         = windows.WSAECONNREFUSED
	errReset           = windows.WSAECONNRESET
	errHostUnreachable = windows.WSAEHOSTUNREACH
	errNetUnreachable  = windows.WSAENETUNREACH
	errTooBig          = windows.WSAEMSGSIZE
	errNoSockets       = windows.WSAEMFILE
	errNoSocketsAtAll  = windows.WSAENOBUFS
	errInUse           = windows.WSAEADDRINUSE
	errNotLocal        = windows.WSAEADDRNOTAVAIL
)
