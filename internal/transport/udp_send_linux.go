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

	"tmelink/internal/mmsg"
	"tmelink/internal/spare"
)

const (
	sendSlots  = 64   // messages in one call
	sendPieces = 1024 // of memory in one call
	// maxSegments is how many datagrams one message may become: Linux takes 128
	// from 6.9 on and 64 before (UDP_MAX_SEGMENTS).
	maxSegments = 64
	// maxDatagram is the most that one message carries: what an IPv4 packet does.
	maxDatagram = 65507
)

// sendBatch is the memory for one sendmmsg(2).
type sendBatch struct {
	msgs    [sendSlots]mmsg.Header
	iovs    [sendPieces]unix.Iovec
	control [sendSlots]intControl
	counts  [sendSlots]int // packets in each message
	first   [sendSlots]int // the first of them among those given
}

var sendBatches = spare.New(func() *sendBatch {
	b := new(sendBatch)
	for i := range b.control {
		c := &b.control[i]
		c.Level, c.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
	}
	return b
})

type sender struct {
	u   *UDP
	try func(fd uintptr) bool

	// What goes in groups: packets up to a size; none while it is 0. It is
	// tried again after a while, because the way of the packets may change.
	groupSize  int
	groupAgain time.Time

	peer    *udpPeer // of the batch
	batch   *sendBatch
	n, done int // messages filled, gone
	pieces  int // in the fullest batch
	retries int // of the message that comes next
	sent    int // packets
	refused refusal
}

// groupAfter is how long after the kernel has refused a group of some size it is
// asked again. It forgets a path's MTU after ten minutes (ip_rt_mtu_expires).
const groupAfter = time.Minute

func (s *sender) init(u *UDP) {
	*s = sender{u: u, groupSize: maxDatagram}
	if u.config.Plain {
		s.groupSize = 0
	}
	s.try = s.call
}

// call sends the messages of the batch until all are gone, or the socket takes no
// more, which it says to the poller, or it refuses a group.
func (s *sender) call(fd uintptr) bool {
	b := s.batch
	for s.done < s.n {
		n, errno := mmsg.Send(fd, b.msgs[s.done:s.n], 0)
		for _, packets := range b.counts[s.done : s.done+n] {
			s.sent += packets
		}
		s.done += n
		switch { // errors concern the first message only
		case errno == 0:
			s.retries = 0
			if s.done < s.n {
				// What stopped the call may be an error of an earlier datagram,
				// of which the kernel tells nobody any more (__sys_sendmmsg).
				s.u.readErrors(fd)
			}
		case errno == unix.EAGAIN:
			return false
		case errno == unix.EDESTADDRREQ && b.msgs[s.done].Name == nil:
			s.address() // the port is shared from now on
		case passing(errno) && errno != unix.ENOBUFS && s.again(fd):
		case b.counts[s.done] > 1 && s.ungroup(errno):
			if errno == unix.EMSGSIZE {
				s.u.askPathMTU(fd)
			}
			return true
		default:
			// ENOBUFS: a queue on the way out was full, and part of a group may
			// have found room; to send it again would double that.
			s.refused.note(s.u.config.Discovery, errno, b.counts[s.done], int(b.msgs[s.done].Iov.Len))
			s.done++
			s.retries = 0
		}
	}
	return true
}

// maxRetries is how often a message is sent again, each time for another error than
// its own: others send through a shared socket to peers that may all be away.
const maxRetries = 16

// again takes off the socket what may be errors of earlier datagrams, of which one has
// kept the next message from being sent: EMSGSIZE too is what ICMP says of one that
// was too long. It says whether the message should be sent again.
func (s *sender) again(fd uintptr) bool {
	others := s.u.readErrors(fd) > 0
	s.retries++
	return s.retries == 1 || others && s.retries <= maxRetries
}

// address writes the peer's name on the messages that are still to be sent.
func (s *sender) address() {
	for i := range s.batch.msgs[s.done:s.n] {
		m := &s.batch.msgs[s.done+i]
		m.Name, m.Namelen = &s.peer.name[0], s.peer.len
	}
}

// ungroup looks at why the kernel refuses a group, and says whether its packets
// should be sent again by themselves.
func (s *sender) ungroup(errno syscall.Errno) bool {
	switch errno {
	case unix.EMSGSIZE, unix.EINVAL:
		// Longer than the path's MTU: such packets are sent in fragments, which
		// groups cannot be.
		s.groupSize = s.size() - 1
	case unix.EIO, unix.EOPNOTSUPP:
		// The device cannot add checksums, or the way has IPsec on it
		// (udp_send_skb in net/ipv4/udp.c).
		s.groupSize = 0
	default:
		return false
	}
	s.groupAgain = time.Now().Add(groupAfter)
	return true
}

