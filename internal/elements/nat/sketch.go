package nat

import (
	"fmt"

	"tmelink/internal/element"
)

// Sketch shows the gateway's addresses and the ports that lead to guests.
func (n *NAT) Sketch() element.Sketch {
	s := element.Sketch{}
	if n.config.net4.IsValid() {
		s.Detail = append(s.Detail, "inet "+n.config.net4.String())
	}
	if n.config.net6.IsValid() {
		s.Detail = append(s.Detail, "inet6 "+n.config.net6.String())
	}
	for _, f := range n.config.forwards {
		s.Detail = append(s.Detail, fmt.Sprintf("%s %s to %s", f.proto, f.local, f.guest))
	}
	return s
}

var (
	_ element.Claimer  = (*NAT)(nil)
	_ element.Reporter = (*NAT)(nil)
	_ element.Sketcher = (*NAT)(nil)
)
