package tap

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// writer is the writing side of the port. It joins what it can to super-frames:
// the kernel's way through its IP stack costs about the same for one as for a
// single frame. Each is written from where its pieces lie (writev).
type writer struct {
	port    *port
	joins   ethernet.Offloads // super-frames that the kernel has not refused
	join    ethernet.Coalescer
	header  [ethernet.VirtioLen]byte
	iovs    []unix.Iovec
	flushFn func(fd uintptr) bool // flush, made once: a fresh one would be an allocation

	batch []ethernet.Frame // what flush has still to write
	err   error
}

func (w *writer) init(p *port) {
	*w = writer{port: p, joins: p.takes, iovs: make([]unix.Iovec, 0, 128)}
	w.flushFn = w.flush
}

// WriteFrames hands frames to the host.
func (p *port) WriteFrames(frames []ethernet.Frame) error {
	queues := p.queues.Load()
	if p.closed.Load() || queues == nil {
		return net.ErrClosed
	}
	w := &p.out
	w.err = nil
	for len(frames) > 0 {
		q := (*queues)[0]
		n := len(frames)
		if len(*queues) > 1 {
			var i int
			i, n = sameQueue(frames, len(*queues))
			q = (*queues)[i]
		}
		w.batch, frames = frames[:n], frames[n:]
		err := q.raw.Write(w.flushFn)
		w.batch = nil
		if err == nil {
			err = w.err
		}
		if err != nil {
			return p.ended(err)
		}
	}
	return nil
}

// sameQueue gives the queue of the first frame, and how many frames in a row go
// by it.
func sameQueue(frames []ethernet.Frame, queues int) (queue, n int) {
	queue = flowQueue(frames[0].Data, queues)
	for n = 1; n < len(frames) && flowQueue(frames[n].Data, queues) == queue; n++ {
	}
	return queue, n
}

// flowQueue is the queue of a flow, by its addresses and ports: whoever writes a
// flow by a queue is sent the flow's other direction by the same one
// (tun_automq_select_queue in drivers/net/tun.c).
func flowQueue(frame []byte, queues int) int {
	h := mix(2166136261, frame[:12])
	if header, err := ethernet.ParseHeader(frame); err == nil {
		ip := frame[header.Len:]
		switch {
		case header.Type == ethernet.TypeIPv4 && len(ip) >= 24 && ip[6]&0x3f|ip[7] == 0: // no fragment
			h = mix(h, ip[12:24])
		case header.Type == ethernet.TypeIPv4 && len(ip) >= 20:
			h = mix(h, ip[12:20])
		case header.Type == ethernet.TypeIPv6 && len(ip) >= 44 && (ip[6] == unix.IPPROTO_TCP || ip[6] == unix.IPPROTO_UDP):
			h = mix(h, ip[8:44])
		case header.Type == ethernet.TypeIPv6 && len(ip) >= 40: // a fragment, say
			h = mix(h, ip[8:40])
		}
	}
	return int(h>>16) % queues
}

// mix goes on with an FNV-1a hash.
func mix(h uint32, data []byte) uint32 {
	for _, b := range data {
		h = (h ^ uint32(b)) * 16777619
	}
	return h
}

// flush writes the batch until all is written or the device takes no more, which
// it says to the poller.
func (w *writer) flush(fd uintptr) bool {
	drops := &w.port.counters.Write
	for len(w.batch) > 0 {
		if reason, bad := w.port.misfit(&w.batch[0]); bad {
			drops.Add(reason, 1)
			w.batch = w.batch[1:]
			continue
		}
		f, payload, n := w.join.Join(w.batch, w.joins)
		switch errno := w.write(fd, &f, payload); errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case unix.EBADFD:
			w.err = errno
			return true
		case unix.EINVAL:
			if n > 1 {
				w.refused(f.Needs)
				continue
			}
			fallthrough
		default:
			drops.Add(dropReason(errno), n)
		}
		w.batch = w.batch[n:]
	}
	return true
}

// refused gives up a kind of super-frame that the kernel does not take; its
// frames are written one by one. Some kernels refuse those that are put together
// in user space (Linux commit e269d79c7d35 and its backports).
func (w *writer) refused(needs ethernet.Offloads) {
	w.joins &^= needs & ethernet.Segmentation
	w.port.log.Info("the kernel refuses super-frames; frames are written one by one", "interface", w.port.name)
}

// write writes a frame, whose headers payload may follow.
func (w *writer) write(fd uintptr, f *ethernet.Frame, payload [][]byte) syscall.Errno {
	if w.port.header == 0 {
		_, errno := transfer(unix.SYS_WRITE, fd, f.Data)
		return errno
	}
	f.PutVirtio(w.header[:])
	w.iovs = appendIovec(appendIovec(w.iovs[:0], w.header[:]), f.Data)
	for _, p := range payload {
		w.iovs = appendIovec(w.iovs, p)
	}
	_, _, errno := syscall.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.iovs[0])), uintptr(len(w.iovs)))
	return errno
}

func appendIovec(iovs []unix.Iovec, b []byte) []unix.Iovec {
	iovs = append(iovs, unix.Iovec{Base: unsafe.SliceData(b)})
	iovs[len(iovs)-1].SetLen(len(b))
	return iovs
}

// misfit says of a frame that the interface must not be handed.
func (p *port) misfit(f *ethernet.Frame) (ethernet.Reason, bool) {
	switch {
	case len(f.Data) < ethernet.HeaderLen:
		return ethernet.Runt, true
	case len(f.Data) > p.maxFrame && f.Needs&ethernet.Segmentation == 0:
		return ethernet.Oversize, true
	}
	return 0, false
}
