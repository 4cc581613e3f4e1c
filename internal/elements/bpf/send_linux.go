package bpf

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// sendSlots is how many frames one system call sends at most.
const sendSlots = 64

// sender is what a writer needs for its system calls, all of it reused.
type sender struct {
	msgs [sendSlots]mmsghdr
	iovs [sendSlots][2]unix.Iovec
	vnet [vnetLen]byte // zero: every frame is finished

	call  func(fd uintptr) bool
	msg   []mmsghdr // what the next call sends
	n     int       // of the last call
	errno unix.Errno
}

func (t *sender) init() {
	for i := range t.msgs {
		t.iovs[i][0].Base = &t.vnet[0]
		t.iovs[i][0].SetLen(len(t.vnet))
		t.msgs[i].Iov = &t.iovs[i][0]
		t.msgs[i].SetIovlen(2)
	}
	t.call = t.send
}

// send sends some of t.msg. It returns false when the socket's buffer is full,
// for the poller to wait.
func (t *sender) send(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&t.msg[0])), uintptr(len(t.msg)),
			unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case 0:
			t.n, t.errno = int(n), 0
		default:
			t.n, t.errno = 0, errno
		}
		return true
	}
}

// write sends frames. Those that the kernel refuses are counted.
func (d *device) write(frames []ethernet.Frame) error {
	t := &d.tx
	for len(frames) > 0 {
		batch := frames[:min(len(frames), sendSlots)]
		frames = frames[len(batch):]
		for i := range batch {
			t.iovs[i][1].Base = unsafe.SliceData(batch[i].Data)
			t.iovs[i][1].SetLen(len(batch[i].Data))
		}
		t.msg = t.msgs[:len(batch)]
		for len(t.msg) > 0 {
			err := d.raw.Write(t.call)
			if d.closed.Load() {
				return net.ErrClosed
			}
			if err != nil {
				return d.lost(err)
			}
			t.msg = t.msg[t.n:]
			if t.errno == 0 {
				continue
			}
			d.refused(t.errno)
			t.msg = t.msg[1:]
		}
	}
	return nil
}

// refused counts a frame that the kernel did not send. What is wrong with the
// interface, the reader is told: packet_snd of net/packet/af_packet.c looks at
// the interface before it takes the socket's error.
func (d *device) refused(errno unix.Errno) {
	drops := &d.counters.Write
	switch errno {
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		drops.Add(ethernet.InterfaceDown, 1)
	case unix.EMSGSIZE:
		drops.Add(ethernet.Oversize, 1)
	case unix.ENOBUFS:
		drops.Add(ethernet.QueueFull, 1)
	default:
		drops.Add(ethernet.SendFailed, 1)
	}
}
