//go:build unix

package unixsock

import (
	"io/fs"
	"os"
	"syscall"
)

// MaxPath is how long the path of a socket may be: sun_path of struct
// sockaddr_un, with its terminating NUL.
const MaxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

const (
	errAddrInUse = syscall.EADDRINUSE
	errRefused   = syscall.ECONNREFUSED
	errReset     = syscall.ECONNRESET
	errPipe      = syscall.EPIPE
)

var errNoDatagrams error

func setMode(path string, mode fs.FileMode) error { return os.Chmod(path, mode) }

// othersMayReplace says whether a folder lets everybody remove what is in it: a
// sticky one, such as /tmp, lets only the owner.
func othersMayReplace(folder fs.FileInfo) bool {
	return folder.Mode().Perm()&0o002 != 0 && folder.Mode()&fs.ModeSticky == 0
}
