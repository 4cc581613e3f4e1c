package graph

import "slices"

// rect is a place in an SVG picture, in pixels, y downwards.
type rect struct{ x, y, w, h int }

func (r rect) middle() int { return r.y + r.h/2 }

// settle places things of the given heights below each other, in order, with a
// gap between them, so that together they stand as near to the tops that they
// wish for as they can (isotonic regression: neighbours that would overlap are
// pooled, and a pool stands where its members wish on average).
func settle(wished, heights []int, gap int) []int {
	type pool struct{ sum, count int }
	mean := func(p pool) int { return floorDiv(p.sum, p.count) }
	var pools []pool
	offset := 0
	offsets := make([]int, len(wished))
	for i, top := range wished {
		offsets[i] = offset
		pools = append(pools, pool{top - offset, 1})
		for len(pools) > 1 && mean(pools[len(pools)-2]) > mean(pools[len(pools)-1]) {
			last := pools[len(pools)-1]
			pools = pools[:len(pools)-1]
			pools[len(pools)-1].sum += last.sum
			pools[len(pools)-1].count += last.count
		}
		offset += heights[i] + gap
	}
	tops := make([]int, 0, len(wished))
	for _, p := range pools {
		for range p.count {
			tops = append(tops, mean(p)+offsets[len(tops)])
		}
	}
	return tops
}

// arrange puts ids in the order of the middles that they wish for, as long as
// equals keep theirs, and settles their rects there.
func arrange(ids []int, rects []rect, gap int, wish func(id int) int) {
	wishes := make(map[int]int, len(ids))
	for _, id := range ids {
		wishes[id] = wish(id)
	}
	slices.SortStableFunc(ids, func(a, b int) int { return wishes[a] - wishes[b] })
	wished, heights := make([]int, len(ids)), make([]int, len(ids))
	for i, id := range ids {
		heights[i] = rects[id].h
		wished[i] = wishes[id] - rects[id].h/2
	}
	for i, top := range settle(wished, heights, gap) {
		rects[ids[i]].y = top
	}
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
