package generic

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// toAndFro has a broadcast of an address come in by two ports in turn.
func toAndFro(a ethernet.Addr, p, q *port, moves int, now *time.Duration, every time.Duration) {
	for i := range moves {
		port := p
		if i%2 == 1 {
			port = q
		}
		port.forward([]ethernet.Frame{frame(ethernet.Broadcast, a, 0)}, *now)
		*now += every
	}
}

func TestLoopIsTold(t *testing.T) {
	env, log := logged()
	_, p := joined(t, env, "", "", "", "")
	a := host(7)
	now := time.Duration(0)
	p[0].forward([]ethernet.Frame{frame(ethernet.Broadcast, a, 0)}, now) // here it is
	toAndFro(a, p[2], p[1], 11, &now, time.Millisecond)
	if log.Len() != 0 {
		t.Fatalf("told too early: %s", log)
	}
	toAndFro(a, p[1], p[2], 1, &now, time.Millisecond)
	if want := "hwaddr=02:00:00:00:00:07 port=p2 other=p1\n"; !strings.HasSuffix(log.String(), want) {
		t.Fatalf("told is %q, want %q", log, want)
	}
	toAndFro(a, p[2], p[1], 10000, &now, time.Millisecond)
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines in 10 seconds:\n%s", n, log)
	}
	now += time.Minute
	toAndFro(a, p[2], p[1], 100, &now, time.Millisecond)
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines in more than a minute:\n%s", n, log)
	}
	for _, q := range p { // it was only told
		if n := q.counters.Write.Total(); n != 0 {
			t.Errorf("%d frames are dropped", n)
		}
	}
}

// A station that sends all the while, frames for others that do not go round, is
// not taken for an end of the loop.
func TestLoopIsNotTheSenders(t *testing.T) {
	env, log := logged()
	_, p := joined(t, env, "", "vlan 5", "trunk", "trunk")
	a := host(7)
	p[0].forward([]ethernet.Frame{frame(ethernet.Broadcast, a, 0)}, 0)
	for i := range 30 {
		now := time.Duration(i) * time.Millisecond
		p[1+i%2].forward([]ethernet.Frame{tagged(frame(ethernet.Broadcast, a, 0), 5)}, now)
		p[0].forward([]ethernet.Frame{frame(host(8), a, 0)}, now)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "port=p2 other=p1 vlan=5\n") {
		t.Errorf("told is %q", got)
	}
}

func TestHonestMovesAreNoLoop(t *testing.T) {
	a, b := host(7), host(8)
	now := time.Duration(0)
	send := func(p *port, frames ...ethernet.Frame) { p.forward(frames, now); now += time.Millisecond }
	for name, move := range map[string]func(p []*port){
		"a station roams once": func(p []*port) {
			for range 100 {
				send(p[0], frame(ethernet.Broadcast, a, 0))
			}
			for range 100 {
				send(p[1], frame(ethernet.Broadcast, a, 0))
			}
		},
		"a hundred stations fail over, back, and over again": func(p []*port) {
			for _, port := range []*port{p[0], p[1], p[0], p[1]} {
				for i := range 100 {
					send(port, frame(ethernet.Broadcast, host(i), 0), frame(b, host(i), 0))
				}
			}
		},
		"links that come and go every few seconds": func(p []*port) {
			toAndFro(a, p[0], p[1], 200, &now, flapWithin+time.Millisecond)
		},
		"links that say so": func(p []*port) {
			for i := range 200 {
				p[i%2].Forget()
				send(p[1-i%2], frame(ethernet.Broadcast, a, 0))
			}
		},
		"a bond that sends by both ports in turn": func(p []*port) {
			for i := range 200 {
				send(p[i%2], frame(b, a, 0))
			}
		},
		"a station that goes from port to port": func(p []*port) {
			for i := range 200 {
				send(p[i%3], frame(ethernet.Broadcast, a, 0))
			}
		},
	} {
		env, log := logged()
		_, p := joined(t, env, "loop block", "", "", "")
		if move(p); log.Len() != 0 {
			t.Errorf("%s: told is %s", name, log)
		}
	}
}

