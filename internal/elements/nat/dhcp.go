package nat

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"

	"tmelink/internal/ethernet"
)

// leaseTime is how long an address is given for. It is the same station's for
// good, as long as there are others for the rest.
const leaseTime = 12 * time.Hour

// dhcp is the server of addresses. The port's writer alone calls it, but for count.
type dhcp struct {
	gateway netip.Prefix
	fixed   map[ethernet.Addr]netip.Addr
	pool    pool
}

// serveDHCP answers a BOOTP or DHCP message of a guest's.
func (n *NAT) serveDHCP(payload []byte) {
	m, err := parseBOOTP(payload)
	if err != nil || m.hwaddr == n.config.hwaddr {
		return
	}
	answer, yours := n.answerDHCP(m, n.now())
	if answer == nil {
		return
	}
	// To an address that the client has, or else to its hardware address, where
	// it need not answer ARP (RFC 2131, 4.1).
	to, dst := netip.AddrFrom4([4]byte{255, 255, 255, 255}), ethernet.Broadcast
	switch {
	case answer.isNAK() || m.flags&broadcastFlag != 0:
	case !m.client.IsUnspecified():
		to, dst = m.client, m.hwaddr
	case yours.IsValid():
		to, dst = yours, m.hwaddr
	}
	n.host.SendFrame(udpFrame(dst, n.config.hwaddr, netip.AddrPortFrom(n.config.net4.Addr(), dhcpServerPort),
		netip.AddrPortFrom(to, dhcpClientPort), answer.bytes()))
}

func (r *reply) isNAK() bool {
	at := bootpHeaderLen + len(magicCookie)
	return len(r.b) > at+2 && r.b[at] == optMessageType && messageType(r.b[at+2]) == nak
}

// answerDHCP decides what a message is answered with, and which address it gives;
// nil: with nothing.
func (n *NAT) answerDHCP(m bootp, now time.Duration) (*reply, netip.Addr) {
	d := n.dhcp
	gateway := d.gateway.Addr()
	if m.relay != [4]byte{} || m.server.IsValid() && m.server != gateway {
		return nil, netip.Addr{} // a relay's, or for another server
	}
	switch m.kind {
	case 0, discover:
		a, ok := n.lease(m, netip.Addr{}, now)
		if !ok {
			return nil, a
		}
		return n.give(m, a), a
	case request:
		wanted := m.requested
		if !wanted.IsValid() {
			wanted = m.client
		}
		a, ok := n.lease(m, wanted, now)
		if ok && a == wanted {
			return n.give(m, a), a
		}
		r := replyTo(bootp{kind: m.kind, xid: m.xid, flags: m.flags, hwaddr: m.hwaddr}, netip.Addr{})
		r.option(optMessageType, byte(nak))
		r.option(optServerID, gateway.AsSlice()...)
		r.option(optMessage, []byte("that address is not yours")...)
		return r, netip.Addr{}
	case decline:
		d.pool.spoil(m.hwaddr, m.requested, now)
		n.complain("a guest has found the address taken that it was given: is there another server, or a station with that address?", nil)
	case release:
		d.pool.release(m.hwaddr, m.client, now)
	case inform:
		return n.give(m, netip.Addr{}), netip.Addr{}
	}
	return nil, netip.Addr{}
}

// lease gives the address of a station.
func (n *NAT) lease(m bootp, wanted netip.Addr, now time.Duration) (netip.Addr, bool) {
	if a, ok := n.dhcp.fixed[m.hwaddr]; ok {
		return a, true
	}
	if !wanted.IsValid() {
		wanted = m.requested
	}
	until := now + leaseTime
	switch m.kind {
	case 0:
		until = forever // BOOTP knows no end
	case discover:
		until = now + offerTime
	}
	a, ok := n.dhcp.pool.lease(m.hwaddr, wanted, now, until)
	if !ok && n.dhcp.pool.size() > 0 {
		n.drop("all addresses of dhcp are given away: give it a longer range")
	}
	return a, ok
}

// give makes an answer with an address and all that the client should know.
func (n *NAT) give(m bootp, yours netip.Addr) *reply {
	c, gateway := &n.config, n.config.net4.Addr()
	r := replyTo(m, yours)
	if c.nextServer.IsValid() || c.bootFile != "" {
		r.boot(c.bootServer(), c.bootFile)
	}
	switch m.kind {
	case 0:
	case discover:
		r.option(optMessageType, byte(offer))
	default:
		r.option(optMessageType, byte(ack))
	}
	if m.kind != 0 {
		r.option(optServerID, gateway.AsSlice()...)
		if m.kind != inform {
			r.option(optLeaseTime, seconds(leaseTime)...)
			r.option(optRenewal, seconds(leaseTime/2)...)
			r.option(optRebinding, seconds(leaseTime/8*7)...)
		}
	}
	r.option(optSubnetMask, binary.BigEndian.AppendUint32(nil, bits.Reverse32(1<<c.net4.Bits()-1))...)
	r.option(optRouter, gateway.AsSlice()...)
	var servers []byte
	for _, a := range c.dnsFor(true) {
		servers = append(servers, a.AsSlice()...)
	}
	r.option(optDNS, servers...)
	r.option(optDomain, []byte(c.domain)...)
	r.option(optMTU, binary.BigEndian.AppendUint16(nil, uint16(c.mtu))...)
	r.option(optHostName, m.name...)
	if c.nextServer.IsValid() || c.bootFile != "" {
		r.option(optTFTPServer, []byte(c.bootServer().String())...)
		r.option(optBootFile, []byte(c.bootFile)...)
	}
	return r
}

func seconds(d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(d/time.Second))
}
