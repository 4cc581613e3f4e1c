package generic

import (
	"testing"

	"tmelink/internal/ethernet"
)

func TestIsolated(t *testing.T) {
	s, p := joined(t, quiet, "", "isolated", "isolated", "")
	a, b, c := host(1), host(2), host(3)
	step := func(port int, want string, frames ...ethernet.Frame) {
		t.Helper()
		p[port].forward(frames, 0)
		expect(t, p, want)
	}
	step(0, "||1", frame(ethernet.Broadcast, a, 1))                        // to all that are not isolated
	step(1, "||2", frame(host(9), b, 2))                                   //
	step(2, "3|3|", frame(ethernet.Broadcast, c, 3))                       // which reach all
	step(0, "||5", frame(b, a, 4), frame(c, a, 5))                         // known stations too
	step(2, "6|7|", frame(a, c, 6), frame(b, c, 7))                        //
	step(1, "||9 10", frame(a, b, 8), frame(group, b, 9), frame(c, b, 10)) // in a batch with a flood
	if x, y := p[0].counters.Write.Count(ethernet.Isolated), p[1].counters.Write.Count(ethernet.Isolated); x != 1 || y != 1 {
		t.Errorf("%d and %d frames counted, want 1 and 1", x, y)
	}
	if got := s.Status(); got != "3 ports, 3 stations; isolated: p0 p1" {
		t.Errorf("status is %q", got)
	}
}

// In VLANs, ports are isolated from those of their own VLAN, as from all others.
func TestIsolatedInVLAN(t *testing.T) {
	s, p := joined(t, quiet, "", "vlan 10 isolated", "vlan 10 isolated", "vlan 10", "vlan 20")
	p[0].forward([]ethernet.Frame{frame(ethernet.Broadcast, host(1), 1)}, 0)
	expect(t, p, "||1|")
	if got := s.describe()[0]; got != "vlan 10 isolated: p0 p1" {
		t.Errorf("shown as %q", got)
	}
}
