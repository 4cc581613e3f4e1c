package graph

// chooseSides puts each machine on the side where fewer of its wires would end
// on the side that they came from, and where there is more room. A machine is
// placed after a neighbour of it, so that the choice has something to go by.
func (l *layout) chooseSides() {
	l.right = make([]bool, len(l.machines))
	placed := make([]bool, len(l.machines))
	heights := [2]int{}
	for _, m := range l.neighbourOrder() {
		same := [2]int{} // wires to machines on the left, on the right
		for n := l.machines[m].first; n < l.machines[m].end; n++ {
			for _, w := range l.nodes[n].wires {
				ends := l.wires[w].ends
				if len(ends) != 2 {
					continue
				}
				far := l.nodes[ends[0]+ends[1]-n].machine
				if placed[far] {
					same[side(l.right[far])]++
				}
			}
		}
		goRight := same[1] < same[0] || same[1] == same[0] && heights[1] < heights[0]
		l.right[m], placed[m] = goRight, true
		heights[side(goRight)] += l.frames[m].h + frameGap
	}
}

func side(right bool) int {
	if right {
		return 1
	}
	return 0
}

// neighbourOrder are the machines, each behind one that it has a wire to.
func (l *layout) neighbourOrder() []int {
	var order []int
	known := make([]bool, len(l.machines))
	wireKnown := make([]bool, len(l.wires))
	for start := range l.machines {
		if known[start] {
			continue
		}
		known[start] = true
		order = append(order, start)
		for i := len(order) - 1; i < len(order); i++ {
			m := l.machines[order[i]]
			for n := m.first; n < m.end; n++ {
				for _, w := range l.nodes[n].wires {
					if wireKnown[w] {
						continue
					}
					wireKnown[w] = true
					for _, far := range l.wires[w].ends {
						if next := l.nodes[far].machine; !known[next] {
							known[next] = true
							order = append(order, next)
						}
					}
				}
			}
		}
	}
	return order
}

func (l *layout) sideOrder() (left, right []int) {
	for _, m := range l.neighbourOrder() {
		if l.right[m] {
			right = append(right, m)
		} else {
			left = append(left, m)
		}
	}
	return left, right
}

// The search for a better order is for pictures that a person takes in at a
// glance; in larger ones the first order has to do.
const (
	searchMachines = 12
	searchThings   = 200 // elements and wires
)

// best settles the machines in the order given and, in small networks, in such
// orders as change two machines of a side, and keeps what has fewer crossings.
func (l *layout) best(left, right []int) *layout {
	best := l.settled(left, right)
	if len(l.machines) > searchMachines || len(l.nodes)+len(l.wires) > searchThings {
		return best
	}
	cost := best.cost()
	for range sweeps {
		before := cost
		for _, column := range [][]int{left, right} {
			for i := 1; i < len(column); i++ {
				for j := range i {
					column[i], column[j] = column[j], column[i]
					if next := l.settled(left, right); next.cost() < cost {
						best, cost = next, next.cost()
					} else {
						column[i], column[j] = column[j], column[i]
					}
				}
			}
		}
		if cost == before {
			break
		}
	}
	return best
}

// cost says how hard to follow the wires are: by their crossings first, then by
// how far they climb.
func (l *layout) cost() int {
	type climb struct{ from, to int }
	sides := [2][]climb{}
	length := 0
	for i, w := range l.wires {
		for _, n := range w.ends {
			c := climb{l.end(n), l.pills[i].middle()}
			length += abs(c.from - c.to)
			s := side(l.right[l.nodes[n].machine])
			sides[s] = append(sides[s], c)
		}
	}
	crossings := 0
	for _, climbs := range sides {
		for i, a := range climbs {
			for _, b := range climbs[:i] {
				if (a.from-b.from)*(a.to-b.to) < 0 {
					crossings++
				}
			}
		}
	}
	return crossings*10_000 + length
}
