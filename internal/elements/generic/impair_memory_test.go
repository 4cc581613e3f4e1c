//go:build !race

package generic

import (
	"testing"

	"tmelink/internal/ethernet"
)

// Under the race detector sync.Pool lets go of what it has at random.
func TestImpairDoesNotAllocate(t *testing.T) {
	e, a, b := started(t, "rate 100gbit loss 1% duplicate 1% corrupt 1% seed 1", "", "")
	defer e.Close()
	batch := make([]ethernet.Frame, 32)
	for i := range batch {
		batch[i] = frame(host(1), host(0), uint32(i))
	}
	exchange := func() {
		if err := a.WriteFrames(batch); err != nil {
			t.Fatal(err)
		}
		for b.out.next() != never {
			if _, err := b.ReadFrames(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := testing.AllocsPerRun(1000, exchange); n >= 1 {
		t.Errorf("%v allocations for a batch of %d frames", n, len(batch))
	}
}
