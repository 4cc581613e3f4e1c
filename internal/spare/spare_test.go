package spare

import (
	"runtime"
	"sync"
	"testing"
)

func TestWhatWasGivenBackIsTakenFirst(t *testing.T) {
	made := 0
	l := New(func() *[]byte { made++; b := make([]byte, 10); return &b })
	a := l.Take()
	l.Give(a)
	runtime.GC()
	runtime.GC()
	if b := l.Take(); b != a || made != 1 {
		t.Errorf("another value than the one given back; %d made", made)
	}
	if b := l.Take(); b == a || made != 2 {
		t.Errorf("the value in use was given away; %d made", made)
	}
}

func TestNoMoreIsKeptThanNeeded(t *testing.T) {
	l := New(func() *int { return new(int) })
	for range 3 * kept {
		l.Give(new(int))
	}
	if len(l.values) != kept {
		t.Errorf("%d kept", len(l.values))
	}
	if n := testing.AllocsPerRun(100, func() { l.Give(l.Take()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrent(t *testing.T) {
	l := New(func() *int { return new(int) })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 1000 {
				v := l.Take()
				*v = i
				if *v != i {
					t.Error("two have the same value")
				}
				l.Give(v)
			}
		})
	}
	wg.Wait()
}
