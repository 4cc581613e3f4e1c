package transport

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// Theory of operation: the kernel's way through its network stack costs about the
// same for one datagram as for a super-datagram of 64 KiB, which it cuts into
// datagrams of one size as late as it can (UDP_SEGMENT, udp_send_linux.go), and
// joins on the other side as early as it can (UDP_GRO, udp_receive_linux.go). Of
// both several go in one system call (package mmsg). What the kernel does not
// grant of this is left out, and a refusal costs no datagram.
//
// The descriptor is Go's, non-blocking; the poller calls the function kept in
// receiver.try or sender.try when it is ready. The memory for a call is taken when
// there is something to do and given back after, so that a socket at rest holds
// none. Addresses are compared as the kernel wrote them and become netip.AddrPort
// only when they change.

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

func (u *UDP) isIPv4() bool { return isIPv4(u.conn) }

func isIPv4(c *net.UDPConn) bool {
	local, ok := c.LocalAddr().(*net.UDPAddr)
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

// tune asks for what makes the socket fast, all of which it can do without: large
// buffers, joined datagrams, errors with their cause, and the discovery of the
// path's MTU, unless it was asked for in Socket.
func (u *UDP) tune() {
	u.raw.Control(func(fd uintptr) {
		s := int(fd)
		u.joined = !u.config.Plain && unix.SetsockoptInt(s, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
		if u.config.ReceiveBuffer == 0 {
			setBuffer(s, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, socketBuffer)
		}
		if u.config.SendBuffer == 0 {
			setBuffer(s, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, socketBuffer)
		}
		// A socket of IPv6 needs IPv4's options too if it takes both.
		unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		if !u.isIPv4() {
			unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		}
		if u.config.Discovery == DiscoverByDefault {
			DiscoverMaybe.set(s)
		}
	})
}

// socketBuffer is how large a socket's buffers are where nobody says: at overload
// it is the receiver's that loses small frames. wireguard-go takes the same.
const socketBuffer = 7 << 20

// settle has the kernel let in no other than the peer from now on, which spares it
// the search for the way with each datagram. It is done once the peer is heard,
// so that until then a stranger is told of, and only for a peer that cannot change
// and a local address that is bound: a connected socket keeps the address that it
// has, even when the host gets another one.
func (u *UDP) settle(peer *udpPeer) {
	if u.settled || u.shared.Load() != nil || u.config.Float || len(u.config.Remotes) != 1 ||
		!u.config.Local.IsValid() || u.config.Local.Addr().IsUnspecified() {
		return
	}
	u.settled = true
	u.raw.Control(func(fd uintptr) {
		_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&peer.name)), uintptr(peer.len))
		u.connected.Store(errno == 0)
		u.askPathMTU(fd)
	})
}

// unsettle has the kernel let in others, too, because the port is going to be shared.
// Who is about to send without a name notices; see sender.call.
func (u *UDP) unsettle() {
	if !u.connected.Swap(false) {
		return
	}
	u.raw.Control(func(fd uintptr) {
		var nobody sockaddr // of AF_UNSPEC, connect(2)
		unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nobody)), unix.SizeofSockaddrInet6)
	})
}

// CountDropped counts the datagrams that the kernel has dropped since it was
// last asked: mostly those for which the receive buffer had no room. Kernels
// before 4.12 do not tell.
func (u *UDP) CountDropped() {
	u.drops.mu.Lock()
	defer u.drops.mu.Unlock()
	u.raw.Control(func(fd uintptr) {
		var info [unix.SK_MEMINFO_VARS]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 {
			now := info[unix.SK_MEMINFO_DROPS] // it wraps
			u.config.Counters.Read.Add(ethernet.KernelDrop, int(now-u.drops.last))
			u.drops.last = now
		}
	})
}
