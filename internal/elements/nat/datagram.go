package nat

import (
	"errors"
	"net"

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
	key := flowKey{udpFlow, d.From, d.To}
	fl := n.flows.find(key)
	if fl == nil {
		var known bool
		if fl, known = n.newFlow(key, d); fl == nil {
			return known
		}
	}
	fl.size.Store(int32(len(d.Payload)))
	if fl.whole != d.DontFragment {
		fl.whole = d.DontFragment
		setWhole(fl.socket, d.To.Addr().Is6(), fl.whole)
	}
	n.send(fl, d.Payload)
	return true
}

// newFlow makes the flow of a datagram, or answers that there can be none. It says
// no to one for a port of the gateway's own where nobody is.
func (n *NAT) newFlow(key flowKey, d netstack.Datagram) (*flow, bool) {
	to, fate := n.policy.way(d.To)
	quote := netstack.QuoteUDP(d.From, d.To, len(d.Payload))
	gateway := n.gatewayFor(d.From.Addr())
	switch fate {
	case nowhere:
		return nil, true
	case denied:
		n.denied.Add(1)
		if d.To.Addr() == gateway {
			return nil, false
		}
		n.unreachable(gateway, netstack.Prohibited, quote, 0)
		return nil, true
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		if why, ok := reasonOf(err); ok {
			n.unreachable(gateway, why, quote, 0)
			return nil, true
		}
		n.noSocket("UDP", err)
		return nil, true
	}
	return n.flows.add(key, c, func(fl *flow, data []byte) {
		// What cannot be sent is lost, as on a wire.
		fl.path.SendUDP(fl.key.to.Port(), fl.key.from.Port(), data)
	}), true
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
