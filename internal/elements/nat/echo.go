package nat

import (
	"encoding/binary"
	"net/netip"

	"tmelink/internal/netstack"
)

// echoHeaderLen is the length of an echo message's header in either ICMP.
const echoHeaderLen = 8

// echo takes a guest's echo request. Each guest's identifier and destination have a
// ping socket, whose kernel puts an identifier of its own into the requests.
func (n *NAT) echo(r netstack.EchoRequest) bool {
	if n.isGateway(r.To) {
		return false
	}
	if !n.isGuest(r.From) {
		n.drop("something comes from an address that is not in the guests' network")
		return true
	}
	key := flowKey{echoFlow, netip.AddrPortFrom(r.From, r.Ident), r.To}
	fl := n.flows.find(key)
	if fl == nil {
		if fl = n.newEcho(key, r); fl == nil {
			return true
		}
	}
	fl.peer(netip.AddrPortFrom(r.To, 0), n.now(), len(r.Payload))
	fl.seq.Store(uint32(r.Seq))
	b := buffers.Take()
	defer buffers.Give(b)
	message := b[:echoHeaderLen+len(r.Payload)]
	clear(message[:echoHeaderLen])
	message[0] = 8 // RFC 792
	if r.To.Is6() {
		message[0] = 128 // RFC 4443, 4.1
	}
	binary.BigEndian.PutUint16(message[6:], r.Seq)
	copy(message[echoHeaderLen:], r.Payload)
	n.send(fl, r.To, message, netip.AddrPort{})
	return true
}

func (n *NAT) newEcho(key flowKey, r netstack.EchoRequest) *flow {
	to, fate := n.policy.way(netip.AddrPortFrom(r.To, 0))
	quote := netstack.QuoteEcho(r, len(r.Payload))
	gateway := n.gatewayFor(r.From)
	switch fate {
	case nowhere:
		return nil
	case denied:
		n.denied.Add(1)
		n.unreachable(gateway, netstack.Prohibited, quote, 0)
		return nil
	}
	s, err := openPing(to.Addr())
	if err != nil {
		if why, ok := reasonOf(err); ok && why != netstack.Prohibited {
			n.unreachable(gateway, why, quote, 0)
			return nil
		}
		n.noSocket("ping", err)
		return nil
	}
	fl := n.flows.add(key, s, backEcho)
	if fl == nil || n.flows.meet(fl, netip.AddrPortFrom(r.To, 0), to.Addr(), len(r.Payload)) == nil {
		return nil
	}
	return fl
}

// backEcho brings an echo reply to the guest.
func backEcho(fl *flow, p *peer, _ uint16, message []byte) {
	if len(message) < echoHeaderLen || message[0] != 0 && message[0] != 129 {
		return
	}
	// What cannot be sent is lost, as on a wire.
	p.path.SendEchoReply(fl.key.from.Port(), binary.BigEndian.Uint16(message[6:]), message[echoHeaderLen:])
}