// size is that of the packets in the group that comes next.
func (s *sender) size() int {
	return int(binary.NativeEndian.Uint16(s.batch.control[s.done].data[:]))
}

// send sends the packets, all but empty ones, and says how many of them went and
// which the kernel refused; err is the socket's end.
func (s *sender) send(packets [][]byte, peer *udpPeer) (sent int, refused refusal, err error) {
	s.sent, s.refused, s.pieces = 0, refusal{}, 0
	if !s.groupAgain.IsZero() && time.Now().After(s.groupAgain) {
		s.groupSize, s.groupAgain = maxDatagram, time.Time{}
	}
	s.batch, s.peer = sendBatches.Take(), peer
	for len(packets) > 0 && err == nil {
		taken := s.fill(packets)
		err = s.write()
		if s.done < s.n { // refused groups
			taken = s.batch.first[s.done]
		}
		packets = packets[taken:]
	}
	clear(s.batch.iovs[:s.pieces]) // the packets are the caller's again
	sendBatches.Give(s.batch)
	s.batch, s.peer = nil, nil
	return s.sent, s.refused, err
}

// write has the poller call try until all is done. The time limit that may stop it is
// another link's end; see udpPort.leave.
func (s *sender) write() error {
	s.u.writing.RLock()
	defer s.u.writing.RUnlock()
	for {
		if s.u.left.Load() {
			return net.ErrClosed
		}
		if err := s.u.raw.Write(s.try); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// fill makes messages of packets, as many as there is room for, and says of how
// many packets.
func (s *sender) fill(packets [][]byte) (taken int) {
	b := s.batch
	s.n, s.done, s.retries = 0, 0, 0
	pieces := 0
	connected := s.u.connected.Load()
	for taken < len(packets) && s.n < sendSlots && pieces < sendPieces {
		if len(packets[taken]) == 0 {
			taken++
			continue
		}
		m := &b.msgs[s.n]
		m.Name, m.Namelen = &s.peer.name[0], s.peer.len
		if connected {
			m.Name, m.Namelen = nil, 0
		}
		group := s.group(packets[taken:])
		size := len(group[0])
		used := gatherPieces(b.iovs[pieces:], group)
		group = group[:used.packets]
		m.Iov = &b.iovs[pieces]
		m.SetIovlen(used.pieces)
		m.Control = nil
		m.SetControllen(0)
		if len(group) > 1 {
			c := &b.control[s.n]
			binary.NativeEndian.PutUint16(c.data[:], uint16(size))
			m.Control = (*byte)(unsafe.Pointer(c))
			m.SetControllen(unix.CmsgSpace(2))
		}
		b.counts[s.n], b.first[s.n] = len(group), taken
		s.n++
		pieces += used.pieces
		taken += len(group)
	}
	s.pieces = max(s.pieces, pieces)
	return taken
}

// group is how many packets from the first on can go in one message: all of its
// size, and behind them one that is shorter.
func (s *sender) group(packets [][]byte) [][]byte {
	size := len(packets[0])
	if size > s.groupSize {
		return packets[:1]
	}
	bytes := size
	n := 1
	for n < len(packets) && n < maxSegments {
		length := len(packets[n])
		if length > size || length == 0 || bytes+length > maxDatagram {
			break
		}
		bytes += length
		n++
		if length < size {
			break
		}
	}
	return packets[:n]
}

// gathered is how many packets in how many pieces of memory.
type gathered struct{ packets, pieces int }

// gatherPieces points iovs, of which there is one at least, to packets; those
// that lie one behind the other become one piece.
func gatherPieces(iovs []unix.Iovec, packets [][]byte) (g gathered) {
	var end uintptr // no pointer: what begins there may be nobody's memory
	for _, p := range packets {
		begin := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
		if g.pieces > 0 && begin == end {
			last := &iovs[g.pieces-1]
			last.SetLen(int(last.Len) + len(p))
		} else {
			if g.pieces == len(iovs) {
				return g
			}
			iovs[g.pieces].Base = unsafe.SliceData(p)
			iovs[g.pieces].SetLen(len(p))
			g.pieces++
		}
		end = begin + uintptr(len(p))
		g.packets++
	}
	return g
}
