//go:build unix && !linux

package transport

import (
	"errors"
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
	if s.Mark != 0 {
		return errors.New("--mark is Linux's (SO_MARK): route by address instead")
	}
	if s.Discovery != DiscoverByDefault {
		return errors.New("--mtu-disc is Linux's (IP_MTU_DISCOVER): keep packets short with --fragment or --mssfix instead")
	}
	if s.Device != "" {
		return errors.New("--bind-dev is Linux's (SO_BINDTODEVICE): give the interface's name to --local instead")
	}
	if reuse {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("set SO_REUSEADDR: %w", err)
		}
	}
	if s.SendBuffer != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, s.SendBuffer); err != nil {
			return fmt.Errorf("set SO_SNDBUF to %d: %w", s.SendBuffer, err)
		}
	}
	if s.ReceiveBuffer != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, s.ReceiveBuffer); err != nil {
			return fmt.Errorf("set SO_RCVBUF to %d: %w", s.ReceiveBuffer, err)
		}
	}
	return nil
}
