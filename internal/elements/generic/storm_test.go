package generic

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// logged is an environment whose log is a text.
func logged() (element.Env, *bytes.Buffer) {
	log := new(bytes.Buffer)
	return element.Env{Log: slog.New(slog.NewTextHandler(log, nil))}, log
}

func TestStorm(t *testing.T) {
	env, log := logged()
	_, p := joined(t, env, "storm 100", "", "", "storm off", "storm 3")
	a, b := host(1), host(2)
	p[1].forward([]ethernet.Frame{frame(group, b, 0)}, 0)
	for _, q := range p {
		waiting(t, q)
	}
	// passed gives how many of n broadcasts, and of as many frames to b, get to b.
	passed := func(port, n int, now time.Duration) (broadcasts, unicasts int) {
		t.Helper()
		for i := range n {
			dst := ethernet.Broadcast
			if i%2 == 1 {
				dst = group
			}
			p[port].forward([]ethernet.Frame{frame(dst, a, 1), frame(b, a, 2)}, now)
		}
		for _, id := range waiting(t, p[1]) {
			if id == 1 {
				broadcasts++
			} else {
				unicasts++
			}
		}
		return broadcasts, unicasts
	}
	for _, c := range []struct {
		port, n, broadcasts int
		now                 time.Duration
	}{
		{0, 250, 100, time.Second},                        // a second's worth at once
		{0, 250, 0, time.Second},                          // and no more
		{0, 250, 50, 1500 * time.Millisecond},             // than the time gives
		{0, 250, 100, 100 * time.Second},                  // nothing is saved up
		{0, 250, 100, 101 * time.Second},                  //
		{2, 400, 400, 101 * time.Second},                  // off
		{3, 4, 3, 101 * time.Second},                      // its own
		{3, 4, 0, 101*time.Second + 300*time.Millisecond}, //
		{3, 4, 1, 101*time.Second + 334*time.Millisecond}, //
	} {
		if broadcasts, unicasts := passed(c.port, c.n, c.now); broadcasts != c.broadcasts || unicasts != c.n {
			t.Errorf("at %v, of %d frames %d broadcasts and %d others pass port %d, want %d and %[2]d", c.now, c.n, broadcasts, unicasts, c.port, c.broadcasts)
		}
	}
	if n := p[0].counters.Write.Count(ethernet.Storm); n != 150+250+200+150+150 {
		t.Errorf("%d frames counted", n)
	}
	want := []string{"port=p0 most=100 dropped=1\n", "port=p0 most=100 dropped=600\n", "port=p3 most=3 dropped=1\n"}
	for _, line := range want {
		if !strings.Contains(log.String(), line) {
			t.Errorf("%q is not told", line)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != len(want) {
		t.Errorf("%d lines are told:\n%s", n, log)
	}
}

func TestStormWords(t *testing.T) {
	for _, text := range []string{"storm 0", "storm 1000001", "storm 5%", "storm on"} {
		_, err := New(quiet, words(text))
		if err == nil || !strings.Contains(err.Error(), "is not a number of frames a second from 1 to 1000000, and not off") {
			t.Errorf("%q: %v", text, err)
		}
	}
	s, p := joined(t, quiet, "storm 1000000", "", "storm off")
	if p[0].storm.most != 1e6 || p[1].storm.most != 0 {
		t.Errorf("bounds are %d and %d", p[0].storm.most, p[1].storm.most)
	}
	if got := s.Status(); got != "2 ports, 0 stations" {
		t.Error(got)
	}
}
