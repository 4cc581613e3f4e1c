package transport

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// Theory of operation: a batch is an array of mmsghdr, each with one iovec, that
// stays where it is for the socket's life, so that recvmmsg(2) and sendmmsg(2)
// need nothing made anew. The descriptor is Go's, non-blocking; the poller calls
// the function kept in receiver.try or sender.try when it is ready. Addresses
// are compared as the kernel wrote them and become netip.AddrPort only when they
// change.

const (
	maxBatch = 64        // datagrams a system call
	rxBytes  = 512 << 10 // about what the receive buffers of a socket may have together
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received or sent
}

// sockaddr is a struct sockaddr_in or sockaddr_in6 as the kernel writes it.
type sockaddr [unix.SizeofSockaddrInet6]byte

type udpPeer struct {
	addr netip.AddrPort
	name sockaddr
	len  uint32
}

// newPeer lays out an address for the socket's own family.
func (u *UDP) newPeer(addr netip.AddrPort) *udpPeer {
	p := &udpPeer{addr: addr}
	if u.isIPv4() {
		binary.NativeEndian.PutUint16(p.name[0:], unix.AF_INET)
		binary.BigEndian.PutUint16(p.name[2:], addr.Port())
		a := addr.Addr().Unmap().As4()
		copy(p.name[4:], a[:])
		p.len = unix.SizeofSockaddrInet4
		return p
	}
	binary.NativeEndian.PutUint16(p.name[0:], unix.AF_INET6)
	binary.BigEndian.PutUint16(p.name[2:], addr.Port())
	a := addr.Addr().As16()
	copy(p.name[8:], a[:])
	binary.NativeEndian.PutUint32(p.name[24:], scope(addr.Addr().Zone()))
	p.len = unix.SizeofSockaddrInet6
	return p
}

func (u *UDP) isIPv4() bool {
	local, ok := u.conn.LocalAddr().(*net.UDPAddr)
	return ok && local.IP.To4() != nil
}

// parse reads a sender's address.
func (s *sockaddr) parse(zones *zoneCache) netip.AddrPort {
	port := binary.BigEndian.Uint16(s[2:])
	switch binary.NativeEndian.Uint16(s[0:]) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s[4:])), port)
	case unix.AF_INET6:
		addr := netip.AddrFrom16([16]byte(s[8:]))
		if index := binary.NativeEndian.Uint32(s[24:]); index != 0 {
			addr = addr.WithZone(zones.name(index))
		}
		return netip.AddrPortFrom(addr, port)
	}
	return netip.AddrPort{}
}

// scope turns an IPv6 zone into an interface's index.
func scope(zone string) uint32 {
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}

// zoneCache keeps the name of the interface that a stranger's datagram came in
// by: to look it up for each would let a flood of them cost far more than it
// costs its sender. An interface may change its name.
type zoneCache struct {
	index uint32
	zone  string
	until time.Time
}

func (z *zoneCache) name(index uint32) string {
	now := time.Now()
	if index == z.index && now.Before(z.until) {
		return z.zone
	}
	*z = zoneCache{index, strconv.FormatUint(uint64(index), 10), now.Add(time.Second)}
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		z.zone = ifi.Name
	}
	return z.zone
}

type receiver struct {
	u       *UDP
	msgs    []mmsghdr
	iovs    []unix.Iovec
	names   []sockaddr
	bufs    [][]byte
	packets [][]byte
	last    sockaddr // whose datagrams were let in last
	zones   zoneCache
	try     func(fd uintptr) bool
	n       int
	errno   syscall.Errno
}

func (r *receiver) init(u *UDP) {
	size := u.config.MaxPacket
	n := min(max(rxBytes/size, 8), maxBatch)
	*r = receiver{
		u: u, msgs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n), names: make([]sockaddr, n),
		bufs: make([][]byte, n), packets: make([][]byte, 0, n),
	}
	space := make([]byte, n*size)
	for i := range r.msgs {
		r.bufs[i] = space[i*size : (i+1)*size : (i+1)*size]
		r.iovs[i].Base = &r.bufs[i][0]
		r.iovs[i].SetLen(size)
		h := &r.msgs[i].hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Name = &r.names[i][0]
	}
	r.try = func(fd uintptr) bool {
		for {
			n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])),
				uintptr(len(r.msgs)), unix.MSG_DONTWAIT, 0, 0)
			if errno == unix.EINTR {
				continue
			}
			r.n, r.errno = int(n), errno
			return errno != unix.EAGAIN
		}
	}
}

