package nat

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// openPing makes a ping socket (icmp(7)) that is connected to an address.
func openPing(to netip.Addr) (socket, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	var sa unix.Sockaddr
	if to.Is6() {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
		sa = &unix.SockaddrInet6{Addr: to.As16()}
	} else {
		sa = &unix.SockaddrInet4{Addr: to.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open a ping socket: %w (this user's group is not in the sysctl net.ipv4.ping_group_range: widen it)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open a ping socket: %w", err)
	}
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ping %s: %w", to, err)
	}
	return os.NewFile(uintptr(fd), "ping "+to.String()), nil
}
