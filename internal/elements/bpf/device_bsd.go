//go:build darwin || freebsd || netbsd || openbsd

package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	insn "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// offloads: frames are sent finished.
const offloads ethernet.Offloads = 0

// device is an open /dev/bpf (bpf(4)) on one interface.
//
// Reads block for at most readTimeout instead of going through a poller: kqueue
// and poll(2) do not take bpf devices on all of these systems, a read timeout
// does. It is also what the reader needs to notice close.
//
// A descriptor sees what it sends itself; the sender's addresses, in sources,
// keep that from its machine. Which way other packets go is not told on these
// systems, so none is marked outgoing.
type device struct {
	iface    string
	index    int
	mtu      int
	fd       int
	log      *slog.Logger
	counters *ethernet.Counters
	down     atomic.Bool
	done     chan struct{}

	// mu is held for reading by who uses fd, and for writing by who closes it.
	mu     sync.RWMutex
	closed bool
	lost   atomic.Uint32 // bs_drop at the last look

	// Of the goroutine that reads.
	buf     []byte // as long as BIOCGBLEN says: read(2) takes no other length
	packets []packet
	emptied time.Time // when the kernel's buffer was last known to be empty
}

const (
	readTimeout  = 200 * time.Millisecond
	readBuffer   = 512 << 10
	ethernetLink = 1 // DLT_EN10MB
)

var layout = recordLayout{stamp: int(unsafe.Offsetof(unix.BpfHdr{}.Caplen)), align: unix.BPF_ALIGNMENT}

