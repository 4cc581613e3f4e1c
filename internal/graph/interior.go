package graph

import "slices"

// interior is the inside of one machine. Layers are counted from the side of
// the wires.
type interior struct {
	layers [][]int // nodes, from above
	widths []int   // of the layers
	gaps   []int   // of the channel behind each layer
}

// smallestFrame is a machine's least width: it holds noElements.
const smallestFrame = len(noElements)*smallAdvance/100 + 2*framePad

// makeLayers gives each node its layer: its distance from the nearest element
// with wires. A set of connected elements that has none counts from those that
// could have some, else from the one with the most connections.
func (l *layout) makeLayers() {
	for n := range l.inLayer {
		l.inLayer[n] = -1
	}
	for m := range l.machines {
		var wired, outward, rest []int
		for n := l.machines[m].first; n < l.machines[m].end; n++ {
			switch k := l.nodes[n].kind; {
			case len(l.nodes[n].wires) > 0:
				wired = append(wired, n)
			case k == Link || k == TAP || k == PacketSocket:
				outward = append(outward, n)
			default:
				rest = append(rest, n)
			}
		}
		slices.SortStableFunc(rest, func(a, b int) int { return len(l.nodes[b].joins) - len(l.nodes[a].joins) })
		l.spread(m, wired)
		l.spread(m, outward)
		for _, n := range rest {
			l.spread(m, []int{n})
		}
	}
}

// spread numbers the layers of a machine from some roots onwards. What has its
// number keeps it.
func (l *layout) spread(m int, roots []int) {
	in := &l.interiors[m]
	var queue []int
	put := func(n, layer int) {
		if l.inLayer[n] >= 0 {
			return
		}
		l.inLayer[n] = layer
		if layer == len(in.layers) {
			in.layers = append(in.layers, nil)
		}
		in.layers[layer] = append(in.layers[layer], n)
		queue = append(queue, n)
	}
	for _, n := range roots {
		put(n, 0)
	}
	for ; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		for _, id := range l.nodes[n].joins {
			put(l.joins[id].other(n), l.inLayer[n]+1)
		}
	}
}

// layOutMachine gives a machine's boxes and frame their sizes, and the boxes
// their heights from the frame's top.
func (l *layout) layOutMachine(m int) {
	in := &l.interiors[m]
	for _, layer := range in.layers {
		l.stackLayer(layer)
	}
	for range sweeps {
		for i := 1; i < len(in.layers); i++ {
			l.arrangeLayer(in.layers[i], i-1)
		}
		for i := len(in.layers) - 2; i >= 0; i-- {
			l.arrangeLayer(in.layers[i], i+1)
		}
	}
	top, bottom := 0, 0
	first := true
	for n := l.machines[m].first; n < l.machines[m].end; n++ {
		b := l.boxes[n]
		if first || b.y < top {
			top = b.y
		}
		if first || b.y+b.h > bottom {
			bottom = b.y + b.h
		}
		first = false
	}
	for n := l.machines[m].first; n < l.machines[m].end; n++ {
		l.boxes[n].y += frameTitle - top
	}
	width := l.measureColumns(m)
	title := columns(cut(l.machines[m].name, boxColumns))*titleAdvance/100 + 2*framePad
	l.frames[m].w = max(width+2*framePad, title, smallestFrame)
	l.frames[m].h = frameTitle + bottom - top + framePad
}

func (l *layout) stackLayer(layer []int) {
	y := 0
	for _, n := range layer {
		l.boxes[n].y = y
		y += l.boxes[n].h + boxGap
	}
}

// arrangeLayer brings a layer's boxes to the height of what they are connected
// to in another layer.
func (l *layout) arrangeLayer(layer []int, other int) {
	arrange(layer, l.boxes, boxGap, func(n int) int {
		sum, count := 0, 0
		for _, id := range l.nodes[n].joins {
			if next := l.joins[id].other(n); l.inLayer[next] == other {
				sum += l.boxes[next].middle()
				count++
			}
		}
		if count == 0 {
			return l.boxes[n].middle()
		}
		return floorDiv(sum, count)
	})
}

// orderByWires orders a machine's layer 0 by where its wires go.
func (l *layout) orderByWires(m int) {
	if len(l.interiors[m].layers) == 0 {
		return
	}
	layer := l.interiors[m].layers[0]
	far := make(map[int]int, len(layer))
	for _, n := range layer {
		far[n] = l.farEnds(n)
	}
	// Two that are connected within the layer draw each other near.
	goals := make(map[int]int, len(layer))
	for _, n := range layer {
		sum, count := 2*far[n], 2
		for _, id := range l.nodes[n].joins {
			if next := l.joins[id].other(n); next != n && l.inLayer[next] == 0 {
				sum += far[next]
				count++
			}
		}
		goals[n] = floorDiv(sum, count)
	}
	slices.SortStableFunc(layer, func(a, b int) int { return goals[a] - goals[b] })
}

// farEnds is how high the other ends of a node's wires stand on average; its
// own height if it has none.
func (l *layout) farEnds(n int) int {
	sum, count := 0, 0
	for _, w := range l.nodes[n].wires {
		for _, end := range l.wires[w].ends {
			if end != n {
				sum += l.end(end)
				count++
			}
		}
	}
	if count == 0 {
		return l.end(n)
	}
	return floorDiv(sum, count)
}

// measureColumns sets the widths of a machine's layers and of the channels
// behind them, and gives their sum.
func (l *layout) measureColumns(m int) int {
	in := &l.interiors[m]
	in.widths, in.gaps = make([]int, len(in.layers)), make([]int, len(in.layers))
	total := 0
	for i, layer := range in.layers {
		for _, n := range layer {
			in.widths[i] = max(in.widths[i], l.boxes[n].w)
			for _, id := range l.nodes[n].joins {
				next := l.joins[id].other(n)
				steep := abs(l.boxes[next].middle() - l.boxes[n].middle())
				switch {
				case l.inLayer[next] == i:
					in.gaps[i] = max(in.gaps[i], bulge(steep)+10)
				case l.inLayer[next] == i+1:
					in.gaps[i] = max(in.gaps[i], min(40+steep/5, 140))
				}
			}
		}
		if i+1 < len(in.layers) {
			in.gaps[i] = max(in.gaps[i], 40)
		}
		for _, n := range layer {
			l.boxes[n].w = in.widths[i]
		}
		total += in.widths[i] + in.gaps[i]
	}
	return total
}

// bulge is how far a line between two boxes of one layer stands out.
func bulge(steep int) int { return min(16+steep/8, 60) }

// fixInside gives a machine's boxes their final place in their frame's.
func (l *layout) fixInside(m int) {
	f := l.frames[m]
	x := f.x + f.w - framePad
	if l.right[m] {
		x = f.x + framePad
	}
	in := l.interiors[m]
	for i, layer := range in.layers {
		if !l.right[m] {
			x -= in.widths[i]
		}
		for _, n := range layer {
			l.boxes[n].x = x
			l.boxes[n].y += f.y
		}
		if l.right[m] {
			x += in.widths[i] + in.gaps[i]
		} else {
			x -= in.gaps[i]
		}
	}
}
