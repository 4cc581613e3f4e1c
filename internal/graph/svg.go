package graph

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Text in an SVG picture is set in a monospaced face, so that its width is known
// without the font: the advance of a column, in hundredths of a pixel, with some
// room for a face that is wider than most.
const (
	nameAdvance  = 820 // bold, 13 pixels
	titleAdvance = 820
	smallAdvance = 675 // 11 pixels
	boxColumns   = 40  // what a line in a box is cut to
	pillColumns  = 30

	boxPad     = 14
	boxTop     = 36 // name and type
	detailLine = 15
	iconSize   = 16
)

// SVG writes the network as a picture with a background of its own, for light
// and dark pages. It needs no font and no other file.
func SVG(w io.Writer, net Network) error {
	p, err := newPlan(net)
	if err != nil {
		return err
	}
	l := newLayout(p)
	at := l.newPorts()
	out := bufio.NewWriter(w)
	l.open(out)
	for m := range l.machines {
		l.drawFrame(out, m)
	}
	for i := range l.wires {
		for _, path := range l.wirePaths(i, at) {
			fmt.Fprintf(out, `<path class="w" d="%s"/>`+"\n", path)
		}
	}
	for i := range l.joins {
		fmt.Fprintf(out, `<path class="c" d="%s"/>`+"\n", l.joinPath(i, at))
	}
	for i := range l.wires {
		l.drawPill(out, i)
	}
	for n := range l.nodes {
		l.drawBox(out, n)
	}
	fmt.Fprint(out, "</svg>\n")
	return out.Flush()
}

func (l *layout) open(out io.Writer) {
	var names []string
	for _, m := range l.machines[:min(len(l.machines), 8)] {
		names = append(names, m.name)
	}
	if len(l.machines) > 8 {
		names = append(names, "…")
	}
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n",
		l.width, l.height)
	fmt.Fprintf(out, "<title>Network of %s</title>\n", xmlEscape.Replace(strings.Join(names, ", ")))
	fmt.Fprintf(out, "<style>%s%s</style>\n", styleSheet, kindStyles())
	fmt.Fprintf(out, `<rect class="page" x=".5" y=".5" width="%d" height="%d" rx="12"/>`+"\n", l.width-1, l.height-1)
}

func (l *layout) drawFrame(out io.Writer, m int) {
	f := l.frames[m]
	fmt.Fprintf(out, `<rect class="m" x="%d" y="%d" width="%d" height="%d" rx="10"/>`+"\n", f.x, f.y, f.w, f.h)
	fmt.Fprintf(out, `<text class="t" x="%d" y="%d">%s</text>`+"\n",
		f.x+framePad, f.y+22, xmlEscape.Replace(cut(l.machines[m].name, boxColumns)))
	if l.machines[m].first == l.machines[m].end {
		fmt.Fprintf(out, `<text class="y" x="%d" y="%d">%s</text>`+"\n", f.x+framePad, f.y+40, noElements)
	}
}

func (l *layout) drawPill(out io.Writer, i int) {
	r, w := l.pills[i], l.wires[i]
	if w.label != "" {
		fmt.Fprintf(out, `<g><title>%s</title><rect class="p" x="%d" y="%d" width="%d" height="%d" rx="%d"/>`+
			`<text class="l" x="%d" y="%d">%s</text></g>`+"\n",
			xmlEscape.Replace(w.label), r.x, r.y, r.w, r.h, r.h/2, r.x+r.w/2, r.y+15, xmlEscape.Replace(cut(w.label, pillColumns)))
		return
	}
	if !l.across(i) {
		fmt.Fprintf(out, `<circle class="d" cx="%d" cy="%d" r="3"/>`+"\n", r.x, r.middle())
	}
}

func (l *layout) drawBox(out io.Writer, n int) {
	b, e := l.boxes[n], l.nodes[n]
	kind := kindColours[e.kind].class
	fmt.Fprintf(out, `<g><title>%s</title>`, xmlEscape.Replace(strings.Join(append([]string{e.name + ": " + e.typ}, e.detail...), "\n")))
	fmt.Fprintf(out, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="%d"/>`, kind, b.x, b.y, b.w, b.h, boxRadius[e.kind])
	x, y := b.x+boxPad, b.y+(b.h-textHeight(e))/2
	fmt.Fprintf(out, `<path class="%s i" transform="translate(%d %d)" d="%s"/>`,
		kind, b.x+b.w-boxPad+4-iconSize, y+8, kindIcons[e.kind])
	fmt.Fprintf(out, `<text class="n" x="%d" y="%d">%s</text>`, x, y+20, xmlEscape.Replace(cut(e.name, boxColumns)))
	fmt.Fprintf(out, `<text class="y" x="%d" y="%d">%s</text>`, x, y+35, xmlEscape.Replace(boxType(e)))
	for i, d := range e.detail {
		fmt.Fprintf(out, `<text class="e" x="%d" y="%d">%s</text>`, x, y+boxTop+16+i*detailLine, xmlEscape.Replace(cut(d, boxColumns)))
	}
	fmt.Fprint(out, "</g>\n")
}

// boxSize is what a node's texts, icon and lines need.
func (l *layout) boxSize(n int) rect {
	e := l.nodes[n]
	width := columns(cut(e.name, boxColumns))*nameAdvance/100 + 8 + iconSize
	for _, s := range append([]string{boxType(e)}, e.detail...) {
		width = max(width, columns(cut(s, boxColumns))*smallAdvance/100)
	}
	return rect{w: max(width+2*boxPad, 100), h: max(textHeight(e), l.portHeight(n))}
}

func textHeight(e node) int { return boxTop + len(e.detail)*detailLine + 10 }

func boxType(e node) string { return cut(shortType(e.typ), boxColumns) }

func pillSize(label string) (width, height int) {
	if label == "" {
		return 0, 6
	}
	return columns(cut(label, pillColumns))*smallAdvance/100 + 24, pillHeight
}

// xmlEscape guards text in XML; what no XML may hold, clean has replaced.
var xmlEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")