// allowed says why /dev/bpf cannot be opened at all, or nil.
func allowed() error {
	fd, err := openFree()
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// openFree opens /dev/bpf where it gives each opener a device of its own, else
// the first /dev/bpfN that nobody has.
func openFree() (int, error) {
	const flags = unix.O_RDWR | unix.O_CLOEXEC
	path := "/dev/bpf"
	fd, err := unix.Open(path, flags, 0)
	for n := 0; n < 256 && (err == unix.ENOENT || err == unix.EBUSY || err == unix.ENXIO); n++ {
		path = "/dev/bpf" + strconv.Itoa(n)
		if fd, err = unix.Open(path, flags, 0); err == unix.ENOENT {
			break
		}
	}
	switch err {
	case nil:
		return fd, nil
	case unix.EACCES, unix.EPERM:
		return -1, fmt.Errorf("open %s: not permitted: run it with sudo, or give your user the right to read and write the bpf devices", path)
	case unix.EBUSY:
		return -1, errors.New("every /dev/bpf device is in use: end a program that has one")
	}
	return -1, &os.PathError{Op: "open", Path: path, Err: err}
}

func openDevice(ifi *net.Interface, conf config, filter []insn.RawInstruction, log *slog.Logger, counters *ethernet.Counters) (*device, error) {
	fd, err := openFree()
	if err != nil {
		return nil, err
	}
	d := &device{
		iface: ifi.Name, index: ifi.Index, mtu: ifi.MTU, fd: fd, log: log, counters: counters,
		done: make(chan struct{}), emptied: time.Now(),
	}
	if err := d.configure(conf, filter); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return d, nil
}

func (d *device) configure(conf config, filter []insn.RawInstruction) error {
	if err := d.setBuffer(conf.buffer); err != nil {
		return err
	}
	if err := d.setFilter(filter); err != nil { // before the interface: nothing else gets into the buffer
		return fmt.Errorf("set the filter: %w", err)
	}
	// struct ifreq is 32 bytes, on NetBSD 144; only the name counts.
	var ifreq [144]byte
	copy(ifreq[:unix.IFNAMSIZ-1], d.iface)
	one, link := uint32(1), uint32(0)
	timeout := unix.NsecToTimeval(int64(readTimeout))
	for _, c := range []struct {
		doing string
		req   uintptr
		arg   unsafe.Pointer
	}{
		{"take the interface", unix.BIOCSETIF, unsafe.Pointer(&ifreq)},
		{"ask for its link type", unix.BIOCGDLT, unsafe.Pointer(&link)},
		{"have frames come at once", unix.BIOCIMMEDIATE, unsafe.Pointer(&one)},
		{"send source addresses as they are", unix.BIOCSHDRCMPLT, unsafe.Pointer(&one)},
		{"set the read timeout", unix.BIOCSRTIMEOUT, unsafe.Pointer(&timeout)},
		{"make it promiscuous", unix.BIOCPROMISC, nil},
	} {
		if c.req == unix.BIOCPROMISC && link != ethernetLink {
			return errors.New("it carries no Ethernet frames; name an Ethernet interface or a TAP")
		}
		if err := d.ioctl(c.req, c.arg); err != nil {
			return fmt.Errorf("%s: %w", c.doing, err)
		}
	}
	return nil
}

// setBuffer sets the size of the kernel's buffer: what was asked for, or half
// of it and so on until the system agrees.
func (d *device) setBuffer(size int) error {
	if size == 0 {
		size = readBuffer
	}
	var length uint32
	for ; size >= 4096; size /= 2 {
		length = uint32(size)
		if d.ioctl(unix.BIOCSBLEN, unsafe.Pointer(&length)) == nil {
			break
		}
	}
	if err := d.ioctl(unix.BIOCGBLEN, unsafe.Pointer(&length)); err != nil {
		return fmt.Errorf("ask for the buffer's size: %w", err)
	}
	d.buf = make([]byte, length)
	return nil
}

func (d *device) setFilter(filter []insn.RawInstruction) error {
	insns := make([]unix.BpfInsn, len(filter))
	for i, f := range filter {
		insns[i] = unix.BpfInsn{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	prog := unix.BpfProgram{Len: uint32(len(insns)), Insns: &insns[0]}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return net.ErrClosed
	}
	err := d.ioctl(unix.BIOCSETF, unsafe.Pointer(&prog))
	runtime.KeepAlive(insns)
	return err
}

// ioctl goes by the syscall package, which has the C library's ioctl where
// system calls of one's own are not allowed (OpenBSD, macOS).
func (d *device) ioctl(req uintptr, arg unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(d.fd), req, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// countDropped counts what the kernel has dropped since it was last asked.
func (d *device) countDropped() {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var stat unix.BpfStat
	if d.closed || d.ioctl(unix.BIOCGSTATS, unsafe.Pointer(&stat)) != nil {
		return
	}
	now := uint32(stat.Drop)
	d.counters.Read.Add(ethernet.KernelDrop, int(now-d.lost.Swap(now)))
}

func (d *device) read() ([]packet, time.Time, error) {
	for {
		n, since, err := d.fill()
		switch {
		case err == nil:
			if d.down.Load() && n > 0 {
				d.down.Store(false)
				d.log.Info("interface " + d.iface + " is up")
			}
		case errors.Is(err, net.ErrClosed):
			return nil, since, err
		default:
			if err := d.failed(err); err != nil {
				return nil, since, err
			}
			n = 0
		}
		if packets := d.unpack(d.buf[:n]); len(packets) > 0 {
			return packets, since, nil
		}
	}
}

// fill reads the kernel's buffer once; it gives 0 when readTimeout has passed.
// The time is one before the first packet came in, as late as can be known.
func (d *device) fill() (int, time.Time, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return 0, time.Time{}, net.ErrClosed
	}
	asked := time.Now()
	n, err := unix.Read(d.fd, d.buf)
	if err != nil {
		return 0, asked, err
	}
	n, since := max(n, 0), d.emptied
	if done := time.Now(); done.Sub(asked) > time.Millisecond {
		since = done // it waited, so there was nothing before
	}
	// In immediate mode a read takes all there is, unless a buffer had filled
	// up and another one was begun.
	if n <= len(d.buf)/2 {
		d.emptied = asked
	}
	return n, since, nil
}

// failed judges an error of read(2) or write(2). nil means to go on.
func (d *device) failed(err error) error {
	switch err {
	case unix.EINTR, unix.EAGAIN, unix.ETIMEDOUT, unix.ENOBUFS:
		return nil
	case unix.ENETDOWN, unix.ENXIO, unix.EIO:
	default:
		return fmt.Errorf("bpf device on interface %q: %w", d.iface, err)
	}
	ifi, lookErr := net.InterfaceByName(d.iface)
	if lookErr != nil || ifi.Index != d.index {
		return fmt.Errorf("interface %q is gone: it was removed", d.iface)
	}
	if !d.down.Swap(true) {
		d.log.Warn("interface " + d.iface + " is down; waiting until it is up")
	}
	select {
	case <-time.After(readTimeout):
		return nil
	case <-d.done:
		return net.ErrClosed
	}
}

// unpack makes packets of what one read gave and counts what is none.
func (d *device) unpack(buf []byte) []packet {
	d.packets = d.packets[:0]
	read := &d.counters.Read
	for len(buf) > 0 {
		data, whole, rest, err := layout.next(buf)
		buf = rest
		switch {
		case err != nil:
			read.Add(ethernet.Malformed, 1)
		case !whole || len(data) > ethernet.MaxFrameLen:
			read.Add(ethernet.Oversize, 1)
		case len(data) < ethernet.HeaderLen:
			read.Add(ethernet.Runt, 1)
		default:
			d.packets = append(d.packets, packet{Frame: ethernet.Frame{Data: data}})
		}
	}
	return d.packets
}

// write sends frames. Those that the kernel refuses are counted.
func (d *device) write(frames []ethernet.Frame) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return net.ErrClosed
	}
	drops := &d.counters.Write
	for i := range frames {
		_, err := unix.Write(d.fd, frames[i].Data)
		switch err {
		case nil:
		case unix.ENETDOWN, unix.ENXIO:
			drops.Add(ethernet.InterfaceDown, 1)
		case unix.EMSGSIZE:
			drops.Add(ethernet.Oversize, 1)
		case unix.ENOBUFS, unix.EAGAIN:
			drops.Add(ethernet.QueueFull, 1)
		default:
			drops.Add(ethernet.SendFailed, 1)
		}
	}
	return nil
}

// close ends the reader within readTimeout, and waits for it.
func (d *device) close() error {
	close(d.done)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return unix.Close(d.fd)
}
