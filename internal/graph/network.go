// Package graph draws networks of machines: as text for a terminal, as DOT for
// Graphviz, and as SVG with a layout of its own.
//
// A Network goes in, built by whoever knows what the elements' arguments mean,
// and a picture comes out on an io.Writer; the same network always gives the
// same bytes. The package reads no description, opens nothing and starts no
// program. Every text of a network is taken for foreign: it is made printable,
// bounded in length and escaped for its format.
package graph

import "fmt"

// Network is what is drawn: machines, and the wires between their elements.
type Network struct {
	Machines []Machine
	Wires    []Wire
}

// Machine is one description's elements and connections. Its name is unique in
// the network.
type Machine struct {
	Name        string
	Elements    []Element
	Connections []Connection
}

// Element is one element of a machine. Its name is unique in the machine.
type Element struct {
	Name string
	Type string // its path: "tme/host/tun/tap"
	Kind Kind
	// Detail are a few short lines on what the arguments say, such as
	// "inet 10.0.77.1/24". Past the sixth they are left out, and what is
	// longer than a box takes is cut.
	Detail []string
}

// Connection joins two elements of one machine by their names; an element may
// be connected to itself.
type Connection struct{ A, B string }

// Wire is what joins elements outside their machines: two links that are each
// other's peers, or an interface of the host that several elements use. One end
// is right too: a link whose peer is in none of the machines.
type Wire struct {
	// Label names the wire: "udp", "tap0", a peer's address. A wire of two ends
	// may have none.
	Label string
	Ends  []End
}

// End is an element that a wire goes to.
type End struct{ Machine, Element string }

// Kind chooses an element's colour and shape.
type Kind uint8

const (
	Other        Kind = iota
	Host              // a machine's own network interface, with or without a built-in host behind it
	Link              // a socket link to a peer
	TAP               // a TAP device
	PacketSocket      // a packet socket on an interface of the host
	Switch            // a switch
	numKinds
)

// The plan is a Network whose names are resolved to indexes and whose texts are
// clean.
type plan struct {
	machines []machine
	nodes    []node // the elements of every machine, one machine after the other
	joins    []join
	wires    []wire
}

type machine struct {
	name       string
	first, end int // its nodes: first ≤ n < end
}

type node struct {
	name, typ string
	detail    []string
	kind      Kind
	machine   int
	joins     []int // a self-connection stands here once
	wires     []int
}

// join is a connection between two nodes.
type join struct{ a, b int }

// other is the node at the other end.
func (j join) other(n int) int { return j.a + j.b - n }

type wire struct {
	label string
	ends  []int
}

const maxDetail = 6

// newPlan resolves a network. A name that does not exist or is there twice is
// an error: it is the caller who made the network out of names it had checked.
func newPlan(net Network) (*plan, error) {
	p := &plan{}
	index := map[End]int{}
	machines := map[string]bool{}
	for _, m := range net.Machines {
		if machines[m.Name] {
			return nil, fmt.Errorf("draw network: two machines are named %q", m.Name)
		}
		machines[m.Name] = true
		first := len(p.nodes)
		for _, e := range m.Elements {
			end := End{m.Name, e.Name}
			if _, twice := index[end]; twice {
				return nil, fmt.Errorf("draw machine %q: two elements are named %q", m.Name, e.Name)
			}
			index[end] = len(p.nodes)
			p.nodes = append(p.nodes, newNode(e, len(p.machines)))
		}
		p.machines = append(p.machines, machine{clean(m.Name), first, len(p.nodes)})
		for _, c := range m.Connections {
			if err := p.connect(index, m.Name, c); err != nil {
				return nil, err
			}
		}
	}
	for i, w := range net.Wires {
		if err := p.wire(index, w); err != nil {
			return nil, fmt.Errorf("draw wire %d (%q): %w", i+1, w.Label, err)
		}
	}
	return p, nil
}

func newNode(e Element, machine int) node {
	n := node{name: clean(e.Name), typ: clean(e.Type), kind: e.Kind, machine: machine}
	if n.kind >= numKinds {
		n.kind = Other
	}
	for i, d := range e.Detail {
		if i == maxDetail-1 && len(e.Detail) > maxDetail {
			n.detail = append(n.detail, "…")
			break
		}
		n.detail = append(n.detail, clean(d))
	}
	return n
}

func (p *plan) connect(index map[End]int, machine string, c Connection) error {
	a, okA := index[End{machine, c.A}]
	b, okB := index[End{machine, c.B}]
	if !okA || !okB {
		return fmt.Errorf("draw machine %q: %q and %q are connected, but not both are elements", machine, c.A, c.B)
	}
	id := len(p.joins)
	p.joins = append(p.joins, join{a, b})
	p.nodes[a].joins = append(p.nodes[a].joins, id)
	if b != a {
		p.nodes[b].joins = append(p.nodes[b].joins, id)
	}
	return nil
}

func (p *plan) wire(index map[End]int, w Wire) error {
	if len(w.Ends) == 0 || len(w.Ends) != 2 && w.Label == "" {
		return fmt.Errorf("it has %d ends; only a wire of two may go without a label, and none without ends", len(w.Ends))
	}
	id := len(p.wires)
	known := map[int]bool{}
	resolved := wire{label: clean(w.Label)}
	for _, end := range w.Ends {
		n, ok := index[end]
		if !ok {
			return fmt.Errorf("machine %q has no element %q", end.Machine, end.Element)
		}
		if known[n] {
			return fmt.Errorf("it ends twice at element %q of machine %q", end.Element, end.Machine)
		}
		known[n] = true
		resolved.ends = append(resolved.ends, n)
		p.nodes[n].wires = append(p.nodes[n].wires, id)
	}
	p.wires = append(p.wires, resolved)
	return nil
}

// endName names a node as seen from a machine: the machine's name stands before
// it where it is another one.
func (p *plan) endName(n, from int) string {
	if m := p.nodes[n].machine; m != from {
		return p.machines[m].name + ":" + p.nodes[n].name
	}
	return p.nodes[n].name
}
