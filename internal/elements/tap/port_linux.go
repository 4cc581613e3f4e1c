package tap

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// The bounds of one batch of ReadFrames: what a system call for each frame
// brings before the batch is worth sending on.
const (
	batchFrames = 64
	batchBytes  = 32 << 10
)

// port reads and writes the device, a frame a system call: TAP devices know no
// other way. Its descriptor does not block; Go's poller waits.
type port struct {
	counters ethernet.Counters
	host     atomic.Pointer[host]
	only     atomic.Bool // ReflectOnly was called
	closed   atomic.Bool
	file     atomic.Pointer[os.File] // of the device, once it is open

	// What open sets before frames flow.
	name     string
	raw      syscall.RawConn
	maxFrame int

	// The reader's. The functions are method values made once: a fresh one
	// for every call would be an allocation.
	in      []byte
	frames  []ethernet.Frame
	drainFn func(fd uintptr) bool
	inErr   error

	// The writer's.
	out     []ethernet.Frame
	next    int
	flushFn func(fd uintptr) bool
	outErr  error
}

// open gives the port its device.
func (p *port) open(file *os.File, name string, mtu int) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("open tap device %s: %w", name, err)
	}
	p.name, p.raw, p.maxFrame = name, raw, ethernet.FrameLen(mtu)
	// Room for a whole batch and behind it for the longest frame of all: the
	// interface's MTU may be raised by others while it is read.
	p.in = make([]byte, batchBytes+ethernet.MaxFrameLen)
	p.frames = make([]ethernet.Frame, 0, batchFrames)
	p.drainFn, p.flushFn = p.drain, p.flush
	p.file.Store(file)
	if p.closed.Load() {
		return p.Close()
	}
	return nil
}

// ReadFrames gives what the host and the interface's packet sockets have sent.
func (p *port) ReadFrames() ([]ethernet.Frame, error) {
	for !p.closed.Load() && p.raw != nil {
		p.frames, p.inErr = p.frames[:0], nil
		if err := p.raw.Read(p.drainFn); err != nil {
			return nil, p.ended(err)
		}
		if len(p.frames) > 0 {
			return p.frames, nil
		}
		if p.inErr != nil {
			return nil, p.ended(p.inErr)
		}
	}
	return nil, net.ErrClosed
}

// drain reads the device until it is empty or the batch is full. It says no to
// the poller, which then waits, if there was nothing to read at all.
func (p *port) drain(fd uintptr) bool {
	h, only := p.host.Load(), p.only.Load()
	used := 0
	for reads := range batchFrames {
		if used >= batchBytes {
			break
		}
		n, errno := transfer(unix.SYS_READ, fd, p.in[used:])
		if errno == unix.EAGAIN {
			return reads > 0
		}
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			p.inErr = errno
			break
		}
		frame := p.in[used : used+n]
		if n < ethernet.HeaderLen {
			p.counters.Read.Add(ethernet.Runt, 1)
			continue
		}
		back, on := h.judge(frame)
		if back {
			p.reflect(fd, frame)
		}
		if on && !only {
			p.frames = append(p.frames, ethernet.Frame{Data: frame})
			used += n
		}
	}
	return true
}

// reflect writes a frame back for the host.
func (p *port) reflect(fd uintptr, frame []byte) {
	if _, errno := transfer(unix.SYS_WRITE, fd, frame); errno != 0 {
		p.counters.Read.Add(dropReason(errno), 1)
	}
}

// WriteFrames hands frames to the host.
func (p *port) WriteFrames(frames []ethernet.Frame) error {
	if p.closed.Load() || p.raw == nil {
		return net.ErrClosed
	}
	p.out, p.next, p.outErr = frames, 0, nil
	err := p.raw.Write(p.flushFn)
	p.out = nil
	if err == nil {
		err = p.outErr
	}
	if err != nil {
		return p.ended(err)
	}
	return nil
}

// flush writes frames until all are written or the device takes no more, which
// it says to the poller.
func (p *port) flush(fd uintptr) bool {
	for p.next < len(p.out) {
		data := p.out[p.next].Data
		if reason, bad := p.misfit(data); bad {
			p.counters.Write.Add(reason, 1)
			p.next++
			continue
		}
		switch _, errno := transfer(unix.SYS_WRITE, fd, data); errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case unix.EBADFD:
			p.outErr = errno
			return true
		default:
			p.counters.Write.Add(dropReason(errno), 1)
		}
		p.next++
	}
	return true
}

func (p *port) misfit(data []byte) (ethernet.Reason, bool) {
	switch {
	case len(data) < ethernet.HeaderLen:
		return ethernet.Runt, true
	case len(data) > p.maxFrame:
		return ethernet.Oversize, true
	}
	return 0, false
}

// dropReason says why the kernel did not take a frame: EIO is its answer while
// the interface is down (drivers/net/tun.c, tun_get_user).
func dropReason(errno syscall.Errno) ethernet.Reason {
	switch errno {
	case unix.EIO:
		return ethernet.InterfaceDown
	case unix.EAGAIN:
		return ethernet.QueueFull
	}
	return ethernet.SendFailed
}

// ended is the error of a port whose device has gone, or of one that was closed.
func (p *port) ended(err error) error {
	if p.closed.Load() || errors.Is(err, os.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return net.ErrClosed
	}
	if errors.Is(err, unix.EBADFD) {
		return fmt.Errorf("tap device %s was removed while it was in use", p.name)
	}
	return fmt.Errorf("tap device %s: %w", p.name, err)
}

// Offloads are none: every frame is finished.
func (p *port) Offloads() ethernet.Offloads { return 0 }

// MaxFrame is what fits the interface's MTU as it was when it was opened.
func (p *port) MaxFrame() int { return p.maxFrame }

// Counters are the port's drops.
func (p *port) Counters() *ethernet.Counters { return &p.counters }

// ReflectOnly makes the port serve the interface's packet sockets alone.
func (p *port) ReflectOnly() { p.only.Store(true) }

// Close wakes reader and writer. The device itself stays open until the element
// is closed: an interface that goes with its descriptor must not go before what
// was done for it is undone.
func (p *port) Close() error {
	p.closed.Store(true)
	if f := p.file.Load(); f != nil {
		return f.SetDeadline(time.Unix(1, 0))
	}
	return nil
}

// transfer is read(2) or write(2) without telling the scheduler: the descriptor
// does not block.
func transfer(call, fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
