package generic

import "tmelink/internal/element"

// Sketch shows the switch as one, with its ports' words.
func (s *Switch) Sketch() element.Sketch {
	return element.Sketch{Kind: element.SwitchKind, Detail: s.describe()}
}
