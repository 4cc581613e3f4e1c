package ethernet

import (
	"sync"
	"testing"
)

func frameTo(dst Addr) []byte {
	f := make([]byte, MinFrame)
	copy(f, dst[:])
	return f
}

func TestFilter(t *testing.T) {
	own, group, other := Addr{2, 0, 0, 0, 0, 1}, Addr{1, 0, 0x5e, 0, 0, 1}, Addr{2, 0, 0, 0, 0, 9}
	var f Filter
	expect := func(when string, wantOwn, wantGroup, wantOther bool) {
		t.Helper()
		for _, c := range []struct {
			a    Addr
			want bool
		}{{own, wantOwn}, {group, wantGroup}, {other, wantOther}, {Broadcast, true}} {
			if got := f.Wants(frameTo(c.a)); got != c.want {
				t.Errorf("%s: wants %v: %v", when, c.a, got)
			}
		}
	}
	expect("fresh", false, false, false)
	changes := 0
	f.OnChange(func() { changes++ })
	f.Add(own)
	expect("own address added", true, false, false)
	f.Add(group)
	expect("group joined", true, true, false)
	f.SetPromiscuous(true)
	expect("promiscuous", true, true, true)
	f.SetPromiscuous(false)
	f.Remove(group)
	expect("group left", true, false, false)
	if changes != 5 {
		t.Errorf("told of %d changes, want 5", changes)
	}
	if got := f.Addrs(); len(got) != 1 || got[0] != own {
		t.Errorf("addresses %v, want %v", got, own)
	}
}

func TestFilterChangesWhileItIsAsked(t *testing.T) {
	var f Filter
	var wg sync.WaitGroup
	own := Addr{2, 0, 0, 0, 0, 1}
	f.Add(own)
	for i := range 4 {
		wg.Go(func() {
			for n := range 1000 {
				f.Add(Addr{1, 0, 0x5e, byte(i), 0, byte(n)})
				if !f.Wants(frameTo(own)) {
					t.Error("the station's own address was not wanted for a moment")
				}
				f.Remove(Addr{1, 0, 0x5e, byte(i), 0, byte(n)})
			}
		})
	}
	wg.Wait()
	if got := f.Addrs(); len(got) != 1 {
		t.Errorf("%d addresses are left, want 1", len(got))
	}
}
