package unixsock

import (
	"fmt"
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/spare"
)

// Theory of operation: the descriptor is Go's and does not block. The poller
// calls tryRead and tryWrite, functions made once, when it may be ready; these
// make their system calls without telling Go's scheduler (see package mmsg). A
// read takes whatever waits into a buffer of the pool; a batch is written by one
// writev(2) from where the frames lie, the lengths between them.

type streamIO struct {
	from, to syscall.RawConn // of what is read and written

	tryRead func(fd uintptr) bool // the reader's
	readErr error

	tryWrite func(fd uintptr) bool // the writer's
	batch    *gather               // nil between batches
	writeErr syscall.Errno
}

func (s *Stream) init() (err error) {
	s.tryRead, s.tryWrite = s.readOnce, s.writeAll
	if s.from, err = s.reads.SyscallConn(); err == nil {
		s.to, err = s.writes.SyscallConn()
	}
	return err
}

func (s *Stream) fill() error {
	s.readErr = nil
	if err := s.from.Read(s.tryRead); err != nil {
		return err
	}
	return s.readErr
}

// readOnce reads once. It returns false when there is nothing, for the poller to
// wait.
func (s *Stream) readOnce(fd uintptr) bool {
	space := s.in.space()
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(space))), uintptr(len(space)))
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			s.in.rest()
			return false
		case errno != 0:
			s.readErr = errno
		case n == 0:
			s.readErr = io.EOF
		default:
			s.in.filled(int(n))
		}
		return true
	}
}

// gather is a batch for writev: the iovecs of a length and of a frame in turn.
type gather struct {
	prefix   int // its length
	prefixes [gatherFrames][mostPrefix]byte
	iovs     [2 * gatherFrames]unix.Iovec
	next, n  int // of iovs: the first that has not gone whole, the number of all
}

// gatherFrames keeps the iovecs of a call within IOV_MAX, which is 1024.
const gatherFrames = 256

var gathers = spare.New(func() *gather { return new(gather) })

// set takes up frames, at most gatherFrames.
func (g *gather) set(frames []ethernet.Frame, p Prefix) {
	g.next, g.n, g.prefix = 0, 2*len(frames), p.len()
	for i := range frames {
		f := &frames[i]
		p.put(g.prefixes[i][:], len(f.Data))
		prefix, data := &g.iovs[2*i], &g.iovs[2*i+1]
		prefix.Base = &g.prefixes[i][0]
		prefix.SetLen(g.prefix)
		data.Base = unsafe.SliceData(f.Data)
		data.SetLen(len(f.Data))
	}
}

// advance says that n more bytes have gone.
func (g *gather) advance(n int) {
	for g.next < g.n {
		v := &g.iovs[g.next]
		if n < int(v.Len) {
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), n))
			v.SetLen(int(v.Len) - n)
			return
		}
		n -= int(v.Len)
		g.next++
	}
}

// inFrame says whether a frame has gone in part.
func (g *gather) inFrame() bool {
	return g.next < g.n && (g.next%2 == 1 || int(g.iovs[g.next].Len) < g.prefix)
}

// release gives the frames back to their owner.
func (g *gather) release() {
	for i := 1; i < g.n; i += 2 {
		g.iovs[i].Base = nil
	}
	gathers.Give(g)
}

func (s *Stream) write(frames []ethernet.Frame) (sent int, err error) {
	g := gathers.Take()
	defer g.release()
	for len(frames) > 0 && err == nil {
		batch := frames[:min(len(frames), gatherFrames)]
		frames = frames[len(batch):]
		g.set(batch, s.config.Prefix)
		s.batch, s.writeErr = g, 0
		err = s.to.Write(s.tryWrite)
		s.batch = nil
		sent += g.next / 2
		if err == nil && s.writeErr != 0 {
			err = s.refused(g, s.writeErr)
		}
	}
	return sent, err
}

// writeAll writes s.batch. It returns false when the socket has no room, for the
// poller to wait.
func (s *Stream) writeAll(fd uintptr) bool {
	g := s.batch
	for g.next < g.n {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&g.iovs[g.next])), uintptr(g.n-g.next))
		switch errno {
		case 0:
			g.advance(int(n))
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			s.writeErr = errno
			return true
		}
	}
	return true
}

// refused judges an error of writev. A stream in which half a frame stands is
// of no use; its reader gets what came before, and then its end.
func (s *Stream) refused(g *gather, errno syscall.Errno) error {
	if !g.inFrame() && (errno == unix.ENOBUFS || errno == unix.ENOMEM) {
		return errShort
	}
	s.to.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	return errno
}

// Vanished says whether the other end has closed the connection.
func (s *Stream) Vanished() bool { return vanished(s.from) }

func vanished(raw syscall.RawConn) bool {
	gone := false
	err := raw.Control(func(fd uintptr) { gone = pollNow(fd, unix.POLLRDHUP)&(unix.POLLRDHUP|unix.POLLHUP) != 0 })
	return gone || err != nil
}

// pollNow asks what a descriptor is ready for, without waiting.
func pollNow(fd uintptr, events int16) int16 {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	var now unix.Timespec
	unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return p.Revents
}

func (s *Stream) owner() string { return ownerOf(s.from) }

func ownerOf(raw syscall.RawConn) (who string) {
	raw.Control(func(fd uintptr) {
		if c, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil && c.Pid > 0 {
			who = fmt.Sprintf("pid %d", c.Pid)
		}
	})
	return who
}
