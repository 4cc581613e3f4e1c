package nat

import (
	"errors"
	"net"
	"net/netip"

	"tmelink/internal/netstack"
)

// datagram takes a guest's UDP datagram.
func (n *NAT) datagram(d netstack.Datagram) bool {
	if d.From.Addr().IsUnspecified() {
		return true // who has no address yet asks for one
	}
	if !n.isGuest(d.From.Addr()) {
		n.drop("something comes from an address that is not in the guests' network")
		return true
	}
	if n.isDNS(d.To) {
		n.query(d)
		return true
	}
	if n.tftp != nil && d.To.Port() == tftpPort && n.isGateway(d.To.Addr()) {
		n.tftp.request(n, d)
		return true
	}
	key, name := flowKey{kind: udpFlow, from: d.From}, d.To.Addr()
	fl := n.flows.find(key)
	var p *peer
	if fl != nil {
		p = fl.peer(d.To, n.now(), len(d.Payload))
	}
	if p == nil {
		var known bool
		if fl, p, known = n.newPeer(fl, key, d); p == nil {
			return known
		}
	}
	if fl.whole != d.DontFragment {
		fl.whole = d.DontFragment
		setWhole(fl.socket, name.Is6(), fl.whole)
	}
	n.send(fl, name, d.Payload, netip.AddrPortFrom(p.to, d.To.Port()))
	return true
}

// newPeer makes the peer of a datagram, and its flow where there is none, or answers
// that there can be none. It says no to one for a port of the gateway's own where
// nobody is.
func (n *NAT) newPeer(fl *flow, key flowKey, d netstack.Datagram) (*flow, *peer, bool) {
	to, fate := n.policy.way(d.To)
	gateway := n.gatewayFor(d.From.Addr())
	switch fate {
	case nowhere:
		return nil, nil, true
	case denied:
		n.denied.Add(1)
		if d.To.Addr() == gateway {
			return nil, nil, false
		}
		n.unreachable(gateway, netstack.Prohibited, netstack.QuoteUDP(d.From, d.To, len(d.Payload)), 0)
		return nil, nil, true
	}
	if fl == nil {
		network := "udp6"
		if to.Addr().Is4() {
			network = "udp4"
		}
		c, err := net.ListenUDP(network, nil)
		if err != nil {
			n.noSocket("UDP", err)
			return nil, nil, true
		}
		if fl = n.flows.add(key, c, backUDP); fl == nil {
			return nil, nil, true
		}
	}
	return fl, n.flows.meet(fl, d.To, to.Addr(), len(d.Payload)), true
}

// backUDP brings a datagram from outside to the guest.
func backUDP(fl *flow, p *peer, port uint16, data []byte) {
	// What cannot be sent is lost, as on a wire.
	p.path.SendUDP(port, fl.key.from.Port(), data)
}

// noSocket tells that the host does not give a socket.
func (n *NAT) noSocket(what string, err error) {
	if errors.Is(err, errNoSockets) || errors.Is(err, errNoSocketsAtAll) {
		n.drop("the host gives no more sockets; raise its limit of open files")
		return
	}
	n.dropped.Add(1)
	n.complain("a guest's "+what+" cannot be carried", err)
}
