package transport

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// control sets on a new descriptor, before it is bound, what Socket asks for.
// reuse lets a TCP client take a local port again whose last connection is
// still in TIME_WAIT.
func (s Socket) control(reuse bool) func(network, address string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = s.set(int(fd), reuse) }); e != nil {
			return e
		}
		return err
	}
}

func (s Socket) set(fd int, reuse bool) error {
	if reuse {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("set SO_REUSEADDR: %w", err)
		}
	}
	if err := setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, s.SendBuffer); err != nil {
		return fmt.Errorf("set SO_SNDBUF to %d: %w", s.SendBuffer, err)
	}
	if err := setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, s.ReceiveBuffer); err != nil {
		return fmt.Errorf("set SO_RCVBUF to %d: %w", s.ReceiveBuffer, err)
	}
	if s.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, s.Mark); err != nil {
			return fmt.Errorf("set SO_MARK to %d (it needs CAP_NET_ADMIN or CAP_NET_RAW): %w", s.Mark, err)
		}
	}
	if err := s.Discovery.set(fd); err != nil {
		return err
	}
	if s.Device != "" {
		if err := unix.BindToDevice(fd, s.Device); err != nil {
			return fmt.Errorf("bind to interface %s: %w", s.Device, err)
		}
	}
	return nil
}

// discoveries are the kernel's numbers; those of IPv6 are the same.
var discoveries = map[Discovery]int{DiscoverNo: unix.IP_PMTUDISC_DONT, DiscoverMaybe: unix.IP_PMTUDISC_WANT, DiscoverYes: unix.IP_PMTUDISC_DO}

// set asks the kernel for it, for both families if the socket is one of IPv6, which may
// take both.
func (d Discovery) set(fd int) error {
	if d == DiscoverByDefault {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discoveries[d]); err != nil {
		return fmt.Errorf("set IP_MTU_DISCOVER to %d: %w", discoveries[d], err)
	}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err == nil && family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, discoveries[d])
	}
	if err != nil {
		return fmt.Errorf("set IPV6_MTU_DISCOVER to %d: %w", discoveries[d], err)
	}
	return nil
}

// setBuffer goes beyond the host's limit (net.core.wmem_max, rmem_max) where it
// may, and up to it where not; socket(7).
func setBuffer(fd, forced, plain, size int) error {
	if size == 0 || unix.SetsockoptInt(fd, unix.SOL_SOCKET, forced, size) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
}
