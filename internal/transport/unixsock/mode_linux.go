package unixsock

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// restrict gives a new socket the permissions that its file is then made with
// (unix_bind_bsd in net/unix/af_unix.c), so that there is no moment in which
// others may use it, and no need to change the process's umask.
func restrict(mode fs.FileMode) func(network, address string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode.Perm())) }); e != nil {
			return e
		}
		return err
	}
}
