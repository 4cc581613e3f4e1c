package transport

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// BindError is the error of a socket that cannot have its local address, or not
// what Socket asks for: trying again without a change on the host is of no use.
type BindError struct {
	What  string         // "listen on udp"
	Local netip.AddrPort // not valid: none was asked for
	Err   error          // without operation and address
}

// Error says what was being done, why it failed, and what to do.
func (e *BindError) Error() string {
	text := fmt.Sprintf("%s: %v", e.What, e.Err)
	if e.Local.IsValid() {
		text = fmt.Sprintf("%s %v: %v", e.What, e.Local, e.Err)
	}
	switch {
	case errors.Is(e.Err, errInUse):
		return text + " (another program or link has that port; stop it, or choose another port with --lport)"
	case errors.Is(e.Err, errNotLocal):
		return text + " (no interface of this host has that address; give one that it has to --local)"
	case errors.Is(e.Err, fs.ErrPermission) && e.Local.Port() < 1024 && isErrno(e.Err):
		return text + " (ports below 1024 are for root; choose a higher one with --lport)"
	}
	return text
}

// Unwrap gives the kernel's error.
func (e *BindError) Unwrap() error { return e.Err }

// isErrno says whether an error is the kernel's of bind(2) itself, not one of an
// option that could not be set.
func isErrno(err error) bool {
	_, ok := err.(syscall.Errno)
	return ok
}

// asBindError makes a BindError of an error of package net, if it is one.
func asBindError(what string, local netip.AddrPort, err error) (*BindError, bool) {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return &BindError{what, local, call.Err}, call.Syscall == "bind"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return &BindError{what, local, err}, false
}
