package bpf

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/mmsg"
	"tmelink/internal/spare"
)

const (
	sendSlots  = 64   // frames or super-frames in one call
	sendPieces = 1024 // of memory in one call
)

// sendBatch is the memory for one sendmmsg(2). What can be joined to a
// super-frame is: the kernel's way out costs about the same for one as for a
// single frame.
type sendBatch struct {
	msgs   [sendSlots]mmsg.Header
	iovs   [sendPieces]unix.Iovec
	virtio [sendSlots][ethernet.VirtioLen]byte
	joins  [sendSlots]ethernet.Coalescer
	counts [sendSlots]int // frames in each message
	first  [sendSlots]int // the first of them among those given
	kinds  [sendSlots]ethernet.Offloads
}

var sendBatches = spare.New(func() *sendBatch { return new(sendBatch) })

// sender is what a writer needs for its system calls.
type sender struct {
	joins ethernet.Offloads // super-frames that the kernel has not refused
	call  func(fd uintptr) bool
	msgs  []mmsg.Header // what the next call sends
	n     int           // of the last call
	errno unix.Errno
}

func (t *sender) init() {
	t.joins = offloads
	t.call = t.send
}

// send sends some of t.msgs. It returns false when the socket's buffer is full,
// for the poller to wait.
func (t *sender) send(fd uintptr) bool {
	t.n, t.errno = mmsg.Send(fd, t.msgs, 0)
	return t.errno != unix.EAGAIN
}

// write sends frames. Those that the kernel refuses are counted.
func (d *device) write(frames []ethernet.Frame) error {
	b := sendBatches.Take()
	defer sendBatches.Give(b)
	for len(frames) > 0 {
		messages, pieces, taken := d.tx.fill(b, frames)
		sent, err := d.sendAll(b, messages)
		clear(b.iovs[:pieces]) // the frames are the caller's again
		if err != nil {
			return err
		}
		if sent < messages {
			taken = b.first[sent]
		}
		frames = frames[taken:]
	}
	return nil
}

// fill makes messages of frames, as many as there is room for, and says of how
// many frames, in how many pieces of memory.
func (t *sender) fill(b *sendBatch, frames []ethernet.Frame) (messages, pieces, taken int) {
	const most = 66 // pieces of one super-frame: virtio header, headers, and 64 payloads
	for taken < len(frames) && messages < sendSlots && pieces+most <= sendPieces {
		f, payload, n := b.joins[messages].Join(frames[taken:], t.joins)
		f.PutVirtio(b.virtio[messages][:])
		m := &b.msgs[messages]
		m.Iov = &b.iovs[pieces]
		m.SetIovlen(2 + len(payload))
		pieces += put(b.iovs[pieces:], b.virtio[messages][:])
		pieces += put(b.iovs[pieces:], f.Data)
		for _, p := range payload {
			pieces += put(b.iovs[pieces:], p)
		}
		b.counts[messages], b.first[messages], b.kinds[messages] = n, taken, f.Needs
		messages++
		taken += n
	}
	return messages, pieces, taken
}

func put(iovs []unix.Iovec, data []byte) int {
	iovs[0].Base = unsafe.SliceData(data)
	iovs[0].SetLen(len(data))
	return 1
}

// sendAll sends messages until all are gone or refused, or until the kernel
// refuses one that has been joined, and says of how many that is. The frames of
// that one and all behind have to be sent once more.
func (d *device) sendAll(b *sendBatch, messages int) (sent int, err error) {
	t := &d.tx
	for sent < messages {
		t.msgs = b.msgs[sent:messages]
		err := d.raw.Write(t.call)
		t.msgs = nil
		if d.closed.Load() {
			return sent, net.ErrClosed
		}
		if err != nil {
			return sent, d.lost(err)
		}
		sent += t.n
		if t.errno == 0 {
			continue
		}
		if t.errno == unix.EINVAL && b.counts[sent] > 1 {
			t.joins &^= b.kinds[sent] & ethernet.Segmentation
			d.log.Info("the kernel refuses super-frames; frames are sent one by one", "interface", d.iface)
			return sent, nil
		}
		d.refused(t.errno, b.counts[sent])
		sent++
	}
	return sent, nil
}

// refused counts n frames that the kernel did not send. What is wrong with the
// interface, the reader is told: packet_snd of net/packet/af_packet.c looks at
// the interface before it takes the socket's error.
func (d *device) refused(errno unix.Errno, n int) {
	drops := &d.counters.Write
	switch errno {
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		drops.Add(ethernet.InterfaceDown, n)
	case unix.EMSGSIZE:
		drops.Add(ethernet.Oversize, n)
	case unix.ENOBUFS:
		drops.Add(ethernet.QueueFull, n)
	default:
		drops.Add(ethernet.SendFailed, n)
	}
}
