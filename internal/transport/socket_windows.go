package transport

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/windows"
)

// control sets on a new socket, before it is bound, what Socket asks for.
// Windows needs no SO_REUSEADDR to take a port again, and means another thing
// by it.
func (s Socket) control(_ bool) func(network, address string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = s.set(windows.Handle(fd)) }); e != nil {
			return e
		}
		return err
	}
}

func (s Socket) set(fd windows.Handle) error {
	if s.Mark != 0 {
		return errors.New("--mark is Linux's (SO_MARK): route by address instead")
	}
	if s.Discovery != DiscoverByDefault {
		return errors.New("--mtu-disc is Linux's (IP_MTU_DISCOVER): keep packets short with --fragment or --mssfix instead")
	}
	if s.Device != "" {
		return errors.New("--bind-dev is Linux's (SO_BINDTODEVICE): give the interface's name to --local instead")
	}
	if s.SendBuffer != 0 {
		if err := windows.SetsockoptInt(fd, windows.SOL_SOCKET, windows.SO_SNDBUF, s.SendBuffer); err != nil {
			return fmt.Errorf("set SO_SNDBUF to %d: %w", s.SendBuffer, err)
		}
	}
	if s.ReceiveBuffer != 0 {
		if err := windows.SetsockoptInt(fd, windows.SOL_SOCKET, windows.SO_RCVBUF, s.ReceiveBuffer); err != nil {
			return fmt.Errorf("set SO_RCVBUF to %d: %w", s.ReceiveBuffer, err)
		}
	}
	return nil
}
