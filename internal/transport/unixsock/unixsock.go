// Package unixsock is the sockets by which emulators on the same host take and
// give frames: Unix streams with a length before each frame, and Unix datagrams
// with a frame in each.
//
// Batches of frames flow through it. On Linux one system call takes a whole
// batch to the socket, from where the frames lie, and one brings whatever waits
// there into a buffer that is borrowed only while something does; elsewhere
// package net does the same with more calls. A socket has one peer. Nothing
// here looks into a frame, tries again, or keeps a timer: when a Stream is lost,
// its owner makes another.
//
// file.go makes and removes the sockets' files; cutter.go is the format of a
// stream as bytes alone; stream*.go and datagrams*.go are the two kinds of
// socket; pool*.go lends them their memory.
package unixsock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"

	"tmelink/internal/ethernet"
)

// Config is what both kinds of socket are told.
type Config struct {
	MaxFrame int // bytes: longer frames from outside are dropped
	Counters *ethernet.Counters
}

// ErrGone is the end of a Stream whose other end has closed it between two
// frames.
var ErrGone = errors.New("the other end has closed the connection")

// Absent says whether an error of connecting is that nobody is there.
func Absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errRefused)
}

// closed makes any error of a closed socket net.ErrClosed itself.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	return err
}

// closeOnce closes what may be closed already.
func closeOnce(c io.Closer) error {
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// withoutAddress leaves out of an error of package net the operation and the
// addresses, which its caller says better.
func withoutAddress(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// CheckPath says what is wrong with a path for a socket: the kernel has room for
// so many bytes and no more.
func CheckPath(path string) error {
	switch {
	case path == "":
		return errors.New("an empty path names no socket")
	case len(path) > MaxPath:
		return fmt.Errorf("%q has %d bytes; the path of a socket has at most %d: choose a shorter one", path, len(path), MaxPath)
	}
	return nil
}
