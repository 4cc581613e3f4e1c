package graph

import (
	"cmp"
	"fmt"
	"slices"
)

// point is a place in an SVG picture.
type point struct{ x, y int }

// ports are the places at the boxes' sides where connections and wires end.
type ports struct {
	joins [][2]point // by join, at a and at b
	wires [][]point  // by wire and end
}

// A line that ends at a box: of which join or wire, at which of its ends, and
// its place among the lines at this side of the box.
type ending struct {
	id, end int
	group   int // from above: 0, 1, 2
	order   int // in the group
	tie     int // among those of one order
}

// newPorts spreads the lines at each side of each box so that they do not
// cross there.
func (l *layout) newPorts() ports {
	p := ports{joins: make([][2]point, len(l.joins)), wires: make([][]point, len(l.wires))}
	for i, w := range l.wires {
		p.wires[i] = make([]point, len(w.ends))
	}
	for n := range l.nodes {
		var back, front, wires []ending // front: towards the wires
		for _, id := range l.nodes[n].joins {
			j := l.joins[id]
			for end, at := range [2]int{j.a, j.b} {
				if at != n {
					continue
				}
				far := j.b
				if end == 1 {
					far = j.a
				}
				if l.inLayer[far] < l.inLayer[n] {
					front = append(front, ending{id, end, 1, l.boxes[far].middle(), id})
				} else {
					back = append(back, l.backEnding(id, end, n, far))
				}
			}
		}
		for _, id := range l.nodes[n].wires {
			wires = append(wires, ending{id, slices.Index(l.wires[id].ends, n), 1, l.pills[id].middle(), id})
		}
		l.spreadPorts(n, false, back, func(e ending, at point) { p.joins[e.id][e.end] = at })
		l.spreadPorts(n, true, front, func(e ending, at point) { p.joins[e.id][e.end] = at })
		l.spreadPorts(n, true, wires, func(e ending, at point) { p.wires[e.id][e.end] = at })
	}
	return p
}

// backEnding places a line at the back of a box. Lines round the back to boxes
// of the same layer lie in each other: those upwards stand above the lines to
// the next layer, the nearest first, those downwards below, the farthest first.
func (l *layout) backEnding(id, end, n, far int) ending {
	middle := l.boxes[far].middle()
	switch {
	case l.inLayer[far] > l.inLayer[n]:
		return ending{id, end, 1, middle, id}
	case middle < l.boxes[n].middle():
		return ending{id, end, 0, -middle, -id}
	}
	return ending{id, end, 2, -middle, id}
}

// spreadPorts gives the endings at one side of a box their places.
func (l *layout) spreadPorts(n int, front bool, endings []ending, put func(ending, point)) {
	slices.SortStableFunc(endings, func(a, b ending) int {
		return cmp.Or(a.group-b.group, a.order-b.order, a.tie-b.tie)
	})
	b := l.boxes[n]
	x := b.x
	if front != l.right[l.nodes[n].machine] {
		x += b.w
	}
	for i, e := range endings {
		put(e, point{x, b.middle() + (2*i-len(endings)+1)*portSpacing/2})
	}
}

// portHeight is what a box must be high at least for its lines.
func (l *layout) portHeight(n int) int {
	back, front := 0, len(l.nodes[n].wires)
	for _, id := range l.nodes[n].joins {
		switch j := l.joins[id]; {
		case j.a == j.b:
			back += 2
		case l.inLayer[j.other(n)] < l.inLayer[n]:
			front++
		default:
			back++
		}
	}
	return max(back, front)*portSpacing + 14
}

// joinPath is the SVG path of a connection.
func (l *layout) joinPath(id int, p ports) string {
	j, from, to := l.joins[id], p.joins[id][0], p.joins[id][1]
	if l.inLayer[j.a] != l.inLayer[j.b] {
		return fmt.Sprintf("M%d %d", from.x, from.y) + swing(from, to)
	}
	out := -bulge(abs(to.y-from.y)) * 4 / 3 // a cubic's middle stands out by 3/4 of its handles
	if l.right[l.nodes[j.a].machine] {
		out = -out
	}
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", from.x, from.y, from.x+out, from.y, to.x+out, to.y, to.x, to.y)
}

// wirePaths are the SVG paths of a wire: level out of each machine's frame, then
// to the label. Without a label between the two sides, it is one path across.
func (l *layout) wirePaths(id int, p ports) []string {
	w := l.wires[id]
	if l.across(id) {
		from, to := p.wires[id][0], p.wires[id][1]
		a, b := l.frameEdge(w.ends[0], from), l.frameEdge(w.ends[1], to)
		return []string{fmt.Sprintf("M%d %dH%d%sH%d", from.x, from.y, a.x, swing(a, b), to.x)}
	}
	var paths []string
	for end, n := range w.ends {
		from := p.wires[id][end]
		edge := l.frameEdge(n, from)
		to := point{l.pills[id].x, l.pills[id].middle()}
		if l.right[l.nodes[n].machine] {
			to.x += l.pills[id].w
		}
		paths = append(paths, fmt.Sprintf("M%d %dH%d%s", from.x, from.y, edge.x, swing(edge, to)))
	}
	return paths
}

// across says that a wire without a label joins the two sides.
func (l *layout) across(id int) bool {
	w := l.wires[id]
	return w.label == "" && l.right[l.nodes[w.ends[0]].machine] != l.right[l.nodes[w.ends[1]].machine]
}

// frameEdge is where a level line from a node's port leaves the machine.
func (l *layout) frameEdge(n int, port point) point {
	f := l.frames[l.nodes[n].machine]
	if l.right[l.nodes[n].machine] {
		return point{f.x, port.y}
	}
	return point{f.x + f.w, port.y}
}

// swing goes on with a path from one point to another, leaving and arriving level.
func swing(from, to point) string {
	if from.y == to.y {
		return fmt.Sprintf("H%d", to.x)
	}
	middle := (from.x + to.x) / 2
	return fmt.Sprintf("C%d %d %d %d %d %d", middle, from.y, middle, to.y, to.x, to.y)
}
