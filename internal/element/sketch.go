package element

// Sketcher is an element of which a drawing can show more than its name.
type Sketcher interface {
	Sketch() Sketch
}

// Sketch is what a drawing shows of an element.
type Sketch struct {
	Kind   Kind
	Detail []string // a few short lines: "inet 10.0.77.1/24"
	// Interface is the interface of the host that the element is on, where
	// the description names it.
	Interface string
	// Apart says that the interface is in another network namespace, where no
	// other element is.
	Apart bool
	// Local and Remote are the ends of a socket, each as "udp 10.0.0.1:1194";
	// "" where the description leaves it open. Two links whose ends are each
	// other's are drawn as one wire.
	Local, Remote string
}

// Kind is what sort of thing an element is, for a drawing.
type Kind uint8

const (
	OtherKind    Kind = iota
	HostKind          // a machine's own network interface
	LinkKind          // a socket link to a peer
	TAPKind           // a TAP device
	PacketSocket      // a packet socket on an interface of the host
	SwitchKind        // a switch
)
