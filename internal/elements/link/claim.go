package link

import (
	"fmt"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/transport"
)

// Claims are the address and port that the link binds, of each protocol that it goes.
func (l *Link) Claims() []element.Claim {
	c := l.config
	if c.nobind || c.localPort == 0 {
		return nil
	}
	var claims []element.Claim
	for _, of := range []func(way) bool{way.udp, way.tcp} {
		var ways []way
		for _, w := range c.ways {
			if of(w) {
				ways = append(ways, w)
			}
		}
		if len(ways) > 0 {
			claims = append(claims, element.Claim{
				Pos: c.given["--local"].Pos, Proto: ways[0].transport(), Local: c.local, Port: c.localPort, Shared: c.sharing(ways),
			})
		}
	}
	return claims
}

// sharing says how the link is told apart from others at its port: over UDP by the
// peer's address and port, as a tcp-server by the peer's host. A tcp-client has its port
// alone, and so has a link through a proxy, which does not know from where it is sent
// to. The ways are those of one protocol.
func (c *config) sharing(ways []way) *element.Sharing {
	s := &element.Sharing{Terms: c.socketTerms(ways[0])}
	if c.portShare != (transport.PortShare{}) {
		s.Common = fmt.Sprint("--port-share ", c.portShare)
	}
	for _, w := range ways {
		if w.proto.mode == openvpn.TCPClient || w.proxy != nil {
			return nil
		}
		port := w.port
		if w.tcp() {
			port = 0
		}
		if w.host.Text != "" {
			s.Peers = append(s.Peers, element.PeerName(w.host.Text, port))
		}
	}
	if c.float && !c.security.keyed() {
		s.Peers = nil // whoever sends is the peer
	}
	return s
}

// socketTerms is what the link asks of its socket, in options.
func (c *config) socketTerms(w way) string {
	var terms []string
	for _, o := range []struct {
		name  string
		value any
		asked bool
	}{
		{"--sndbuf", c.socket.SendBuffer, c.socket.SendBuffer != 0},
		{"--rcvbuf", c.socket.ReceiveBuffer, c.socket.ReceiveBuffer != 0},
		{"--mark", c.socket.Mark, c.socket.Mark != 0},
		{"--bind-dev", c.socket.Device, c.socket.Device != ""},
		{"--mtu-disc", discoveryWord(c.socket.Discovery), c.socket.Discovery != transport.DiscoverByDefault},
		{"--offload", "off", c.noOffload && w.udp()},
	} {
		if o.asked {
			terms = append(terms, fmt.Sprint(o.name, " ", o.value))
		}
	}
	return strings.Join(terms, " ")
}

// discoveryWord is that of --mtu-disc.
func discoveryWord(d transport.Discovery) string {
	for word, is := range discoveries {
		if is == d {
			return word
		}
	}
	return ""
}
