//go:build unix && !linux

package rawudp

import "golang.org/x/sys/unix"

// share lets others have the socket's port, whichever of the two options they set.
func share(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// onlyJoined: these kernels give a socket only what came by an interface on which
// it has joined itself.
func onlyJoined(_, _ int) error { return nil }
