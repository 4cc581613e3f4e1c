package generic

import (
	"math"
	"slices"
	"testing"
	"time"
)

// every is all that can happen to a frame.
var every = impairments{
	delay: 20 * time.Millisecond, jitter: 5 * time.Millisecond, limit: 1000,
	loss: 0.01, duplicate: 0.001, reorder: 0.02, corrupt: 0.05,
}

func fates(m impairments, seed, direction uint64, n int) []fate {
	d := newDice(seed, direction)
	all := make([]fate, n)
	for i := range all {
		all[i] = d.roll(&m)
	}
	return all
}

func TestFatesAreRepeated(t *testing.T) {
	const n = 5000
	first := fates(every, 42, 0, n)
	if !slices.Equal(first, fates(every, 42, 0, n)) {
		t.Error("the same seed decides otherwise the second time")
	}
	if slices.Equal(first, fates(every, 43, 0, n)) {
		t.Error("another seed decides the same")
	}
	if slices.Equal(first, fates(every, 42, 1, n)) {
		t.Error("the other direction decides the same")
	}
	// One impairment alone strikes the same frames as among others.
	for i, f := range fates(impairments{loss: every.loss}, 42, 0, n) {
		if f.lost != first[i].lost {
			t.Fatalf("whether frame %d is lost depends on what else is asked for", i)
		}
	}
}

// A run of an earlier version is repeated by a later one.
func TestFatesStayTheSame(t *testing.T) {
	var lost []int
	for i, f := range fates(impairments{loss: 0.01}, 42, 0, 1000) {
		if f.lost {
			lost = append(lost, i)
		}
	}
	if want := []int{115, 178, 242, 428, 443, 447, 613, 670}; !slices.Equal(lost, want) {
		t.Errorf("seed 42 loses frames %v, used to lose %v", lost, want)
	}
}

func TestFatesAreAsOftenAsAsked(t *testing.T) {
	const n = 200000
	var lost, twice, overtakes, corrupt, offset, squares float64
	bits := [8]int{}
	for _, f := range fates(every, 1, 0, n) {
		c := f.copies[0]
		for at, happened := range map[*float64]bool{&lost: f.lost, &twice: f.twice, &overtakes: c.overtakes, &corrupt: c.corrupt} {
			if happened {
				*at++
			}
		}
		if c.offset < -every.jitter || c.offset > every.jitter {
			t.Fatalf("the delay is off by %v", c.offset)
		}
		offset += float64(c.offset)
		squares += float64(c.offset) * float64(c.offset)
		bits[scale(c.bit, 8)]++
	}
	near := func(what string, got, want, deviation float64) {
		t.Helper()
		if math.Abs(got-want) > 4*deviation {
			t.Errorf("%s: %v, want %v ± %v", what, got, want, 4*deviation)
		}
	}
	for _, c := range []struct {
		what   string
		got, p float64
	}{{"lost", lost, every.loss}, {"twice", twice, every.duplicate}, {"overtaking", overtakes, every.reorder}, {"corrupt", corrupt, every.corrupt}} {
		near(c.what, c.got, n*c.p, math.Sqrt(n*c.p*(1-c.p)))
	}
	// Even from -j to j: a mean of 0 and a variance of j²/3.
	j := float64(every.jitter)
	near("mean of the jitter", offset/n, 0, j/math.Sqrt(3*n))
	near("variance of the jitter", squares/n, j*j/3, j*j*math.Sqrt(4./45/n))
	for i, got := range bits {
		near("bit "+string(rune('0'+i)), float64(got), n/8, math.Sqrt(n*7./64))
	}
}

// Losses do not come together more often than chance has it.
func TestFatesAreIndependent(t *testing.T) {
	const n, p = 200000, 0.1
	pairs, before := 0.0, false
	for _, f := range fates(impairments{loss: p}, 7, 1, n) {
		if f.lost && before {
			pairs++
		}
		before = f.lost
	}
	if want := n * p * p; math.Abs(pairs-want) > 5*math.Sqrt(want) {
		t.Errorf("%v pairs of frames lost one behind the other, want about %v", pairs, want)
	}
}

func TestNeverAndAlways(t *testing.T) {
	for _, f := range fates(impairments{}, 3, 0, 10000) {
		if c := f.copies[0]; f.lost || f.twice || c.overtakes || c.corrupt || c.offset != 0 {
			t.Fatalf("without impairments: %+v", f)
		}
	}
	for _, f := range fates(impairments{loss: 1, duplicate: 1, reorder: 1, corrupt: 1}, 3, 0, 10000) {
		if c := f.copies[1]; !f.lost || !f.twice || !c.overtakes || !c.corrupt {
			t.Fatalf("with all of them always: %+v", f)
		}
	}
}
