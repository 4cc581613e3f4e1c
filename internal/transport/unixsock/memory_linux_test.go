//go:build !race

package unixsock

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// The race detector counts into the memory and the allocations.

// end is one of two sockets that are joined to each other.
type end interface {
	collector
	WriteFrames([]ethernet.Frame) error
}

func socketpair(t testing.TB, kind int) (conns [2]*net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns
}

var kinds = []struct {
	name string
	open func(t testing.TB) (a, b end)
}{
	{"stream", func(t testing.TB) (end, end) {
		conns := socketpair(t, unix.SOCK_STREAM)
		var s [2]*Stream
		for i, c := range conns {
			s[i], _ = newStream(c, c, testConfig())
		}
		return s[0], s[1]
	}},
	{"datagrams", func(t testing.TB) (end, end) {
		conns := socketpair(t, unix.SOCK_DGRAM)
		var d [2]*Datagrams
		for i, c := range conns {
			d[i], _ = newDatagrams(c, DatagramConfig{Config: testConfig(), Log: logTo(&nstest.Buffer{})})
		}
		return d[0], d[1]
	}},
	{"packets", func(t testing.TB) (end, end) {
		conns := socketpair(t, unix.SOCK_SEQPACKET)
		a, _ := newPackets(conns[0], testConfig())
		b, _ := newPackets(conns[1], testConfig())
		return a, b
	}},
}

// exchange writes a batch and reads as many frames, and gives the number of
// batches that they came in.
func exchange(t testing.TB, a, b end, batch []ethernet.Frame) (reads int) {
	if err := a.WriteFrames(batch); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(batch); reads++ {
		frames, err := b.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		n += len(frames)
	}
	return reads
}

func TestDoesNotAllocate(t *testing.T) {
	for _, kind := range kinds {
		a, b := kind.open(t)
		batch := numbered(0, 64, 1514)
		if n := testing.AllocsPerRun(500, func() { exchange(t, a, b, batch) }); n >= 1 {
			t.Errorf("%s: %v allocations for a batch of %d frames", kind.name, n, len(batch))
		}
		a.Close()
		b.Close()
	}
	// One that has to wait for its peer's queue allocates nothing for it either.
	a, b := datagramPair(t, testConfig())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; n < 64*202; {
			frames, err := b.ReadFrames()
			if err != nil {
				return
			}
			n += len(frames)
		}
	}()
	batch := numbered(0, 64, 100)
	a.WriteFrames(batch)
	if n := testing.AllocsPerRun(200, func() { a.WriteFrames(batch) }); n >= 1 {
		t.Errorf("datagrams to a full queue: %v allocations for a batch", n)
	}
	<-done
}

// A thousand sockets that have had a burst and are read cost little.
func TestSocketsAtRestCostLittle(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // a second time for what the lists have let go of in the first
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const pairs = 300
	for _, kind := range kinds {
		var before uint64
		var ends []end
		const first = 100 // by which the buffers are there that all share
		ended := make(chan error, first+pairs)
		for i := range first + pairs {
			if i == first {
				time.Sleep(50 * time.Millisecond)
				before = heap()
			}
			a, b := kind.open(t)
			ends = append(ends, a, b)
			exchange(t, a, b, numbered(0, 60, 1000))
			go func() { // who waits again gives back what it has read
				_, err := b.ReadFrames()
				ended <- err
			}()
		}
		time.Sleep(50 * time.Millisecond)
		if each := (heap() - before) / (2 * pairs); each > 8<<10 { // a buffer has more than ten times as much
			t.Errorf("%s: a socket at rest holds %d bytes", kind.name, each)
		}
		for _, e := range ends {
			e.Close()
		}
		for range first + pairs {
			if err := within(t, "a reader", ended); err != net.ErrClosed && err != ErrGone {
				t.Error(err)
			}
		}
	}
}

// BenchmarkSocketpair carries batches of 64 frames from one end to the other.
func BenchmarkSocketpair(b *testing.B) {
	for _, kind := range kinds {
		for _, length := range []int{64, 1514} {
			b.Run(kind.name+map[int]string{64: "/64 bytes", 1514: "/1514 bytes"}[length], func(b *testing.B) {
				from, to := kind.open(b)
				defer from.Close()
				defer to.Close()
				batch := numbered(0, 64, length)
				b.SetBytes(int64(64 * length))
				b.ReportAllocs()
				batches, reads := 0, 0
				for b.Loop() {
					reads += exchange(b, from, to, batch)
					batches++
				}
				b.ReportMetric(float64(64*batches)/float64(reads), "frames/read")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*batches), "ns/frame")
			})
		}
	}
}

// BenchmarkByPath is the same for sockets that know each other by their paths
// and run side by side: a queue holds no more than 10 datagrams.
func BenchmarkByPath(b *testing.B) {
	from, to := datagramPair(b, testConfig())
	frames, reads := 0, 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			got, err := to.ReadFrames()
			if err != nil {
				return
			}
			frames += len(got)
			reads++
		}
	}()
	batch := numbered(0, 64, 1514)
	b.SetBytes(64 * 1514)
	b.ReportAllocs()
	for b.Loop() {
		from.WriteFrames(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/frame")
	to.Close()
	<-done
	b.ReportMetric(float64(frames)/float64(reads), "frames/read")
}
