package tap

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/hostnet"
)

// port reads and writes the device, a frame or super-frame a system call: TAP
// devices know no other way. Its descriptors do not block; Go's poller waits.
// The port is the reader of the device's first queue; see ethernet.Multiqueue.
type port struct {
	tap      *tap
	counters ethernet.Counters
	host     atomic.Pointer[host]
	only     atomic.Bool // ReflectOnly was called
	closed   atomic.Bool
	queues   atomic.Pointer[[]*queue] // once the device is open

	// What open sets before frames flow.
	name     string
	maxFrame int
	takes    ethernet.Offloads
	header   int // bytes before each frame: ethernet.VirtioLen or none
	log      *slog.Logger

	out writer
}

// queue is one descriptor of the device.
type queue struct {
	port *port
	file *os.File
	raw  syscall.RawConn
	in   reader
}

// open gives the port its device.
func (p *port) open(tap *hostnet.TAP, mtu int, log *slog.Logger) error {
	p.name, p.maxFrame, p.log = tap.Name, ethernet.FrameLen(mtu), log
	p.takes = tap.Takes
	if tap.Virtio {
		p.header = ethernet.VirtioLen
	}
	queues := make([]*queue, len(tap.Files))
	for i, file := range tap.Files {
		raw, err := file.SyscallConn()
		if err != nil {
			return fmt.Errorf("open tap device %s: %w", tap.Name, err)
		}
		q := &queue{port: p, file: file, raw: raw}
		q.in.init(q)
		queues[i] = q
	}
	p.out.init(p)
	p.queues.Store(&queues)
	if p.closed.Load() {
		return p.Close()
	}
	return nil
}

// Readers are the device's queues.
func (p *port) Readers() []ethernet.Reader {
	readers := []ethernet.Reader{p}
	if queues := p.queues.Load(); queues != nil {
		for _, q := range (*queues)[1:] {
			readers = append(readers, q)
		}
	}
	return readers
}

// ReadFrames gives what the host and the interface's packet sockets have sent,
// as far as the kernel puts it into the first queue.
func (p *port) ReadFrames() ([]ethernet.Frame, error) {
	queues := p.queues.Load()
	if queues == nil {
		return nil, net.ErrClosed
	}
	return (*queues)[0].ReadFrames()
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

// Offloads are those of the kernel.
func (p *port) Offloads() ethernet.Offloads { return p.takes }

// MaxFrame is what fits the interface's MTU as it was when it was opened.
func (p *port) MaxFrame() int { return p.maxFrame }

// Counters are the port's drops.
func (p *port) Counters() *ethernet.Counters { return &p.counters }

// ReflectOnly makes the port serve the interface's packet sockets alone.
func (p *port) ReflectOnly() { p.only.Store(true) }

// Close wakes readers and writer. The device itself stays open until the element
// is closed: an interface that goes with its descriptor must not go before what
// was done for it is undone.
func (p *port) Close() error {
	p.closed.Store(true)
	queues := p.queues.Load()
	if queues == nil {
		return nil
	}
	var errs []error
	for _, q := range *queues {
		errs = append(errs, q.file.SetDeadline(time.Unix(1, 0)))
	}
	return errors.Join(errs...)
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

// transfer is read(2) or write(2) without telling the scheduler: the descriptor
// does not block.
func transfer(call, fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

var _ ethernet.Multiqueue = (*port)(nil)
