package graph

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// dotShapes are the kinds' shapes and styles in DOT.
var dotShapes = [numKinds]struct{ shape, style string }{
	Other:        {"box", "filled"},
	Host:         {"box", "filled"},
	Link:         {"box", "filled,rounded"},
	TAP:          {"component", "filled"},
	PacketSocket: {"note", "filled"},
	Switch:       {"octagon", "filled"},
}

// DOT writes the network in the language of Graphviz, as an undirected graph
// with a cluster for each machine.
func DOT(w io.Writer, net Network) error {
	p, err := newPlan(net)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprint(out, "graph network {\n"+
		"\trankdir=LR\n"+
		"\tfontname=\"monospace\"\n"+
		"\tnode [fontname=\"monospace\" fontsize=10 margin=\"0.2,0.1\"]\n"+
		"\tedge [fontname=\"monospace\" fontsize=9]\n")
	for i, m := range p.machines {
		fmt.Fprintf(out, "\tsubgraph cluster_%d {\n\t\tlabel=%s style=rounded\n", i, dotString(m.name))
		for n := m.first; n < m.end; n++ {
			e := p.nodes[n]
			colours, form := kindColours[e.kind], dotShapes[e.kind]
			fmt.Fprintf(out, "\t\tn%d [label=%s shape=%s style=%q fillcolor=%q color=%q]\n",
				n, dotString(append([]string{e.name, shortType(e.typ)}, e.detail...)...),
				form.shape, form.style, colours.fill, colours.line)
		}
		if m.first == m.end { // Graphviz leaves an empty cluster out
			fmt.Fprintf(out, "\t\tm%d [label=%s shape=plaintext]\n", i, dotString(noElements))
		}
		fmt.Fprint(out, "\t}\n")
	}
	for _, j := range p.joins {
		fmt.Fprintf(out, "\tn%d -- n%d\n", j.a, j.b)
	}
	for i, w := range p.wires {
		if len(w.ends) == 2 {
			fmt.Fprintf(out, "\tn%d -- n%d [style=dashed label=%s]\n", w.ends[0], w.ends[1], dotString(w.label))
			continue
		}
		fmt.Fprintf(out, "\tw%d [label=%s shape=ellipse style=dashed]\n", i, dotString(w.label))
		for _, n := range w.ends {
			fmt.Fprintf(out, "\tn%d -- w%d [style=dashed]\n", n, i)
		}
	}
	fmt.Fprint(out, "}\n")
	return out.Flush()
}

// dotEscape guards what Graphviz reads in a quoted label: the quote, the
// escapes that a backslash begins, and the entities of HTML
// (https://graphviz.org/doc/info/lang.html, attribute type escString).
var dotEscape = strings.NewReplacer(`"`, `\"`, `\`, `\\`, "&", "&amp;")

// dotString is a quoted label of one or more lines.
func dotString(lines ...string) string {
	escaped := make([]string, len(lines))
	for i, s := range lines {
		escaped[i] = dotEscape.Replace(s)
	}
	return `"` + strings.Join(escaped, `\n`) + `"`
}

// shortType leaves out of a type's path what most of them begin with.
func shortType(path string) string {
	for _, prefix := range []string{"tme/", "nme/", "host/"} {
		path = strings.TrimPrefix(path, prefix)
	}
	return path
}
