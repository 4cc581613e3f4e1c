// Package unixsock is the sockets by which emulators take and give frames: Unix
// streams with a length before each frame, Unix datagrams and packets with a frame
// in each, and what else speaks as those streams do, TCP and a pair of pipes.
//
// Batches of frames flow through it. On Linux one system call takes a whole
// batch to the socket, from where the frames lie, and one brings whatever waits
// there into a buffer that is borrowed only while something does; elsewhere
// package net does the same with more calls. A socket has one peer. Nothing
// here looks into a frame, tries again, or keeps a timer: when a Stream is lost,
// its owner makes another.
//
// file.go makes and removes the sockets' files; listen.go makes connections;
// prefix.go and cutter.go are the formats of a stream as bytes alone; stream*.go,
// datagrams*.go and packets*.go are the kinds of socket; pool*.go lends them their
// memory.
package unixsock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"

	"tmelink/internal/ethernet"
)

// Config is what all kinds of socket are told.
type Config struct {
	MaxFrame int // bytes: longer frames from outside are dropped
	Prefix   Prefix
	Counters *ethernet.Counters
}

// Conn is a connection to an emulator: a Stream or Packets.
type Conn interface {
	ReadFrames() ([]ethernet.Frame, error)
	WriteFrames([]ethernet.Frame) error
	// Vanished says whether the other end has closed the connection, whatever is
	// still to be read.
	Vanished() bool
	// Peer says who the other end is ("pid 4711", "127.0.0.1:40000"), "" where that
	// is not known.
	Peer() string
	Close() error
}

// ErrGone is the end of a Conn whose other end has closed it between two frames.
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
	if err := c.Close(); !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
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
