package graph

import (
	"slices"
	"strings"
)

// A machine's connections are written as trees, one for each set of elements
// that are connected: an element, and behind it what hangs on it. A connection
// that closes a circle only names the element that it comes back to, with
// "(again)"; a tree that would grow out of the terminal goes on below.

// twig is one thing that hangs on a node in its tree.
type twig struct {
	text string // of a wire, or of a node that is drawn elsewhere; "" for a node drawn here
	node int
	wire bool
}

// forest is the trees of one machine while they are written.
type forest struct {
	*plan
	seen  []bool   // by node, less the machine's first
	drawn []bool   // by join
	twigs [][]twig // by node, less the machine's first
	first int
	lines []string
	later []int // nodes whose tree goes on below
}

// trees writes a machine's connections.
func (p *plan) trees(m int) []string {
	first, count := p.machines[m].first, p.machines[m].end-p.machines[m].first
	f := forest{
		plan: p, first: first, seen: make([]bool, count),
		drawn: make([]bool, len(p.joins)), twigs: make([][]twig, count),
	}
	for _, root := range p.roots(m) {
		if f.seen[root-first] {
			continue
		}
		f.grow(root)
		f.write(root, cut(p.nodes[root].name, textName), "")
		for len(f.later) > 0 {
			n := f.later[0]
			f.later = f.later[1:]
			f.write(n, "… "+cut(p.nodes[n].name, textName), "")
		}
	}
	return f.lines
}

// roots are a machine's nodes in the order in which they may begin a tree: what
// frames begin at first, then the ends of chains, then the rest.
func (p *plan) roots(m int) []int {
	var nodes []int
	for n := p.machines[m].first; n < p.machines[m].end; n++ {
		nodes = append(nodes, n)
	}
	rank := func(n int) int {
		switch e := p.nodes[n]; {
		case e.kind == Host:
			return 0
		case len(e.wires) == 0 && len(e.joins) == 1:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(nodes, func(a, b int) int { return rank(a) - rank(b) })
	return nodes
}

// grow finds what hangs on a node and on what hangs there.
func (f *forest) grow(n int) {
	f.seen[n-f.first] = true
	var twigs []twig
	for _, id := range f.nodes[n].joins {
		if f.drawn[id] {
			continue
		}
		f.drawn[id] = true
		switch next := f.joins[id].other(n); {
		case next == n:
			twigs = append(twigs, twig{text: "itself"})
		case f.seen[next-f.first]:
			twigs = append(twigs, twig{text: cut(f.nodes[next].name, textName) + " (again)"})
		default:
			twigs = append(twigs, twig{node: next})
			f.grow(next)
		}
	}
	for _, id := range f.nodes[n].wires {
		twigs = append(twigs, twig{text: f.wireText(id, n), wire: true})
	}
	f.twigs[n-f.first] = twigs
}

// wireText says where a wire goes from a node.
func (f *forest) wireText(id, n int) string {
	w := f.wires[id]
	label := cut(w.label, textLabel)
	if len(w.ends) != 2 {
		return label
	}
	far := w.ends[0] + w.ends[1] - n
	if label != "" {
		label += " ┄┄ "
	}
	return label + f.endName(far, f.nodes[n].machine)
}

// write writes a node's tree. line is what stands on its first line, its own
// name last; margin is what the lines below begin with.
func (f *forest) write(n int, line, margin string) {
	twigs := f.twigs[n-f.first]
	if len(twigs) == 0 {
		f.lines = append(f.lines, line)
		return
	}
	margin += strings.Repeat(" ", columns(line)-columns(margin)+1)
	for i, t := range twigs {
		dash, beside := "─", margin+"│  "
		if t.wire {
			dash = "┄"
		}
		if i == len(twigs)-1 {
			beside = margin + "   "
		}
		if i == 0 {
			line += " "
		} else {
			line = margin
		}
		line += forkSign(i, len(twigs), dash) + " "
		f.twig(t, line, beside)
	}
}

// twig writes one twig behind line. Below it, lines begin with beside.
func (f *forest) twig(t twig, line, beside string) {
	// What a branch takes at least: its sign, a name, and " (below)".
	const room = 4 + textName + 8
	if t.text != "" || t.wire {
		f.lines = append(f.lines, line+cut(t.text, textInner-columns(line)))
		return
	}
	line += cut(f.nodes[t.node].name, textName)
	if columns(line)+room > textInner && len(f.twigs[t.node-f.first]) > 0 {
		f.lines = append(f.lines, line+" (below)")
		f.later = append(f.later, t.node)
		return
	}
	f.write(t.node, line, beside)
}