func TestLoopIsBlocked(t *testing.T) {
	env, log := logged()
	s, p := joined(t, env, "loop block", "", "", "")
	a, b := host(7), host(8)
	now := s.now() // which Status goes by
	p[2].forward([]ethernet.Frame{frame(ethernet.Broadcast, b, 0)}, now)
	toAndFro(a, p[2], p[1], 13, &now, 0)
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "the younger port is blocked") ||
		!strings.HasSuffix(got, "port=p2 other=p1 for=30s\n") {
		t.Fatalf("told is %q", got)
	}
	if got := s.Status(); !strings.HasSuffix(got, "; p2 is blocked, for it is part of a loop") {
		t.Errorf("status is %q", got)
	}
	for _, q := range p {
		waiting(t, q)
	}
	p[2].forward([]ethernet.Frame{frame(ethernet.Broadcast, b, 1)}, now)
	p[1].forward([]ethernet.Frame{frame(ethernet.Broadcast, a, 2), frame(b, a, 3)}, now)
	expect(t, p, "2 3||")
	if n := p[2].counters.Write.Count(ethernet.Looped); n != 1 {
		t.Errorf("%d frames counted, want 1", n)
	}
	now += blockFor
	p[2].forward([]ethernet.Frame{frame(ethernet.Broadcast, b, 4)}, now)
	p[1].forward([]ethernet.Frame{frame(b, a, 5)}, now)
	expect(t, p, "4|4|5")
	toAndFro(a, p[2], p[1], 24, &now, 0) // it is still there
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines are told:\n%s", n, log)
	}
}

// TestRealLoop joins two switches by two wires, over which one broadcast goes round
// for ever: until one of the switches blocks a port.
func TestRealLoop(t *testing.T) {
	defer goleak.VerifyNone(t)
	log := &nstest.Buffer{}
	env := element.Env{Log: slog.New(slog.NewTextHandler(log, nil))}
	x, p := joined(t, env, "loop block", "vlan 5", "trunk", "trunk")
	y, q := joined(t, quiet, "", "vlan 5", "trunk", "trunk")
	var pumps sync.WaitGroup
	var carried atomic.Uint64
	pump := func(from, to *port) {
		pumps.Go(func() {
			for {
				frames, err := from.ReadFrames()
				if err != nil {
					return
				}
				carried.Add(uint64(len(frames)))
				if to != nil {
					to.WriteFrames(frames)
				}
			}
		})
	}
	for i := 1; i < 3; i++ {
		pump(p[i], q[i])
		pump(q[i], p[i])
	}
	pump(p[0], nil)
	pump(q[0], nil)
	if err := p[0].WriteFrames([]ethernet.Frame{frame(ethernet.Broadcast, host(7), 0)}); err != nil {
		t.Error(err)
	}
	if !nstest.Eventually(30*time.Second, func() bool {
		return strings.Contains(log.String(), "hwaddr=02:00:00:00:00:07 port=p2 other=p1 vlan=5 for=30s\n")
	}) {
		t.Errorf("the loop is not told:\n%s", log)
	}
	// The last frames end at the blocked port; then nothing goes round any more.
	if !nstest.Eventually(20*time.Second, func() bool {
		before := carried.Load()
		time.Sleep(100 * time.Millisecond)
		return carried.Load() == before
	}) {
		t.Errorf("frames still go round:\n%s", log)
	}
	if p[2].counters.Write.Count(ethernet.Looped) == 0 {
		t.Error("no frame is counted as looped")
	}
	x.Close()
	y.Close()
	pumps.Wait()
}

func TestLoopWords(t *testing.T) {
	if _, err := New(quiet, words("loop stop")); err == nil || !strings.Contains(err.Error(), `"stop" is neither tell nor block`) {
		t.Error(err)
	}
	if s, _ := joined(t, quiet, "loop tell"); s.conf.blockLoops {
		t.Error("loop tell blocks")
	}
}
