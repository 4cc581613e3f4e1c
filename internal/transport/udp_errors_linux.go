package transport

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// errorsAtOnce bounds how many messages of the error queue are read together.
const errorsAtOnce = 16

// readErrors reads what ICMP has said of datagrams that were sent, from the
// socket's error queue (IP_RECVERR in ip(7)), and logs it, as does the link to
// whose peer they went where several share the socket. The MTU of the path that
// it may tell is kept. It gives the number of messages that were there.
func (u *UDP) readErrors(fd uintptr) int {
	if u.shared.Load() != nil {
		return readErrors(fd, u.port.noteError)
	}
	return readErrors(fd, u.noteError)
}

func readErrors(fd uintptr, note func(e socketError, to netip.AddrPort)) int {
	var (
		control [128]byte
		name    sockaddr
		data    [1]byte
		iov     = unix.Iovec{Base: &data[0]}
	)
	iov.SetLen(len(data))
	for n := range errorsAtOnce {
		m := unix.Msghdr{Name: &name[0], Namelen: unix.SizeofSockaddrInet6, Iov: &iov, Control: &control[0]}
		m.SetIovlen(1)
		m.SetControllen(len(control))
		_, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&m)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno != 0 {
			return n
		}
		if e, ok := parseError(control[:m.Controllen]); ok {
			to := name.parse(&zoneCache{})
			note(e, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
		}
	}
	return errorsAtOnce
}

// socketError is struct sock_extended_err (linux/errqueue.h), as far as it is
// looked at.
type socketError struct {
	errno  syscall.Errno
	origin uint8
	info   uint32 // with EMSGSIZE the MTU
}

// parseError finds the error among control messages.
func parseError(control []byte) (socketError, bool) {
	const size = 16
	for len(control) >= unix.SizeofCmsghdr+size {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		length := int(h.Len)
		if length < unix.SizeofCmsghdr || length > len(control) {
			break
		}
		v4 := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR
		v6 := h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if (v4 || v6) && length >= unix.SizeofCmsghdr+size {
			e := control[unix.SizeofCmsghdr:]
			return socketError{
				errno:  syscall.Errno(binary.NativeEndian.Uint32(e)),
				origin: e[4],
				info:   binary.NativeEndian.Uint32(e[8:]),
			}, true
		}
		control = control[min(len(control), unix.CmsgSpace(length-unix.SizeofCmsghdr)):]
	}
	return socketError{}, false
}

// leastMTU is the least that a path can have (RFC 791, 3.2; RFC 8200, 5): whoever
// says less wants our packets cut up.
const leastMTU = 576

// noteError logs what was said of a datagram to an address. Anybody can say it:
// it changes nothing but what is logged, and how large packets are made.
func (u *UDP) noteError(e socketError, to netip.AddrPort) {
	peer := u.peer.Load()
	if peer == nil || !Matches(peer.addr.Addr(), to.Addr()) {
		return
	}
	if mtu := int(e.info); e.errno == unix.EMSGSIZE && mtu >= leastMTU && mtu < 1<<16 {
		u.notePathMTU(mtu, peer.addr) // this host's own errors have no port
		return
	}
	u.reporting.Lock()
	n := u.reports.Due(time.Now())
	u.reporting.Unlock()
	if n > 0 {
		u.config.Log.Warn("the network reports", "peer", to, "err", reported(e.errno), "times", n)
	}
}

func (u *UDP) notePathMTU(mtu int, to netip.AddrPort) {
	if u.pathMTU.Swap(int32(mtu)) == int32(mtu) {
		return
	}
	if u.config.Discovery == DiscoverYes {
		u.config.Log.Info("the path to the peer takes shorter packets; longer ones are not sent", "peer", to, "mtu", mtu)
		return
	}
	u.config.Log.Info("the path to the peer takes shorter packets; longer ones go in fragments", "peer", to, "mtu", mtu)
}

// askPathMTU asks the kernel for the path's MTU: of what is too long for this
// host's own interface no ICMP tells. It knows of a connected socket only (IP_MTU
// in ip(7)).
func (u *UDP) askPathMTU(fd uintptr) {
	peer := u.peer.Load()
	if peer == nil || !u.connected.Load() {
		return
	}
	level, name := unix.IPPROTO_IPV6, unix.IPV6_MTU
	if u.isIPv4() {
		level, name = unix.IPPROTO_IP, unix.IP_MTU
	}
	mtu, err := unix.GetsockoptInt(int(fd), level, name)
	if err == nil && mtu >= leastMTU && mtu < ethernet.MTU {
		u.notePathMTU(mtu, peer.addr)
	}
}

// reported says what an error means when the network reports it.
func reported(errno syscall.Errno) string {
	if errno == unix.ECONNREFUSED {
		return "nothing listens at the peer's port: it is not started yet, or its address or port is another"
	}
	return errno.Error()
}
