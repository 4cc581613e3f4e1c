package graph

import "slices"

// How an SVG picture is laid out. Everything stands in columns with channels
// between them, and a line never leaves its channel, so no line crosses a box:
//
//	machines on the left     channel   labels of   channel   machines on the
//	  …, layer 1, layer 0     ┄┄┄┄┄    the wires    ┄┄┄┄┄    right: layer 0, …
//
// In a machine, layer 0 are the elements that have wires, layer 1 those
// connected to them, and so on; a connection therefore joins two neighbouring
// layers, or two elements of one layer, round the back.

// The measures of an SVG picture, in pixels.
const (
	margin      = 20
	frameGap    = 22 // between machines
	framePad    = 18 // between a machine's frame and its elements
	frameTitle  = 34 // height of a machine's title
	boxGap      = 14
	pillHeight  = 22
	pillGap     = 10
	portSpacing = 11 // between the lines at one side of a box
	sweeps      = 4
)

type layout struct {
	*plan
	boxes     []rect // by node; while a machine is laid out, y counts from its frame's top
	frames    []rect // by machine
	pills     []rect // by wire: its label, or a point
	right     []bool // by machine: it stands on the right of the wires
	left      []int  // the machines on the left, from above
	rightSide []int  // those on the right
	interiors []interior
	inLayer   []int // by node
	width     int
	height    int
}

func newLayout(p *plan) *layout {
	l := &layout{
		plan:      p,
		boxes:     make([]rect, len(p.nodes)),
		frames:    make([]rect, len(p.machines)),
		pills:     make([]rect, len(p.wires)),
		interiors: make([]interior, len(p.machines)),
		inLayer:   make([]int, len(p.nodes)),
	}
	l.makeLayers()
	for n := range l.boxes {
		l.boxes[n] = l.boxSize(n)
	}
	for i, w := range p.wires {
		l.pills[i].w, l.pills[i].h = pillSize(w.label)
	}
	for m := range p.machines {
		l.layOutMachine(m)
	}
	l.chooseSides()
	left, right := l.sideOrder()
	l = l.best(left, right)
	l.fix()
	return l
}

// settled is a copy of the layout with the machines of both sides settled,
// beginning from the given orders.
func (l *layout) settled(left, right []int) *layout {
	c := *l
	c.left, c.rightSide = slices.Clone(left), slices.Clone(right)
	c.boxes, c.frames, c.pills = slices.Clone(l.boxes), slices.Clone(l.frames), slices.Clone(l.pills)
	c.interiors = slices.Clone(l.interiors)
	for m := range c.interiors {
		layers := slices.Clone(c.interiors[m].layers)
		for i := range layers {
			layers[i] = slices.Clone(layers[i])
		}
		c.interiors[m].layers = layers
	}
	c.stack(c.left)
	c.stack(c.rightSide)
	c.settleOutside()
	// Now that it is known where the wires go, layer 0 is ordered by it.
	for m := range c.machines {
		c.orderByWires(m)
		c.layOutMachine(m)
	}
	c.settleOutside()
	return &c
}

// end is the height of a node's wires in the picture, while its box counts from
// its frame.
func (l *layout) end(n int) int { return l.frames[l.nodes[n].machine].y + l.boxes[n].middle() }

// stack puts a column's machines below each other.
func (l *layout) stack(column []int) {
	y := 0
	for _, m := range column {
		l.frames[m].y = y
		y += l.frames[m].h + frameGap
	}
}

// settleOutside moves machines and labels up and down until wires run as level
// as they can.
func (l *layout) settleOutside() {
	pills := make([]int, len(l.pills))
	for i := range pills {
		pills[i] = i
	}
	pillWish := func(i int) int {
		sum := 0
		for _, n := range l.wires[i].ends {
			sum += l.end(n)
		}
		return floorDiv(sum, len(l.wires[i].ends))
	}
	// A frame wishes that its ends stood where its wires' labels stand.
	frameWish := func(m int) int {
		sum, count := 0, 0
		for n := l.machines[m].first; n < l.machines[m].end; n++ {
			for _, w := range l.nodes[n].wires {
				sum += l.pills[w].middle() - l.end(n)
				count++
			}
		}
		if count == 0 {
			return l.frames[m].middle()
		}
		return l.frames[m].middle() + floorDiv(sum, count)
	}
	for range sweeps {
		arrange(pills, l.pills, pillGap, pillWish)
		arrange(l.rightSide, l.frames, frameGap, frameWish)
		arrange(pills, l.pills, pillGap, pillWish)
		arrange(l.left, l.frames, frameGap, frameWish)
	}
	arrange(pills, l.pills, pillGap, pillWish)
}

// fix gives everything its final place.
func (l *layout) fix() {
	left, right := l.left, l.rightSide
	top := 0
	for i, r := range append(append([]rect{}, l.frames...), l.pills...) {
		if i == 0 || r.y < top {
			top = r.y
		}
	}
	widest := func(rects []rect, ids []int) int {
		w := 0
		for _, id := range ids {
			w = max(w, rects[id].w)
		}
		return w
	}
	x := margin + widest(l.frames, left)
	for _, m := range left {
		l.frames[m].x = x - l.frames[m].w
	}
	if len(l.wires) > 0 {
		x += l.channel(false)
		pill := 0
		for _, r := range l.pills {
			pill = max(pill, r.w)
		}
		for i := range l.pills {
			l.pills[i].x = x + (pill-l.pills[i].w)/2
		}
		x += pill
	}
	if len(right) > 0 {
		x += l.channel(true)
	}
	for _, m := range right {
		l.frames[m].x = x
	}
	l.width = x + widest(l.frames, right) + margin
	l.height = 2 * margin
	for i := range l.pills {
		l.pills[i].y += margin - top
		l.height = max(l.height, l.pills[i].y+l.pills[i].h+margin)
	}
	for m := range l.frames {
		l.frames[m].y += margin - top
		l.height = max(l.height, l.frames[m].y+l.frames[m].h+margin)
		l.fixInside(m)
	}
}

// channel is the width of the channel at one side of the labels: the steeper
// its wires, the wider.
func (l *layout) channel(right bool) int {
	steep := 0
	for i, w := range l.wires {
		for _, n := range w.ends {
			if l.right[l.nodes[n].machine] == right {
				steep = max(steep, abs(l.end(n)-l.pills[i].middle()))
			}
		}
	}
	return min(36+steep/4, 220)
}

func abs(n int) int { return max(n, -n) }
