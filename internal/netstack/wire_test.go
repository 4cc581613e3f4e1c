package netstack

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/ethernet"
)

// wire joins two ports as a connection does: a goroutine for each direction
// that reads a batch, finishes what the other side does not take, and writes it.
type wire struct {
	takes ethernet.Offloads // of both ends; less than the ports' own
	lose  func() bool       // nil, or whether to lose the next frame
	spoil func([]byte)      // nil, or what happens to each frame's bytes on the way

	supers atomic.Int64 // super-frames carried whole
	lost   atomic.Int64 // frames that lose said to lose
	wg     sync.WaitGroup
}

func (w *wire) join(a, b ethernet.Port) {
	for _, ports := range [][2]ethernet.Port{{a, b}, {b, a}} {
		w.wg.Go(func() { w.pump(ports[0], ports[1]) })
	}
}

func (w *wire) pump(from, to ethernet.Port) {
	var finisher ethernet.Segmenter
	for {
		frames, err := from.ReadFrames()
		if err != nil {
			return
		}
		frames = finisher.Finish(frames, to.Offloads()&w.takes, to.MaxFrame(), &to.Counters().Write)
		kept := frames[:0:0]
		for _, f := range frames {
			if f.Needs&ethernet.Segmentation != 0 {
				w.supers.Add(1)
			}
			if w.spoil != nil {
				w.spoil(f.Data)
			}
			// As a wire does.
			for len(f.Data) < ethernet.MinFrame {
				f.Data = append(f.Data[:len(f.Data):len(f.Data)], 0)
			}
			if w.lose != nil && w.lose() {
				w.lost.Add(1)
				continue
			}
			kept = append(kept, f)
		}
		if to.WriteFrames(kept) != nil {
			return
		}
	}
}

const (
	netA4, netB4 = "10.0.0.1/24", "10.0.0.2/24"
	netA6, netB6 = "fd00::1/64", "fd00::2/64"
)

// host makes and starts a host that is closed when the test ends.
func host(t testing.TB, number byte, cfg Config, addrs ...string) *Host {
	t.Helper()
	cfg.HardwareAddr = ethernet.Addr{2, 0, 0, 0, 0, number}
	for _, a := range addrs {
		cfg.Addrs = append(cfg.Addrs, netip.MustParsePrefix(a))
	}
	h := New(cfg)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// pair is two hosts at the ends of a wire. When the test ends, no goroutine of
// theirs may be left.
func pair(t testing.TB, w *wire, cfg Config) (a, b *Host) {
	t.Helper()
	return join(t, w, cfg, []string{netA4, netA6}, []string{netB4, netB6})
}

// pair4 is a pair with IPv4 addresses alone.
func pair4(t testing.TB, w *wire, cfg Config) (a, b *Host) {
	t.Helper()
	return join(t, w, cfg, []string{netA4}, []string{netB4})
}

func join(t testing.TB, w *wire, cfg Config, addrsA, addrsB []string) (a, b *Host) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	t.Cleanup(w.wg.Wait)
	a, b = host(t, 1, cfg, addrsA...), host(t, 2, cfg, addrsB...)
	w.join(a.Port(), b.Port())
	return a, b
}

// within gives a context that ends well after anything that should happen.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// random is n bytes that no counter or pattern would give.
func random(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	r.Read(b)
	return b
}

func addrPort(prefix string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParsePrefix(prefix).Addr(), port)
}

// lossy loses one frame in n, the same ones in each run for each order of calls.
func lossy(n int) func() bool {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(3, 4))
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n) == 0
	}
}

func equal(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes arrived that are not the %d that were sent", len(got), len(want))
	}
}
