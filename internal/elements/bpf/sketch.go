package bpf

import (
	"cmp"

	"tmelink/internal/element"
)

// Sketch shows the interface.
func (e *Element) Sketch() element.Sketch {
	name := e.port.conf.iface
	return element.Sketch{
		Kind: element.PacketSocket, Interface: name,
		Detail: []string{"interface " + cmp.Or(name, "(the first)")},
	}
}
