//go:build unix

package nat

import "syscall"

// reader reads a socket. It takes a buffer only once there is something to read,
// so that a thousand idle sockets hold none.
type reader struct {
	raw syscall.RawConn
	buf *buffer
	n   int
	err error
	try func(fd uintptr) bool
}

func newReader(c syscall.Conn) (*reader, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &reader{raw: raw}
	r.try = func(fd uintptr) bool {
		b := buffers.Take()
		for {
			r.n, r.err = syscall.Read(int(fd), b[:])
			if r.err != syscall.EINTR {
				break
			}
		}
		if r.err != nil {
			buffers.Give(b)
			return r.err != syscall.EAGAIN
		}
		r.buf = b
		return true
	}
	return r, nil
}

// next waits for what the socket brings. It is borrowed until done, which must be
// called before the next call unless there was an error. No bytes and no error is
// the end of a TCP connection, or an empty datagram.
func (r *reader) next() ([]byte, error) {
	if err := r.raw.Read(r.try); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.buf[:r.n], nil
}

func (r *reader) done() {
	buffers.Give(r.buf)
	r.buf = nil
}

// sender sends datagrams, and waits for nothing: what the socket's buffer does not
// take is lost, as on a wire.
type sender struct {
	raw  syscall.RawConn
	data []byte
	err  error
	try  func(fd uintptr) bool
}

func newSender(c syscall.Conn) (*sender, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{raw: raw}
	s.try = func(fd uintptr) bool {
		for {
			if s.err = send(int(fd), s.data); s.err != syscall.EINTR {
				return true
			}
		}
	}
	return s, nil
}

// send sends one datagram. One goroutine at a time calls it.
func (s *sender) send(data []byte) error {
	s.data, s.err = data, nil
	err := s.raw.Write(s.try)
	s.data = nil
	if err != nil {
		return err
	}
	return s.err
}

// send writes to a connected socket, also what has no bytes.
func send(fd int, data []byte) error {
	_, err := syscall.Write(fd, data)
	return err
}

// Reasons for which a socket cannot reach its destination.
const (
	errRefused         = syscall.ECONNREFUSED
	errReset           = syscall.ECONNRESET
	errHostUnreachable = syscall.EHOSTUNREACH
	errNetUnreachable  = syscall.ENETUNREACH
	errTooBig          = syscall.EMSGSIZE
	errNoSockets       = syscall.EMFILE
	errNoSocketsAtAll  = syscall.ENFILE
	errInUse           = syscall.EADDRINUSE
	errNotLocal        = syscall.EADDRNOTAVAIL
)
