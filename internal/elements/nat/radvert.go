package nat

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"tmelink/internal/ethernet"
)

// Router advertisements (RFC 4861, 4.2) tell guests the gateway, the prefix that
// they make their addresses of, the MTU, and the name server (RFC 8106, 5.1).

const (
	ipv6HeaderLen = 40
	protoICMPv6   = 58
	routerSolicit = 133
	routerAdvert  = 134

	// advertiseEvery is how often all are told unasked. The lifetimes are those
	// that RFC 4861, 6.2.1, and RFC 8106, 5.1, name as defaults; the prefix's
	// are a day and four hours, so that a network that is described anew with
	// another one gets rid of the first.
	advertiseEvery    = 200 * time.Second
	routerLifetime    = 1800 * time.Second
	dnsLifetime       = 1800 * time.Second
	prefixLifetime    = 24 * time.Hour
	preferredLifetime = 4 * time.Hour
)

var (
	allNodes     = netip.MustParseAddr("ff02::1")
	allNodesAddr = ethernet.Addr{0x33, 0x33, 0, 0, 0, 1}
)

// solicitation gives the sender of a frame that is a router solicitation. Its
// address may be unspecified.
func solicitation(f *ethernet.Frame) (netip.Addr, bool) {
	ip := f.Data[ethernet.HeaderLen:]
	if len(ip) < ipv6HeaderLen+8 || ip[0]>>4 != 6 || ip[6] != protoICMPv6 || ip[7] != 255 || ip[ipv6HeaderLen] != routerSolicit {
		return netip.Addr{}, false
	}
	length := int(binary.BigEndian.Uint16(ip[4:]))
	if length < 8 || ipv6HeaderLen+length > len(ip) ||
		ethernet.InternetSum(ip[ipv6HeaderLen:ipv6HeaderLen+length], ethernet.PseudoSum(ip[8:24], ip[24:40], protoICMPv6, length)) != 0xffff {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(ip[8:24])), true
}

// advertise tells all guests unasked, again and again.
func (n *NAT) advertise() {
	ticker := time.NewTicker(advertiseEvery)
	defer ticker.Stop()
	for {
		n.host.SendFrame(n.advertisement(allNodesAddr, allNodes))
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// answerSolicitation tells the guest that has asked, or all where it has no
// address yet.
func (n *NAT) answerSolicitation(dst ethernet.Addr, to netip.Addr) {
	if !to.IsLinkLocalUnicast() {
		dst, to = allNodesAddr, allNodes
	}
	n.host.SendFrame(n.advertisement(dst, to))
}

// advertisement makes a frame with a router advertisement.
func (n *NAT) advertisement(dst ethernet.Addr, to netip.Addr) []byte {
	c := &n.config
	m := []byte{routerAdvert, 0, 0, 0, 64, 0}
	m = binary.BigEndian.AppendUint16(m, uint16(routerLifetime/time.Second))
	m = append(m, make([]byte, 8)...) // reachable and retransmission time: not said
	m = append(append(m, 1, 1), c.hwaddr[:]...)
	m = binary.BigEndian.AppendUint32(append(m, 5, 1, 0, 0), uint32(c.mtu))
	flags := byte(0x80) // on the wire
	if c.net6.Bits() == 64 {
		flags |= 0x40 // to make addresses of (RFC 4862, 5.5.3)
	}
	m = append(m, 3, 4, byte(c.net6.Bits()), flags)
	m = append(append(m, seconds(prefixLifetime)...), seconds(preferredLifetime)...)
	m = append(append(m, 0, 0, 0, 0), c.net6.Masked().Addr().AsSlice()...)
	if servers := c.dnsFor(false); servers != nil {
		m = append(m, 25, byte(1+2*len(servers)), 0, 0)
		m = append(m, seconds(dnsLifetime)...)
		for _, a := range servers {
			m = append(m, a.AsSlice()...)
		}
	}

	addrs := n.host.Addrs()
	from := addrs[len(addrs)-1].Addr() // the link-local one
	f := append(append(dst[:], c.hwaddr[:]...), 0x86, 0xdd, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(m)))
	f = append(append(append(f, protoICMPv6, math.MaxUint8), from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(m[2:], ^ethernet.InternetSum(m, ethernet.PseudoSum(from.AsSlice(), to.AsSlice(), protoICMPv6, len(m))))
	return append(f, m...)
}
