//go:build unix

package rawudp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenGroup makes a socket that hears what is sent to a group, and nothing else
// that is sent to its port: it is bound to the group's own address, which package
// net does not do. Others may have the same port.
func listenGroup(group netip.AddrPort, ifi *net.Interface) (*net.UDPConn, error) {
	family, addr := unix.AF_INET, unix.Sockaddr(nil)
	if a := group.Addr(); a.Is4() {
		addr = &unix.SockaddrInet4{Port: int(group.Port()), Addr: a.As4()}
	} else {
		six := &unix.SockaddrInet6{Port: int(group.Port()), Addr: a.As16()}
		if ifi != nil && a.IsLinkLocalMulticast() {
			six.ZoneId = uint32(ifi.Index)
		}
		family, addr = unix.AF_INET6, six
	}
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "udp "+group.String())
	defer file.Close() // the connection has a descriptor of its own
	if err = share(fd); err == nil && ifi != nil {
		err = onlyJoined(fd, family)
	}
	if err == nil && family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err != nil {
		return nil, fmt.Errorf("set it up for a port that others have, too: %w", err)
	}
	if err := unix.Bind(fd, addr); err != nil {
		return nil, fmt.Errorf("bind to it: %w", err)
	}
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}
