package graph

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// The measures of a text picture, in columns.
const (
	textWidth = 80
	textInner = textWidth - 4 // between a box's borders and the blank beside each
	textName  = 20            // an element's name
	textLabel = 24            // a wire's label
)

// noElements stands in a machine that has none.
const noElements = "no network elements"

// Text writes the network for a terminal of 80 columns: a box for each machine
// with its connections as a tree and its elements below, and at the end the
// wires of more than two ends.
func Text(w io.Writer, net Network) error {
	p, err := newPlan(net)
	if err != nil {
		return err
	}
	bodies := make([][]string, len(p.machines))
	inner := 0
	for m := range p.machines {
		bodies[m] = p.machineText(m)
		inner = max(inner, columns(p.title(m))+3)
		for _, line := range bodies[m] {
			inner = max(inner, columns(line))
		}
	}
	out := bufio.NewWriter(w)
	for m, body := range bodies {
		title := p.title(m)
		fmt.Fprintf(out, "╭─ %s %s╮\n", title, strings.Repeat("─", inner-columns(title)-1))
		for _, line := range body {
			fmt.Fprintf(out, "│ %s │\n", pad(line, inner))
		}
		fmt.Fprintf(out, "╰%s╯\n", strings.Repeat("─", inner+2))
	}
	for _, w := range p.wires {
		if len(w.ends) <= 2 {
			continue // it stands whole in the trees
		}
		label := cut(w.label, textLabel)
		for i, n := range w.ends {
			fork := forkSign(i, len(w.ends), "┄")
			fmt.Fprintf(out, "%s %s %s\n", label, fork, cut(p.endName(n, -1), textInner-textLabel))
			label = strings.Repeat(" ", columns(label))
		}
	}
	return out.Flush()
}

func (p *plan) title(m int) string { return cut(p.machines[m].name, textInner-3) }

// machineText is what stands in a machine's box.
func (p *plan) machineText(m int) []string {
	if p.machines[m].first == p.machines[m].end {
		return []string{noElements}
	}
	lines := append(p.trees(m), "")
	names := 0
	for n := p.machines[m].first; n < p.machines[m].end; n++ {
		names = max(names, columns(cut(p.nodes[n].name, textName)))
	}
	for n := p.machines[m].first; n < p.machines[m].end; n++ {
		e := p.nodes[n]
		lines = append(lines, filled(cut(e.name, textName), names+2, append([]string{e.typ}, e.detail...))...)
	}
	return lines
}

// filled puts as many items on a line as fit, behind a name in its column.
func filled(name string, indent int, items []string) []string {
	lines := []string{pad(name, indent)}
	used := indent
	for _, item := range items {
		item = cut(item, textInner-indent)
		if used > indent && used+2+columns(item) > textInner {
			lines = append(lines, strings.Repeat(" ", indent))
			used = indent
		}
		if used > indent {
			item = "  " + item
		}
		lines[len(lines)-1] += item
		used += columns(item)
	}
	return lines
}

// forkSign is the branch for item i of n: of a plain line if dash is "─", of a
// wire if it is "┄".
func forkSign(i, n int, dash string) string {
	switch {
	case n == 1:
		return dash + dash
	case i == 0:
		return "┬" + dash
	case i == n-1:
		return "╰" + dash
	}
	return "├" + dash
}
