package link

import (
	"cmp"
	"fmt"
	"net"

	"tmelink/internal/element"
)

// Sketch shows both ends of the link; of several remotes the first.
func (l *Link) Sketch() element.Sketch {
	c := l.config
	s := element.Sketch{Kind: element.LinkKind}
	if !c.nobind && c.localPort != 0 {
		s.Local = c.end(c.local, c.localPort)
		s.Detail = append(s.Detail, s.Local)
	}
	for i, r := range c.remotes {
		port := cmp.Or(r.port, c.remotePort)
		if i == 0 {
			s.Remote = c.end(r.host.Text, port)
		}
		s.Detail = append(s.Detail, "→ "+net.JoinHostPort(r.host.Text, fmt.Sprint(port)))
	}
	if c.proxied() {
		s.Detail = append(s.Detail, "through "+c.proxy.name())
	}
	if len(c.remotes) == 0 {
		s.Detail = append(s.Detail, "→ whoever sends")
	}
	return s
}

func (c *config) end(host string, port uint16) string {
	return c.transport() + " " + net.JoinHostPort(host, fmt.Sprint(port))
}
