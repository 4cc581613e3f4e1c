package generic

import (
	"math/bits"
	"math/rand/v2"
	"time"
)

// fate is what is decided about a frame before anything is done with it.
type fate struct {
	lost, twice bool
	copies      [2]copyFate // the second of a frame that goes twice
}

// copyFate is what is decided about one copy of a frame.
type copyFate struct {
	overtakes bool
	corrupt   bool
	bit       uint64        // a random number: which bit, by its scale
	offset    time.Duration // from the delay, by the jitter
}

// dice decide the fates of one direction's frames.
type dice struct{ source *rand.PCG }

func newDice(seed, direction uint64) dice { return dice{rand.NewPCG(seed, direction)} }

// roll takes the same count of random numbers for every frame, whatever is asked
// for and whatever comes out. So the nth frame's numbers depend on n alone, and
// each impairment strikes the same frames whichever others there are.
func (d dice) roll(m *impairments) (f fate) {
	f.lost = d.chance(m.loss)
	f.twice = d.chance(m.duplicate)
	for i := range f.copies {
		c := &f.copies[i]
		c.overtakes = d.chance(m.reorder)
		c.corrupt = d.chance(m.corrupt)
		c.bit = d.source.Uint64()
		c.offset = time.Duration(scale(d.source.Uint64(), uint64(2*m.jitter)+1)) - m.jitter
	}
	return f
}

// chance is true with a probability: of 0 never, of 1 always.
func (d dice) chance(p float64) bool {
	const precision = 53 // bits that a float64 holds
	return float64(d.source.Uint64()>>(64-precision)) < p*(1<<precision)
}

// scale makes a random number one from 0 to n-1.
func scale(random, n uint64) uint64 {
	high, _ := bits.Mul64(random, n)
	return high
}
