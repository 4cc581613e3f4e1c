package transport

import "golang.org/x/sys/windows"

// What the kernel says when a socket cannot be bound, or a datagram does not fit
// (WinSock's error codes).
const (
	errInUse    = windows.WSAEADDRINUSE
	errNotLocal = windows.WSAEADDRNOTAVAIL
	errTooLong  = windows.WSAEMSGSIZE
)
