package unixsock

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

// MaxPath is how long the path of a socket may be: sun_path of struct
// sockaddr_un (afunix.h), with its terminating NUL.
const MaxPath = 107

const (
	errAddrInUse = windows.WSAEADDRINUSE
	errRefused   = windows.WSAECONNREFUSED
	errReset     = windows.WSAECONNRESET
	errPipe      = windows.WSAECONNABORTED
)

var errNoDatagrams = errors.New("Windows has no Unix datagram sockets; use tme/host/qemu/stream")

// setMode: who may use a socket is said by the folder that it is in.
func setMode(string, fs.FileMode) error { return nil }

// othersMayReplace: what a folder's access list says is not looked at.
func othersMayReplace(fs.FileInfo) bool { return false }
