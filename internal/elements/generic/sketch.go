package generic

import "tmelink/internal/element"

// Sketch shows the switch as one.
func (s *Switch) Sketch() element.Sketch { return element.Sketch{Kind: element.SwitchKind} }
