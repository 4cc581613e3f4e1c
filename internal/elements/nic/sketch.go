package nic

import "tmelink/internal/element"

// Sketch shows the built-in host's addresses, or for what else the interface is.
func (i *Interface) Sketch() element.Sketch {
	s := element.Sketch{Kind: element.HostKind}
	if !i.plugged() {
		s.Detail = []string{"for an emulator"}
		return s
	}
	for _, a := range i.host.Addrs() {
		switch {
		case a.Addr().Is4():
			s.Detail = append(s.Detail, "inet "+a.String())
		case !a.Addr().IsLinkLocalUnicast():
			s.Detail = append(s.Detail, "inet6 "+a.String())
		}
	}
	if len(s.Detail) == 0 {
		s.Detail = append(s.Detail, "addresses from the peer")
	}
	return s
}
