package rawudp

import "golang.org/x/sys/unix"

// share lets others have the socket's port.
func share(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }

// onlyJoined keeps away what came by an interface on which another socket of the
// host has joined the group (IP_MULTICAST_ALL of ip(7)).
func onlyJoined(fd, family int) error {
	if family == unix.AF_INET6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
}
