package transport

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/mmsg"
	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/spare"
)

const (
	// receiveSlots is how many datagrams one call brings at the most, and
	// joinedSlots how many of them it is asked for while they come joined: what
	// fits the processor's cache.
	receiveSlots = 64
	joinedSlots  = 8
	// slotSize holds the longest datagram, joined or not. A page of it becomes
	// real when a datagram reaches it.
	slotSize = 1 << 16
	// slotStride is from slot to slot: behind each is room for the Slack of the
	// longest datagram, because the next may belong to another link.
	slotStride = slotSize + 4096
)

// receiveBatch is the memory for one recvmmsg(2), or for several where links share
// it.
type receiveBatch struct {
	msgs    [receiveSlots]mmsg.Header
	iovs    [receiveSlots]unix.Iovec
	names   [receiveSlots]sockaddr
	control [receiveSlots]intControl
	data    []byte
	packets [][]byte
	refs    atomic.Int32 // who reads in it, of a shared port
}

// intControl is a control message with a C int or less in it (cmsg(3)).
type intControl struct {
	unix.Cmsghdr
	data [8]byte
}

var receiveBatches = spare.New(func() *receiveBatch {
	b := &receiveBatch{data: make([]byte, receiveSlots*slotStride)}
	for i := range b.msgs {
		b.iovs[i].Base = &b.data[i*slotStride]
		b.iovs[i].SetLen(slotSize)
		m := &b.msgs[i]
		m.Iov = &b.iovs[i]
		m.SetIovlen(1)
		m.Name = &b.names[i][0]
	}
	return b
})

// ready makes some of the slots ready to be received into: the kernel has overwritten
// those that it used.
func (b *receiveBatch) ready(from, n int, joined bool) []mmsg.Header {
	for i := from; i < from+n; i++ {
		m := &b.msgs[i]
		m.Namelen = unix.SizeofSockaddrInet6
		m.Control = nil
		m.SetControllen(0)
		if joined {
			m.Control = (*byte)(unsafe.Pointer(&b.control[i]))
			m.SetControllen(int(unsafe.Sizeof(b.control[i])))
		}
	}
	return b.msgs[from : from+n]
}

// datagrams gives what is in a slot, which is datagrams of a size one behind the
// other where it was joined.
func (b *receiveBatch) datagrams(i int) (data []byte, size int, joined bool) {
	m := &b.msgs[i]
	size, joined = b.control[i].segmentSize(m)
	if !joined {
		size = int(m.Len)
	}
	return b.data[i*slotStride:][:min(int(m.Len), slotSize)], size, joined
}

// pace is how many datagrams to ask for at once, by what came before.
type pace struct {
	slots int
	// waited: nothing was there when it was asked last. A lone datagram that
	// comes then is not likely to have company.
	waited bool
}

// came takes up that of the slots asked for n are filled.
func (p *pace) came(n, asked int, joined bool) {
	switch {
	case n == 1 && p.waited && !joined:
		p.slots = 1
	case n < asked || joined || p.slots == 1:
		p.slots = joinedSlots
	default: // without joined datagrams many small ones are the better batch
		p.slots = receiveSlots
	}
	p.waited = false
}

type receiver struct {
	pace
	u     *UDP
	batch *receiveBatch // nil while there is nothing to receive
	last  sockaddr      // whose datagrams were let in last
	zones zoneCache
	try   func(fd uintptr) bool
	n     int
	errno syscall.Errno

	share share       // of a shared port, that the packets given last are in
	list  *packetList // that they are listed in
}

func (r *receiver) init(u *UDP) {
	*r = receiver{u: u, pace: pace{slots: joinedSlots}}
	r.try = r.call
}

// call receives what waits at the socket, and says no to the poller if that is
// nothing.
func (r *receiver) call(fd uintptr) bool {
	if r.batch == nil {
		r.batch = receiveBatches.Take()
	}
	r.n, r.errno = mmsg.Receive(fd, r.batch.ready(0, r.slots, r.u.joined), 0)
	switch r.errno {
	case 0:
		return true
	case unix.EAGAIN:
		r.waited = true
	default:
		r.u.readErrors(fd)
	}
	r.rest()
	return r.errno != unix.EAGAIN
}

// rest gives back the memory.
func (r *receiver) rest() {
	if r.batch != nil {
		receiveBatches.Give(r.batch)
		r.batch = nil
	}
}

// receive waits for datagrams and gives those that count, perhaps none.
func (r *receiver) receive() ([][]byte, error) {
	if m := r.u.shared.Load(); m != nil {
		return r.receiveShare(m)
	}
	r.u.receiving.Lock()
	defer r.u.receiving.Unlock()
	if r.u.shared.Load() != nil {
		return nil, nil
	}
	err := r.u.raw.Read(r.try)
	switch {
	case errors.Is(err, net.ErrClosed):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.u.woken()
		return nil, nil
	case err != nil:
		// The poller has an error alone to report, as while the send buffer is
		// full, and does not wait for this socket until it has something else.
		r.u.raw.Control(func(fd uintptr) { r.u.readErrors(fd) })
		time.Sleep(10 * time.Millisecond)
		return nil, nil
	}
	if r.errno != 0 {
		if passing(r.errno) {
			return nil, nil
		}
		return nil, r.errno
	}
	b := r.batch
	var joined bool
	b.packets, joined = r.take(b, 1<<r.n-1, b.packets[:0])
	r.came(r.n, r.slots, joined)
	return b.packets, nil
}

// take appends to packets what counts in some slots of a batch, a bit for each, and
// says whether some of it was joined.
func (r *receiver) take(b *receiveBatch, slots uint64, packets [][]byte) (_ [][]byte, joined bool) {
	for ; slots != 0; slots &= slots - 1 {
		i := bits.TrailingZeros64(slots)
		m := &b.msgs[i]
		if m.Len == 0 {
			r.u.config.Counters.Read.Add(ethernet.Runt, 1)
			continue
		}
		data, size, some := b.datagrams(i)
		joined = joined || some
		if b.names[i] != r.last {
			if !r.u.admits(b.names[i].parse(&r.zones), data, size) {
				continue
			}
			r.last = b.names[i]
		}
		packets = r.split(packets, data, size, m.Flags&unix.MSG_TRUNC != 0)
	}
	return packets, joined
}

// passing says of an error that the socket is as good as before, and the error
// taken off it: what ICMP said of a datagram that was sent, or a short memory.
func passing(errno syscall.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.EACCES,
		unix.ENOPROTOOPT, unix.EPROTO, unix.EMSGSIZE, unix.ENOBUFS, unix.ENOMEM, unix.EOPNOTSUPP:
		return true
	}
	return false
}

// split appends the datagrams that were joined to one, which are of one size but for
// the last, or the only one.
func (r *receiver) split(packets [][]byte, data []byte, size int, cut bool) [][]byte {
	for len(data) > 0 {
		n := min(size, len(data))
		if n > r.u.config.MaxPacket || cut && n == len(data) {
			r.u.dropOversize(n, r.u.config.MaxPacket)
		} else {
			packets = append(packets, data[:n:n+datachannel.Slack])
		}
		data = data[n:]
	}
	return packets
}

// segmentSize is the size of the datagrams that were joined to a message, if
// there are several.
func (c *intControl) segmentSize(m *mmsg.Header) (int, bool) {
	if m.Controllen < unix.SizeofCmsghdr+4 || c.Level != unix.IPPROTO_UDP || c.Type != unix.UDP_GRO {
		return 0, false
	}
	size := int(int32(binary.NativeEndian.Uint32(c.data[:])))
	return size, size > 0 && size < int(m.Len)
}
