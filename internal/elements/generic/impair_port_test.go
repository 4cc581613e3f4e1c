package generic

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// started makes an element with both connections and starts it.
func started(t *testing.T, text, first, second string) (e *Impair, a, b *impairPort) {
	t.Helper()
	e, err := wire(text, first, second)
	if err == nil {
		err = e.Start(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return e, e.ports[0], e.ports[1]
}

func write(t *testing.T, p ethernet.Port, ids ...uint32) {
	t.Helper()
	for _, id := range ids {
		if err := p.WriteFrames([]ethernet.Frame{frame(host(1), host(2), id)}); err != nil {
			t.Fatal(err)
		}
	}
}

// arrivals reads n frames and says when each came: "1@20 2@21".
func arrivals(t *testing.T, p ethernet.Port, n int, began time.Time) string {
	t.Helper()
	var all []arrival
	for len(all) < n {
		frames, err := p.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			all = append(all, arrival{time.Since(began), bytes.Clone(f.Data)})
		}
	}
	return show(all)
}

// By the clock of synctest, which stands still while anybody works.
func TestPortsKeepTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, a, b := started(t, "delay 20ms seed 1", "", "delay 5ms rate 48kbit")
		defer e.Close()
		began := time.Now()
		go func() {
			write(t, a, 1, 2)
			time.Sleep(7 * ms)
			write(t, a, 3)
			write(t, b, 4, 5) // 60 bytes at 48 kbit/s take 10 ms
		}()
		back := make(chan string, 1)
		go func() { back <- arrivals(t, a, 2, began) }()
		if got, want := arrivals(t, b, 3, began), "1@20 2@20 3@27"; got != want {
			t.Errorf("there: %s, want %s", got, want)
		}
		if got, want := <-back, "4@22 5@32"; got != want {
			t.Errorf("back: %s, want %s", got, want)
		}
	})
}

// A reader that sleeps until a delayed frame is woken by one that overtakes it.
func TestOvertakingWakesTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, a, b := started(t, "delay 1s seed 1", "", "")
		defer e.Close()
		began := time.Now()
		go func() {
			write(t, a, 1)
			time.Sleep(ms)
			a.in.mu.Lock()
			a.in.conf.reorder = 1
			a.in.mu.Unlock()
			write(t, a, 2)
		}()
		if got, want := arrivals(t, b, 2, began), "2@1 1@1000"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// A frame in the delay of a closed port's peer still arrives; to the closed one
// nothing goes any more.
func TestOnePortCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, a, b := started(t, "delay 10ms", "", "")
		defer e.Close()
		write(t, a, 1)
		if err := errors.Join(a.Close(), a.Close()); err != nil {
			t.Error(err)
		}
		if err := a.WriteFrames([]ethernet.Frame{frame(host(1), host(2), 2)}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after Close: %v", err)
		}
		if _, err := a.ReadFrames(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read after Close: %v", err)
		}
		if got := arrivals(t, b, 1, time.Now()); got != "1@10" {
			t.Error(got)
		}
		write(t, b, 3, 4)
		if n := b.counters.Write.Count(ethernet.Disconnected); n != 2 || e.ports[1].in.ordered.held != nil {
			t.Errorf("%d frames to the closed port counted", n)
		}
	})
}

// Close wakes a reader that waits for any frame and one that waits for its time.
func TestImpairCloseWakes(t *testing.T) {
	defer goleak.VerifyNone(t)
	e, a, b := started(t, "delay 1h", "", "")
	ended := make(chan error, 2)
	for _, p := range []*impairPort{a, b} {
		go func() {
			_, err := p.ReadFrames()
			ended <- err
		}()
	}
	write(t, a, 1)
	if err := errors.Join(e.Close(), e.Close()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a reader ends with %v", err)
		}
	}
	if a.in.ordered.held != nil {
		t.Error("frames are held after Close")
	}
}

func TestImpairStart(t *testing.T) {
	var log bytes.Buffer
	for _, c := range []struct {
		text        string
		connections int
		fault, log  string
	}{
		{"loss 1%", 0, "", "repeats this run"},
		{"loss 1%", 1, "stands between two connections and has one", ""},
		{"loss 1%", 2, "", "repeats this run"},
		{"delay 2ms jitter 1ms", 2, "", "repeats this run"},
		{"loss 1% seed 7", 2, "", ""},
		{"delay 2ms rate 1mbit", 2, "", ""},
	} {
		log.Reset()
		e, err := NewImpair(element.Env{Log: slog.New(slog.NewTextHandler(&log, nil))}, words(c.text))
		if err != nil {
			t.Fatal(err)
		}
		for range c.connections {
			if _, err := e.Attach(words("")); err != nil {
				t.Fatal(err)
			}
		}
		err = e.Start(context.Background())
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q with %d connections: %v", c.text, c.connections, err)
		}
		if (log.Len() > 0) != (c.log != "") || !strings.Contains(log.String(), c.log) {
			t.Errorf("%q with %d connections logs %q", c.text, c.connections, &log)
		}
	}
}

func TestImpairStatus(t *testing.T) {
	e, a, b := started(t, "seed 5 delay 1h", "loss 100%", "duplicate 100% reorder 100% corrupt 100% limit 3")
	defer e.Close()
	write(t, a, 1, 2)
	write(t, b, 3, 4)
	want := "seed 5; in by the first connection: 2 frames, 2 lost, 0 duplicated, 0 overtaking, 0 corrupted, 0 for a full queue, 0 under way" +
		"; in by the second: 2 frames, 0 lost, 2 duplicated, 3 overtaking, 3 corrupted, 1 for a full queue, 3 under way"
	if got := e.Status(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if i, q := a.counters.Write.Count(ethernet.Impaired), b.counters.Write.Count(ethernet.QueueFull); i != 2 || q != 1 {
		t.Errorf("%d impaired, %d for a full queue", i, q)
	}
}

// Both directions at once, with status, and every frame accounted for.
func TestImpairConcurrent(t *testing.T) {
	defer goleak.VerifyNone(t)
	const batches, size = 500, 8
	e, a, b := started(t, "seed 3 delay 200us jitter 100us loss 5% duplicate 5% reorder 5% corrupt 5% limit 300", "", "rate 400mbit")
	var readers, writers sync.WaitGroup
	got := map[*impairPort]*uint64{a: new(uint64), b: new(uint64)}
	for _, p := range []*impairPort{a, b} {
		readers.Go(func() {
			for {
				frames, err := p.ReadFrames()
				if err != nil {
					return
				}
				*got[p] += uint64(len(frames))
			}
		})
		writers.Go(func() {
			for n := range batches {
				var batch []ethernet.Frame
				for k := range size {
					batch = append(batch, sized(60+k*100, uint32(n)))
				}
				if err := p.WriteFrames(batch); err != nil {
					t.Error(err)
				}
				e.Status()
			}
		})
	}
	writers.Wait()
	for _, p := range []*impairPort{a, b} {
		for empty := false; !empty; time.Sleep(ms) {
			p.in.mu.Lock()
			empty = p.in.next() == never
			p.in.mu.Unlock()
		}
	}
	e.Close()
	readers.Wait()
	for _, way := range [][2]*impairPort{{a, b}, {b, a}} {
		c := way[0].in.counts
		if n := *got[way[1]]; c.frames != batches*size || n != c.frames-c.lost+c.duplicated-c.full {
			t.Errorf("%d arrived of %+v", n, c)
		}
	}
}
