package tap

import "tmelink/internal/element"

// Sketch shows the interface and its addresses.
func (t *tap) Sketch() element.Sketch {
	s := element.Sketch{Kind: element.TAPKind}
	if t.cfg.netns == "" {
		s.Interface = t.cfg.device
	} else {
		s.Apart = true
		s.Detail = append(s.Detail, "netns "+t.cfg.netns)
	}
	if t.cfg.inet.IsValid() {
		s.Detail = append(s.Detail, "inet "+t.cfg.inet.String())
	}
	if t.cfg.inet6.IsValid() {
		s.Detail = append(s.Detail, "inet6 "+t.cfg.inet6.String())
	}
	if t.cfg.bridge != "" {
		s.Detail = append(s.Detail, "bridge "+t.cfg.bridge)
	}
	return s
}
