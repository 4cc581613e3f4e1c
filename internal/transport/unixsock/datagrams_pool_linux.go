package unixsock

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/mmsg"
	"tmelink/internal/spare"
)

// inbox is the memory for recvmmsg: slots of one size, each with its header.
type inbox struct {
	class  *class
	msgs   []mmsg.Header
	iovs   []unix.Iovec
	names  []unix.RawSockaddrUnix
	frames []ethernet.Frame
	data   []byte
	used   int // slots into which the kernel has written
}

// class is the inboxes of one slot size. The slots of the first hold together
// what the send buffer of one peer does, about 90 frames.
type class struct {
	slot, slots int
	inboxes     *spare.List[inbox] // that no socket holds
}

var classes = [...]*class{
	newClass(2<<10, 64),
	newClass(16<<10, 32),
	newClass((ethernet.MaxFrameLen+63)/64*64, 8),
}

func newClass(slot, slots int) *class {
	c := &class{slot: slot, slots: slots}
	c.inboxes = spare.New(c.make)
	return c
}

// takeInbox lends an inbox whose slots hold frames of a length.
func takeInbox(frame int) *inbox {
	for _, c := range classes {
		if frame <= c.slot {
			return c.inboxes.Take()
		}
	}
	return classes[len(classes)-1].inboxes.Take()
}

func (c *class) make() *inbox {
	in := &inbox{
		class: c, msgs: make([]mmsg.Header, c.slots), iovs: make([]unix.Iovec, c.slots),
		names: make([]unix.RawSockaddrUnix, c.slots), frames: make([]ethernet.Frame, c.slots),
		data: make([]byte, c.slot*c.slots), used: c.slots,
	}
	for i := range in.msgs {
		in.iovs[i].Base = &in.data[i*c.slot]
		in.iovs[i].SetLen(c.slot)
		m := &in.msgs[i]
		m.Iov = &in.iovs[i]
		m.SetIovlen(1)
		m.Name = (*byte)(unsafe.Pointer(&in.names[i]))
	}
	return in
}

// reset makes ready for another call.
func (in *inbox) reset() {
	for i := range in.msgs[:in.used] {
		in.msgs[i].Namelen = unix.SizeofSockaddrUnix
		in.msgs[i].Flags = 0
	}
	in.used = 0
}

func (in *inbox) slot(i int) []byte {
	return in.data[i*in.class.slot : (i+1)*in.class.slot]
}

// sender is the path of who sent a datagram, empty where there is none.
func (in *inbox) sender(i int) []byte {
	const head = unsafe.Offsetof(unix.RawSockaddrUnix{}.Path)
	n := min(uintptr(in.msgs[i].Namelen), unix.SizeofSockaddrUnix)
	if n <= head {
		return nil
	}
	path := unsafe.Slice((*byte)(unsafe.Pointer(&in.names[i].Path)), n-head)
	for i, b := range path {
		if b == 0 && i > 0 { // a 0 in front is an abstract name
			return path[:i]
		}
	}
	return path
}

func (in *inbox) release() { in.class.inboxes.Give(in) }

// sendBatch is how many datagrams one call sends at most.
const sendBatch = 64

// outbox is a batch for sendmmsg: each frame and what fills it up.
type outbox struct {
	msgs    [sendBatch]mmsg.Header
	iovs    [sendBatch][2]unix.Iovec
	next, n int // of msgs: the first that has not gone, the number of all
}

var outboxes = spare.New(func() *outbox {
	o := new(outbox)
	for i := range o.msgs {
		o.msgs[i].Iov = &o.iovs[i][0]
		o.iovs[i][1].Base = &zeros[0]
	}
	return o
})

var zeros [ethernet.MinFrame]byte

// set takes up frames, at most sendBatch, to be filled up to a length, for a peer;
// nil: the one that the socket is connected to.
func (o *outbox) set(frames []ethernet.Frame, least int, to *peer) {
	o.next, o.n = 0, len(frames)
	for i := range frames {
		m, data, length := &o.msgs[i], &o.iovs[i][0], len(frames[i].Data)
		data.Base = unsafe.SliceData(frames[i].Data)
		data.SetLen(length)
		m.SetIovlen(1)
		if length < least {
			o.iovs[i][1].SetLen(least - length)
			m.SetIovlen(2)
		}
		m.Name, m.Namelen = nil, 0
		if to != nil {
			m.Name, m.Namelen = (*byte)(unsafe.Pointer(&to.addr)), to.len
		}
	}
}

// release gives the frames back to their owner.
func (o *outbox) release() {
	for i := range o.n {
		o.iovs[i][0].Base, o.msgs[i].Name = nil, nil
	}
	outboxes.Give(o)
}
