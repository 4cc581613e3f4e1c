//go:build !race

package generic

import (
	"runtime"
	"testing"

	"tmelink/internal/ethernet"
)

// Under the race detector sync.Pool lets go of what it has at random.
func TestDoesNotAllocate(t *testing.T) {
	_, p := testSwitch(defaults, 4)
	batch := make([]ethernet.Frame, 0, 33)
	for i := range 32 {
		batch = append(batch, frame(host(i%3+1), host(0), uint32(i)))
	}
	batch = append(batch, frame(group, host(0), 99))
	for i, q := range p {
		q.forward([]ethernet.Frame{frame(group, host(i), 0)}, 0)
	}
	if n := testing.AllocsPerRun(1000, func() { exchange(t, p, batch) }); n >= 1 {
		t.Errorf("%v allocations for a batch of %d frames", n, len(batch))
	}
}

// Nor with VLANs, where every frame's tag is put on or taken off, and a storm word.
func TestVLANsDoNotAllocate(t *testing.T) {
	for _, sender := range []string{"vlan 10", "trunk 10"} {
		_, p := joined(t, quiet, "storm 5", sender, "vlan 10 isolated", "trunk", "trunk native 10")
		var batch []ethernet.Frame
		for i := range 32 {
			batch = append(batch, frame(host(1+i%3), host(0), uint32(i)), frame(group, host(0), 99))
		}
		if sender == "trunk 10" {
			for i := range batch {
				batch[i] = tagged(batch[i], 10)
			}
		}
		if n := testing.AllocsPerRun(1000, func() { exchange(t, p, batch) }); n >= 1 {
			t.Errorf("%s: %v allocations for a batch of %d frames", sender, n, len(batch))
		}
	}
}

// exchange sends a batch from the first port and reads all others.
func exchange(t testing.TB, p []*port, batch []ethernet.Frame) {
	if err := p[0].WriteFrames(batch); err != nil {
		t.Fatal(err)
	}
	for _, q := range p[1:] {
		if _, err := q.ReadFrames(); err != nil {
			t.Fatal(err)
		}
	}
}

// A thousand ports that have all had a burst and been read cost little.
func TestIdlePortsCostLittle(t *testing.T) {
	const ports = 1000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // a second time for what sync.Pool kept through the first
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s, p := testSwitch(defaults, ports)
	var burst []ethernet.Frame
	for i := range 500 {
		burst = append(burst, frame(ethernet.Broadcast, host(1), uint32(i)))
	}
	p[0].forward(burst, 0)
	for _, q := range p[1:] {
		if got := len(waiting(t, q)); got != 500 {
			t.Fatalf("%d frames arrived", got)
		}
		q.read.release() // as the reader's next call does, before it waits
		q.read = nil
	}
	if each := (heap() - before) / ports; each > 2048 {
		t.Errorf("an idle port holds %d bytes", each)
	}
	runtime.KeepAlive(s)
}

func BenchmarkUnicast(b *testing.B) {
	_, p := testSwitch(defaults, 2)
	batch := make([]ethernet.Frame, 32)
	for i := range batch {
		batch[i] = frame(host(1), host(0), uint32(i))
	}
	p[1].forward([]ethernet.Frame{frame(group, host(1), 0)}, 0)
	p[0].ReadFrames()
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, p, batch)
	}
}

func BenchmarkTrunk(b *testing.B) {
	_, p := joined(b, quiet, "storm 1000", "vlan 10", "trunk")
	batch := make([]ethernet.Frame, 32)
	for i := range batch {
		batch[i] = frame(host(1), host(0), uint32(i))
	}
	p[1].forward([]ethernet.Frame{tagged(frame(group, host(1), 0), 10)}, 0)
	p[0].ReadFrames()
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, p, batch)
	}
}
