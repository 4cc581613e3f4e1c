package nat

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// wantErrors has a socket tell of all errors that ICMP brings, also those of which
// one could hope that they pass (IP_RECVERR in ip(7)).
func wantErrors(s socket, is6 bool) {
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if is6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	onSocket(s, func(fd int) error { return unix.SetsockoptInt(fd, level, option, 1) })
}

// errorsAtOnce bounds how many errors are read together.
const errorsAtOnce = 64

// readErrors reads what ICMP, or the kernel itself, has said of datagrams that were
// sent (struct sock_extended_err in linux/errqueue.h): to where, why, and the MTU if
// one was too long. It says how many there were.
func readErrors(s socket, tell func(to netip.AddrPort, why error, mtu int)) (told int) {
	const size = 16
	type note struct {
		to  netip.AddrPort
		why syscall.Errno
		mtu int
	}
	var notes []note
	onSocket(s, func(fd int) error {
		var data [1]byte
		var control [512]byte
		for range errorsAtOnce {
			_, n, _, from, err := unix.Recvmsg(fd, data[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return err
			}
			told++
			messages, err := unix.ParseSocketControlMessage(control[:n])
			if err != nil {
				continue
			}
			for _, m := range messages {
				v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
				v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
				if (v4 || v6) && len(m.Data) >= size {
					notes = append(notes, note{sockaddr(from), syscall.Errno(binary.NativeEndian.Uint32(m.Data)), int(binary.NativeEndian.Uint32(m.Data[8:]))})
				}
			}
		}
		return nil
	})
	for _, n := range notes {
		tell(n.to, n.why, n.mtu)
	}
	return told
}

// sockaddr gives an address of package unix, whose types are not those of syscall.
func sockaddr(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// setWhole says whether a UDP socket's datagrams must not be fragmented, as their
// sender asked for by IPv4's DF (IP_MTU_DISCOVER in ip(7)).
func setWhole(s socket, is6, whole bool) {
	level, option, how := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_WANT
	if is6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	if whole {
		how = unix.IP_PMTUDISC_DO // the values are IPv6's too
	}
	onSocket(s, func(fd int) error { return unix.SetsockoptInt(fd, level, option, how) })
}

// onSocket calls f with a socket's descriptor. What is asked of it is an
// improvement: without it datagrams are still carried.
func onSocket(s socket, f func(fd int) error) {
	if raw, err := s.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
