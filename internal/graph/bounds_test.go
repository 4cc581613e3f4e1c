package graph

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// random makes a network of n elements with as many connections and wires as
// elements, some of them with several ends.
func random(seed uint64, n int) Network {
	r := rand.New(rand.NewPCG(seed, 0))
	var net Network
	var ends []End
	for n > 0 {
		m := Machine{Name: fmt.Sprintf("m%d", len(net.Machines))}
		for range min(n, 1+r.IntN(12)) {
			e := Element{Name: fmt.Sprintf("e%d", len(m.Elements)), Type: "tme/generic/switch", Kind: Kind(r.IntN(int(numKinds)))}
			for range r.IntN(4) {
				e.Detail = append(e.Detail, strings.Repeat("x", r.IntN(60)))
			}
			m.Elements = append(m.Elements, e)
			ends = append(ends, End{m.Name, e.Name})
			n--
		}
		for range m.Elements {
			m.Connections = append(m.Connections, Connection{m.Elements[r.IntN(len(m.Elements))].Name, m.Elements[r.IntN(len(m.Elements))].Name})
		}
		net.Machines = append(net.Machines, m)
	}
	r.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
	for len(ends) > 0 {
		take := min(len(ends), 1+r.IntN(4))
		net.Wires = append(net.Wires, Wire{[]string{"udp", "tap0"}[r.IntN(2)], ends[:take:take]})
		if take == 2 && r.IntN(2) == 0 {
			net.Wires[len(net.Wires)-1].Label = ""
		}
		ends = ends[take:]
	}
	return net
}

func (r rect) overlaps(o rect) bool {
	return r.x < o.x+o.w && o.x < r.x+r.w && r.y < o.y+o.h && o.y < r.y+r.h
}

func (r rect) holds(o rect) bool {
	return r.x <= o.x && o.x+o.w <= r.x+r.w && r.y <= o.y && o.y+o.h <= r.y+r.h
}

// allNetworks are the named networks and random ones up to 1,000 elements.
func allNetworks() map[string]Network {
	all := map[string]Network{}
	for name, net := range networks {
		all[name] = net
	}
	for i, n := range []int{1, 2, 3, 5, 8, 13, 21, 40, 80, 200, 1000} {
		all[fmt.Sprintf("random-%d", n)] = random(uint64(i), n)
	}
	all["long-switch"] = chain(1000, "sw")
	all["star-300"] = star(300)
	return all
}

func TestLayoutHasNoOverlaps(t *testing.T) {
	for name, net := range allNetworks() {
		t.Run(name, func(t *testing.T) {
			p, err := newPlan(net)
			if err != nil {
				t.Fatal(err)
			}
			l := newLayout(p)
			page := rect{w: l.width, h: l.height}
			outer := append(append([]rect{}, l.frames...), l.pills...)
			for i, a := range outer {
				if !page.holds(a) {
					t.Fatalf("%v is outside of the page %v", a, page)
				}
				for _, b := range outer[:i] {
					if a.overlaps(b) {
						t.Fatalf("%v overlaps %v", a, b)
					}
				}
			}
			for n, a := range l.boxes {
				if f := l.frames[p.nodes[n].machine]; !f.holds(a) {
					t.Fatalf("%s: %v is outside of its frame %v", p.nodes[n].name, a, f)
				}
				m := p.machines[p.nodes[n].machine]
				for _, b := range l.boxes[m.first:n] {
					if a.overlaps(b) {
						t.Fatalf("%s: %v overlaps %v", p.nodes[n].name, a, b)
					}
				}
			}
			for i, at := range l.newPorts().joins {
				for end, n := range []int{p.joins[i].a, p.joins[i].b} {
					if b := l.boxes[n]; at[end].y <= b.y || at[end].y >= b.y+b.h || at[end].x != b.x && at[end].x != b.x+b.w {
						t.Fatalf("connection %d ends at %v, which is not at a side of %v", i, at[end], b)
					}
				}
			}
		})
	}
}

func TestTextFitsTheTerminal(t *testing.T) {
	for name, net := range allNetworks() {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Text(&out, net); err != nil {
				t.Fatal(err)
			}
			box := 0 // the width of the box that the line stands in
			for line := range strings.Lines(out.String()) {
				line = strings.TrimSuffix(line, "\n")
				width := columns(line)
				if strings.HasPrefix(line, "╭") {
					box = width
				}
				if width > textWidth || strings.HasPrefix(line, "│") && (width != box || !strings.HasSuffix(line, " │")) {
					t.Errorf("%d columns in a box of %d: %s", width, box, line)
				}
			}
		})
	}
}

// Each element and each connection is in the trees: a tree that goes on below
// must come there.
func TestTextShowsEverything(t *testing.T) {
	p, err := newPlan(chain(100, "a-long-name"))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(p.trees(0), "\n")
	for i := range 99 {
		name, next := cut(p.nodes[i].name, textName), cut(p.nodes[i+1].name, textName)
		if !strings.Contains(all, name+" ── "+next) {
			t.Errorf("the connection of %s to %s is not there:\n%s", name, next, all)
		}
	}
}

func BenchmarkSVG1000(b *testing.B) {
	net := random(1, 1000)
	for b.Loop() {
		var out bytes.Buffer
		if err := SVG(&out, net); err != nil {
			b.Fatal(err)
		}
	}
}
