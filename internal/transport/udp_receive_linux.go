package transport

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
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
)

// receiveBatch is the memory for one recvmmsg(2).
type receiveBatch struct {
	msgs    [receiveSlots]mmsg.Header
	iovs    [receiveSlots]unix.Iovec
	names   [receiveSlots]sockaddr
	control [receiveSlots]intControl
	data    []byte
	packets [][]byte
}

// intControl is a control message with a C int or less in it (cmsg(3)).
type intControl struct {
	unix.Cmsghdr
	data [8]byte
}

var receiveBatches = spare.New(func() *receiveBatch {
	b := &receiveBatch{data: make([]byte, receiveSlots*slotSize+datachannel.Slack)}
	for i := range b.msgs {
		b.iovs[i].Base = &b.data[i*slotSize]
		b.iovs[i].SetLen(slotSize)
		m := &b.msgs[i]
		m.Iov = &b.iovs[i]
		m.SetIovlen(1)
		m.Name = &b.names[i][0]
	}
	return b
})

type receiver struct {
	u     *UDP
	batch *receiveBatch // nil while there is nothing to receive
	slots int           // how many datagrams to ask for
	// waited: nothing was there when it was asked last. A lone datagram that
	// comes then is not likely to have company.
	waited bool
	last   sockaddr // whose datagrams were let in last
	zones  zoneCache
	try    func(fd uintptr) bool
	n      int
	errno  syscall.Errno
}

func (r *receiver) init(u *UDP) {
	*r = receiver{u: u, slots: joinedSlots}
	r.try = r.call
}

// call receives what waits at the socket, and says no to the poller if that is
// nothing.
func (r *receiver) call(fd uintptr) bool {
	if r.batch == nil {
		r.batch = receiveBatches.Take()
	}
	b := r.batch
	for i := range b.msgs[:r.slots] { // the kernel has overwritten those that it used
		m := &b.msgs[i]
		m.Namelen = unix.SizeofSockaddrInet6
		m.Control = nil
		m.SetControllen(0)
		if r.u.joined {
			m.Control = (*byte)(unsafe.Pointer(&b.control[i]))
			m.SetControllen(int(unsafe.Sizeof(b.control[i])))
		}
	}
	r.n, r.errno = mmsg.Receive(fd, b.msgs[:r.slots], 0)
	switch r.errno {
	case 0:
		return true
	case unix.EAGAIN:
		r.waited = true
	default:
		r.u.readErrors(fd)
	}
	receiveBatches.Give(b)
	r.batch = nil
	return r.errno != unix.EAGAIN
}

// receive waits for datagrams and gives those that count, perhaps none.
func (r *receiver) receive() ([][]byte, error) {
	if err := r.u.raw.Read(r.try); errors.Is(err, net.ErrClosed) {
		return nil, err
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		r.u.conn.SetReadDeadline(time.Time{})
		return nil, ErrInterrupted
	} else if err != nil {
		// The poller has an error alone to report, as while the send buffer is
		// full, and does not wait for this socket until it has something else.
		r.u.raw.Control(r.u.readErrors)
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
	b.packets = b.packets[:0]
	joined := false
	for i := range b.msgs[:r.n] {
		m := &b.msgs[i]
		if m.Len == 0 {
			r.u.config.Counters.Read.Add(ethernet.Runt, 1)
			continue
		}
		size := int(m.Len)
		if s, ok := b.control[i].segmentSize(m); ok {
			size, joined = s, true
		}
		data := b.data[i*slotSize:][:min(int(m.Len), slotSize)]
		if b.names[i] != r.last {
			if !r.u.admits(b.names[i].parse(&r.zones), data, size) {
				continue
			}
			r.last = b.names[i]
		}
		r.split(data, size, m.Flags&unix.MSG_TRUNC != 0)
	}
	switch {
	case r.n == 1 && r.waited && !joined:
		r.slots = 1
	case r.n < r.slots || joined || r.slots == 1:
		r.slots = joinedSlots
	default: // without joined datagrams many small ones are the better batch
		r.slots = receiveSlots
	}
	r.waited = false
	return b.packets, nil
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

// split takes up the datagrams that were joined to one, which are of one size but
// for the last, or the only one.
func (r *receiver) split(data []byte, size int, cut bool) {
	b := r.batch
	for len(data) > 0 {
		n := min(size, len(data))
		if n > r.u.config.MaxPacket || cut && n == len(data) {
			r.u.dropOversize(n, r.u.config.MaxPacket)
		} else {
			b.packets = append(b.packets, data[:n:n+datachannel.Slack])
		}
		data = data[n:]
	}
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
