package link

import (
	"fmt"
	"net"

	"tmelink/internal/element"
)

// Sketch shows both ends of the link; of several ways the first.
func (l *Link) Sketch() element.Sketch {
	c := l.config
	s := element.Sketch{Kind: element.LinkKind}
	if !c.nobind && c.localPort != 0 {
		s.Local = end(c.ways[0], c.local, c.localPort)
		s.Detail = append(s.Detail, s.Local)
	}
	for i, w := range c.ways {
		if w.host.Text == "" {
			s.Detail = append(s.Detail, "→ whoever sends")
			continue
		}
		if i == 0 {
			s.Remote = end(w, w.host.Text, w.port)
		}
		detail := "→ " + net.JoinHostPort(w.host.Text, fmt.Sprint(w.port))
		if w.transport() != c.ways[0].transport() {
			detail += " " + w.transport()
		}
		if w.proxy != nil {
			detail += " through " + w.proxy.name()
		}
		s.Detail = append(s.Detail, detail)
	}
	return s
}

func end(w way, host string, port uint16) string {
	return w.transport() + " " + net.JoinHostPort(host, fmt.Sprint(port))
}
