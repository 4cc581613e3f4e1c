package bpf

import (
	"sync"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

func addr(n int) ethernet.Addr {
	return ethernet.Addr{2, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

func TestSourcesAge(t *testing.T) {
	s := newSources()
	a, b := addr(1), addr(2)
	s.learn(a, 10*time.Second)
	for _, c := range []struct {
		addr  ethernet.Addr
		since time.Duration
		want  bool
	}{
		{a, 10 * time.Second, true},
		{a, 10*time.Second + sourceMemory, true},
		{a, 10*time.Second + sourceMemory + 1, false},
		{a, 9 * time.Second, true}, // a reader that is late
		{b, 10 * time.Second, false},
	} {
		if got := s.sent(c.addr, c.since); got != c.want {
			t.Errorf("sent(%v, %v) = %v", c.addr, c.since, got)
		}
	}
	s.learn(a, 20*time.Second)
	if !s.sent(a, 24*time.Second) {
		t.Error("a second frame did not refresh the address")
	}
}

func TestSourcesFirstMomentAndZeroAddress(t *testing.T) {
	s := newSources()
	s.learn(ethernet.Addr{}, 0)
	if !s.sent(ethernet.Addr{}, 0) {
		t.Error("the zero address, as loopback has it, is not remembered")
	}
}

func TestSourcesBounded(t *testing.T) {
	s := newSources()
	s.learn(addr(0), time.Second)
	const flood = 20 * sourceSets * sourceWays
	for i := 1; i <= flood; i++ {
		s.learn(addr(i), time.Second+time.Duration(i))
	}
	known := 0
	for i := 0; i <= flood; i++ {
		if s.sent(addr(i), time.Second) {
			known++
		}
	}
	if known > sourceSets*sourceWays {
		t.Errorf("%d addresses in a table of %d", known, sourceSets*sourceWays)
	}
	if known < sourceSets*sourceWays*9/10 {
		t.Errorf("a flood leaves only %d of %d places filled", known, sourceSets*sourceWays)
	}
	if s.sent(addr(0), time.Second) {
		t.Error("the oldest address outlived a flood of newer ones")
	}
	if !s.sent(addr(flood), time.Second) {
		t.Error("the newest address is not in the table")
	}
}

// What a writer has learned before it sends is known to every reader afterwards.
func TestSourcesConcurrent(t *testing.T) {
	s := newSources()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 20000 {
				own := addr(g<<16 | i%50)
				s.learn(own, time.Duration(i))
				if !s.sent(own, time.Duration(i)) {
					t.Errorf("writer %d: %v was lost at once", g, own)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestSourcesDoNotAllocate(t *testing.T) {
	s := newSources()
	now := time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += time.Millisecond
		s.learn(addr(int(now)), now)
		s.sent(addr(7), now)
	}); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}

func BenchmarkSources(b *testing.B) {
	s := newSources()
	s.learn(addr(1), 0)
	for i := 0; b.Loop(); i++ {
		s.learn(addr(1), time.Duration(i))
		s.sent(addr(2), time.Duration(i))
	}
}
