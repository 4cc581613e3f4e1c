package nat

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/windows"
)

// reader reads a socket. Here it holds a buffer while it waits.
type reader struct {
	conn io.Reader
	buf  *buffer
	from netip.AddrPort // of a datagram
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
	n, err := r.read(b[:])
	if err != nil && err != io.EOF {
		buffers.Give(b)
		return nil, err
	}
	r.buf = b
	return b[:n], nil
}

func (r *reader) read(b []byte) (n int, err error) {
	if c, ok := r.conn.(*net.UDPConn); ok {
		n, r.from, err = c.ReadFromUDPAddrPort(b)
		return n, err
	}
	return r.conn.Read(b)
}

func (r *reader) done() {
	buffers.Give(r.buf)
	r.buf = nil
}

// sender sends datagrams.
type sender struct{ conn *net.UDPConn }

func newSender(c syscall.Conn) (*sender, error) {
	conn, ok := c.(*net.UDPConn)
	if !ok {
		return nil, errors.New("it is not a UDP socket")
	}
	return &sender{conn}, nil
}

// send sends one datagram to an address.
func (s *sender) send(data []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(data, to)
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
