//go:build unix

package transport

import "syscall"

// What the kernel says when a socket cannot be bound, or a datagram does not fit.
const (
	errInUse    = syscall.EADDRINUSE
	errNotLocal = syscall.EADDRNOTAVAIL
	errTooLong  = syscall.EMSGSIZE
)
