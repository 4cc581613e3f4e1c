// Package mmsg is recvmmsg(2) and sendmmsg(2): many messages of a socket in one
// system call.
//
// Its callers keep arrays of Header that point to their own memory and hand them
// over again and again, so that nothing is allocated for a call. The descriptors
// do not block, and the calls are made without telling Go's scheduler, which
// would cost more than most of them take: whoever gets EAGAIN waits by Go's
// poller (syscall.RawConn).
package mmsg

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Header is struct mmsghdr of recvmmsg(2).
type Header struct {
	unix.Msghdr
	Len uint32 // bytes received or sent
}

// Receive takes up to len(h) messages that wait at a socket, without waiting
// for one, and gives their number. flags are those of recvmsg(2).
func Receive(fd uintptr, h []Header, flags int) (int, syscall.Errno) {
	return call(unix.SYS_RECVMMSG, unix.SYS_RECVMSG, fd, h, flags)
}

// Send hands messages to a socket, without waiting for room, and gives the
// number of those that it took. An error is the first message's.
func Send(fd uintptr, h []Header, flags int) (int, syscall.Errno) {
	return call(unix.SYS_SENDMMSG, unix.SYS_SENDMSG, fd, h, flags)
}

// call makes the call for many, or for a single message the one for one, which
// takes a tenth less time.
func call(many, one, fd uintptr, h []Header, flags int) (int, syscall.Errno) {
	flags |= unix.MSG_DONTWAIT
	for {
		var n uintptr
		var errno syscall.Errno
		if len(h) == 1 {
			n, _, errno = unix.RawSyscall(one, fd, uintptr(unsafe.Pointer(unsafe.SliceData(h))), uintptr(flags))
		} else {
			n, _, errno = unix.RawSyscall6(many, fd, uintptr(unsafe.Pointer(unsafe.SliceData(h))), uintptr(len(h)), uintptr(flags), 0, 0)
		}
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, errno
		case len(h) == 1:
			h[0].Len = uint32(n)
			return 1, 0
		default:
			return int(n), 0
		}
	}
}
