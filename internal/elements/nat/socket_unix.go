//go:build unix

package nat

import (
	"net/netip"
	"syscall"
)

// reader reads a socket. It takes a buffer only once there is something to read,
// so that a thousand idle sockets hold none.
type reader struct {
	raw  syscall.RawConn
	buf  *buffer
	n    int
	from netip.AddrPort // of a datagram
	err  error
	try  func(fd uintptr) bool
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
			var from syscall.Sockaddr
			r.n, from, r.err = syscall.Recvfrom(int(fd), b[:], 0)
			r.from = addrPort(from)
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

// addrPort gives the address of a datagram's sender; not valid: it has none.
func addrPort(a syscall.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// sender sends datagrams, and waits for nothing: what the socket's buffer does not
// take is lost, as on a wire.
type sender struct {
	raw  syscall.RawConn
	data []byte
	to   syscall.Sockaddr // nil: where the socket is connected to
	to4  syscall.SockaddrInet4
	to6  syscall.SockaddrInet6
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
			if s.err = send(int(fd), s.data, s.to); s.err != syscall.EINTR {
				return true
			}
		}
	}
	return s, nil
}

// send sends one datagram to an address, or where the socket is connected to if that
// is not valid. One goroutine at a time calls it.
func (s *sender) send(data []byte, to netip.AddrPort) error {
	s.data, s.err = data, nil
	switch a := to.Addr(); {
	case !a.IsValid():
		s.to = nil
	case a.Is4():
		s.to4.Addr, s.to4.Port = a.As4(), int(to.Port())
		s.to = &s.to4
	default:
		s.to6.Addr, s.to6.Port = a.As16(), int(to.Port())
		s.to = &s.to6
	}
	err := s.raw.Write(s.try)
	s.data = nil
	if err != nil {
		return err
	}
	return s.err
}

func send(fd int, data []byte, to syscall.Sockaddr) error {
	if to != nil {
		return syscall.Sendto(fd, data, 0, to)
	}
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