// receive waits for datagrams and gives those that count, perhaps none.
func (r *receiver) receive() ([][]byte, error) {
	for i := range r.msgs {
		r.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet6
	}
	if err := r.u.raw.Read(r.try); err != nil {
		return nil, err
	}
	switch r.errno {
	case 0:
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN,
		unix.ENOPROTOOPT, unix.EPROTO, unix.EMSGSIZE, unix.ENOBUFS, unix.ENOMEM:
		// What ICMP said of a datagram that was sent, or a short memory: the
		// socket is as good as before, and the error is taken off it.
		return nil, nil
	default:
		return nil, r.errno
	}
	drops := &r.u.config.Counters.Read
	r.packets = r.packets[:0]
	for i := range r.msgs[:r.n] {
		m := &r.msgs[i]
		if m.n == 0 {
			drops.Add(ethernet.Runt, 1)
			continue
		}
		if r.names[i] != r.last {
			if !r.u.admits(r.names[i].parse(&r.zones)) {
				continue
			}
			r.last = r.names[i]
		}
		if m.hdr.Flags&unix.MSG_TRUNC != 0 {
			drops.Add(ethernet.Oversize, 1)
			continue
		}
		r.packets = append(r.packets, r.bufs[i][:m.n])
	}
	return r.packets, nil
}

// CountDropped counts the datagrams that the kernel has dropped since it was
// last asked: mostly those for which the receive buffer had no room. Kernels
// before 4.12 do not tell.
func (u *UDP) CountDropped() {
	u.dropping.Lock()
	defer u.dropping.Unlock()
	u.raw.Control(func(fd uintptr) {
		var info [unix.SK_MEMINFO_VARS]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 {
			now := info[unix.SK_MEMINFO_DROPS] // it wraps
			u.config.Counters.Read.Add(ethernet.KernelDrop, int(now-u.dropped))
			u.dropped = now
		}
	})
}

type sender struct {
	u       *UDP
	msgs    [maxBatch]mmsghdr
	iovs    [maxBatch]unix.Iovec
	try     func(fd uintptr) bool
	n, done int // of msgs: filled, gone
	refused int
	why     error
}

func (s *sender) init(u *UDP) {
	s.u = u
	for i := range s.msgs {
		s.msgs[i].hdr.Iov = &s.iovs[i]
		s.msgs[i].hdr.SetIovlen(1)
	}
	s.try = func(fd uintptr) bool {
		for s.done < s.n {
			n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.msgs[s.done])),
				uintptr(s.n-s.done), unix.MSG_DONTWAIT, 0, 0)
			switch errno {
			case 0:
				s.done += int(n)
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default: // concerns the first datagram only
				s.done++
				s.refused++
				s.why = errno
			}
		}
		return true
	}
}

// send sends the packets, all but empty ones, and says how many of them went and
// how many the kernel refused, and why; err is the socket's end.
func (s *sender) send(packets [][]byte, peer *udpPeer) (sent, refused int, why, err error) {
	s.refused, s.why = 0, nil
	for len(packets) > 0 && err == nil {
		s.n, s.done = 0, 0
		for ; len(packets) > 0 && s.n < maxBatch; packets = packets[1:] {
			if len(packets[0]) == 0 {
				continue
			}
			s.iovs[s.n].Base = &packets[0][0]
			s.iovs[s.n].SetLen(len(packets[0]))
			s.msgs[s.n].hdr.Name = &peer.name[0]
			s.msgs[s.n].hdr.Namelen = peer.len
			s.n++
		}
		err = s.u.raw.Write(s.try)
		sent += s.done
	}
	for i := range s.n { // the packets are the caller's again
		s.iovs[i].Base = nil
	}
	return sent - s.refused, s.refused, s.why, err
}
