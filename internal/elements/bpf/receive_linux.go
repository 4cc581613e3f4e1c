package bpf

import (
	"encoding/binary"
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/mmsg"
	"tmelink/internal/spare"
)

var nativeEndian = binary.NativeEndian

// receiveSlots is how many frames one system call brings at most. Their memory
// is 2 MiB, of which a page becomes real when a frame reaches it.
const receiveSlots = 32

// slotSize holds the longest frame, and in front of it the room that its
// address pair moves into when a VLAN tag is put back.
const slotSize = (ethernet.VLANLen + ethernet.MaxFrameLen + 63) / 64 * 64

// receiver is what a reader needs for its system calls.
type receiver struct {
	batch *receiveBatch // nil while there is nothing to receive

	call  func(fd uintptr) bool // made once, so that reading does not allocate
	n     int                   // of the last call
	errno unix.Errno
	// woken: the last call was made because the poller said that something came.
	woken bool
	// since is a time before the frames of the last call came in, and emptied
	// when the queue was last known to be empty.
	since, emptied time.Time
}

// receiveBatch is the memory for one recvmmsg(2).
type receiveBatch struct {
	msgs    [receiveSlots]mmsg.Header
	slots   [receiveSlots]receiveSlot
	packets [receiveSlots]packet
}

type receiveSlot struct {
	virtio  [ethernet.VirtioLen]byte
	from    unix.RawSockaddrLinklayer
	control [64]byte // one PACKET_AUXDATA message takes 40
	iov     [2]unix.Iovec
	data    []byte // slotSize long
}

// receiveBatches are those that no device holds. A device takes one when there is
// something to receive and gives it back when its queue is empty.
var receiveBatches = spare.New(func() *receiveBatch {
	b := new(receiveBatch)
	arena := make([]byte, receiveSlots*slotSize)
	for i := range b.slots {
		s, m := &b.slots[i], &b.msgs[i]
		s.data = arena[i*slotSize : (i+1)*slotSize : (i+1)*slotSize]
		s.iov[0].Base = &s.virtio[0]
		s.iov[0].SetLen(len(s.virtio))
		s.iov[1].Base = &s.data[ethernet.VLANLen]
		s.iov[1].SetLen(ethernet.MaxFrameLen)
		m.Iov = &s.iov[0]
		m.SetIovlen(len(s.iov))
		m.Name = (*byte)(unsafe.Pointer(&s.from))
		m.Control = &s.control[0]
	}
	return b
})

func (r *receiver) init() {
	r.call = r.receive
	r.emptied = time.Now()
}

// receive takes up to receiveSlots frames out of the queue. It returns false
// when there is none, for the poller to wait.
func (r *receiver) receive(fd uintptr) bool {
	if r.batch == nil {
		r.batch = receiveBatches.Take()
	}
	b := r.batch
	for i := range b.msgs { // the kernel has overwritten those that it used
		m := &b.msgs[i]
		m.Namelen = unix.SizeofSockaddrLinklayer
		m.SetControllen(len(b.slots[i].control))
		m.Flags = 0
	}
	asked := time.Now()
	r.n, r.errno = mmsg.Receive(fd, b.msgs[:], unix.MSG_TRUNC)
	switch r.errno {
	case unix.EAGAIN:
		r.emptied, r.woken = asked, true
		r.n, r.errno = 0, 0
		receiveBatches.Give(b)
		r.batch = nil
		return false
	case 0:
		r.since = r.emptied
		if r.woken {
			r.since = asked
		}
		if r.n < receiveSlots {
			r.emptied = asked
		}
	}
	return true
}

// read waits for packets. The time is one before the first of them came in, as
// late as can be known.
func (d *device) read() ([]packet, time.Time, error) {
	r := &d.rx
	for {
		r.n, r.woken = 0, false
		err := d.raw.Read(r.call)
		switch {
		case d.closed.Load():
			return nil, time.Time{}, d.lost(err)
		case err == nil:
			err = d.failed(r.errno)
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = d.look()
		default:
			// The poller has an error alone to report, as when the
			// interface goes down while the send buffer is full, and does
			// not wait for this socket until it has something else.
			time.Sleep(10 * time.Millisecond)
			err = d.look()
		}
		if err != nil {
			return nil, time.Time{}, err
		}
		if r.n == receiveSlots { // only who lags loses frames
			d.countDropped()
		}
		if r.n > 0 {
			if packets := d.unpack(r.n); len(packets) > 0 {
				return packets, r.since, nil
			}
		}
	}
}

// failed judges the error of a system call on the reading side.
func (d *device) failed(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		return d.look()
	case unix.EINVAL:
		// A kind of super-frame for which the kernel's header has no word
		// (before Linux 6.2 one of UDP). It is out of the queue.
		d.counters.Read.Add(ethernet.KernelDrop, 1)
		return nil
	case unix.ENOBUFS, unix.ENOMEM:
		return nil
	}
	return d.lost(errno)
}

// unpack makes packets of the first n slots and counts those that are none.
func (d *device) unpack(n int) []packet {
	b := d.rx.batch
	packets := b.packets[:0]
	for i := range n {
		m, s := &b.msgs[i], &b.slots[i]
		length := int(m.Len) - ethernet.VirtioLen
		switch {
		case length < ethernet.HeaderLen:
			d.counters.Read.Add(ethernet.Runt, 1)
			continue
		case length > ethernet.MaxFrameLen || m.Flags&unix.MSG_TRUNC != 0:
			d.counters.Read.Add(ethernet.Oversize, 1)
			continue
		}
		data, shift := restore(tagOf(s.control[:m.Controllen]), s.data[:ethernet.VLANLen+length])
		f, ok := ethernet.ParseVirtio(s.virtio[:], data, shift)
		switch {
		case !ok:
			d.counters.Read.Add(ethernet.Malformed, 1)
		case len(f.Data) > ethernet.MaxFrameLen:
			d.counters.Read.Add(ethernet.Oversize, 1)
		default:
			packets = append(packets, packet{Frame: f, outgoing: s.from.Pkttype == unix.PACKET_OUTGOING})
		}
	}
	return packets
}

// tagOf gives the VLAN tag that a PACKET_AUXDATA control message holds, as the
// four bytes that stand in a frame; 0 where there is none.
func tagOf(control []byte) uint32 {
	const size = int(unsafe.Sizeof(unix.TpacketAuxdata{}))
	head := unix.CmsgLen(0)
	if len(control) < head+size {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if h.Level != unix.SOL_PACKET || h.Type != unix.PACKET_AUXDATA || int(h.Len) < head+size {
		return 0
	}
	aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&control[head]))
	if aux.Status&unix.TP_STATUS_VLAN_VALID == 0 {
		return 0
	}
	proto := uint32(ethernet.TypeVLAN)
	if aux.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		proto = uint32(aux.Vlan_tpid)
	}
	return proto<<16 | uint32(aux.Vlan_tci)
}
