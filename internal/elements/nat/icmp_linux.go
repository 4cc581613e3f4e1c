package nat

import "golang.org/x/sys/unix"

// wantErrors has a socket tell of all errors that ICMP brings, also those of which
// one could hope that they pass (IP_RECVERR in ip(7)).
func wantErrors(s socket, is6 bool) {
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if is6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	onSocket(s, func(fd int) error { return unix.SetsockoptInt(fd, level, option, 1) })
}

// errorsAtOnce bounds how many errors are forgotten together.
const errorsAtOnce = 64

// forgetErrors empties the queue of errors, in which they stay after the socket has
// told of them.
func forgetErrors(s socket) {
	onSocket(s, func(fd int) error {
		var data, control [1]byte
		for range errorsAtOnce {
			if _, _, _, _, err := unix.Recvmsg(fd, data[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); err != nil {
				return err
			}
		}
		return nil
	})
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

// pathMTU is the MTU of the path to where a connected socket goes, or 0 where it
// is not known.
func pathMTU(s socket, is6 bool) (mtu int) {
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if is6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	onSocket(s, func(fd int) (err error) {
		mtu, err = unix.GetsockoptInt(fd, level, option)
		return err
	})
	return mtu
}

// onSocket calls f with a socket's descriptor. What is asked of it is an
// improvement: without it datagrams are still carried.
func onSocket(s socket, f func(fd int) error) {
	if raw, err := s.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
