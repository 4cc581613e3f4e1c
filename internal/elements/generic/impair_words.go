package generic

import (
	"math"
	"strconv"
	"strings"
	"time"

	"tmelink/internal/element"
)

// impairments are what is done to the frames of one direction.
type impairments struct {
	delay, jitter                     time.Duration
	loss, duplicate, reorder, corrupt float64 // 0 to 1
	rate                              int64   // bit/s, 0: no limit
	limit                             int     // frames

	// for faults that need two words
	jitterAt, reorderAt element.Values
}

// noImpairments is a wire without faults that holds as much as netem does.
var noImpairments = impairments{limit: 1000}

// Bounds of what can be asked for. They keep every time of a full lane far from
// the end of a time.Duration, and what it holds in memory.
const (
	maxDelay = time.Hour
	minRate  = 1e3
	maxRate  = 100e9
	maxLimit = 65536
	maxSeed  = math.MaxInt32
)

// options are the words behind the type.
func (c *impairConfig) options() []element.Option {
	return append(c.impairments.options(), element.Option{
		Name: "seed", Values: "N", Doc: "Where chance begins, 0 to 2147483647. Without it each run has its own, which is logged at start.",
		Set: func(v element.Values) error {
			n, err := v.Int(0, 0, maxSeed)
			c.seed, c.given = uint64(n), true
			return err
		}})
}

// options are the words that both places know.
func (m *impairments) options() []element.Option {
	return []element.Option{
		{Name: "delay", Values: "TIME", Doc: "How long each frame is under way, up to 1h.", Set: func(v element.Values) (err error) {
			m.delay, err = span(v)
			return err
		}},
		{Name: "jitter", Values: "TIME", Doc: "By how much the delay is longer or shorter, evenly spread; no more than the delay.", Set: func(v element.Values) (err error) {
			m.jitterAt = v
			m.jitter, err = span(v)
			return err
		}},
		{Name: "loss", Values: "P", Doc: "How many frames are lost, each by itself. They are counted as impaired.", Set: setShare(&m.loss)},
		{Name: "duplicate", Values: "P", Doc: "How many frames go twice, the second close behind the first.", Set: setShare(&m.duplicate)},
		{Name: "reorder", Values: "P", Doc: "How many frames are not delayed, and so overtake those that are. It needs a delay.", Set: func(v element.Values) (err error) {
			m.reorderAt = v
			m.reorder, err = share(v)
			return err
		}},
		{Name: "corrupt", Values: "P", Doc: "How many frames have one bit flipped, anywhere in the frame, addresses included.", Set: setShare(&m.corrupt)},
		{Name: "rate", Values: "RATE", Doc: "How fast frames are sent, one after the other, from 1kbit to 100gbit a second (bit, kbit, mbit, gbit, each a thousand of the one before), or off. A frame counts from its destination address to the end of its payload, as with netem: without preamble, check sequence and gap.", Set: func(v element.Values) (err error) {
			m.rate, err = rate(v)
			return err
		}},
		{Name: "limit", Values: "FRAMES", Doc: "How many frames are held at most, those under way included, 1 to 65536, and 2048 bytes for each; the default is 1000. Frames beyond it are dropped, and counted as queue-full: a delay needs as many as come in that time.", Set: func(v element.Values) (err error) {
			m.limit, err = v.Int(0, 1, maxLimit)
			return err
		}},
	}
}

// check looks at what only two words together make wrong.
func (m *impairments) check() error {
	switch {
	case m.jitter > m.delay:
		return m.jitterAt.Faultf(0, "%v is more than the delay of %v, and no frame arrives before it is sent: give a longer delay", m.jitter, m.delay)
	case m.reorder > 0 && m.delay == 0:
		return m.reorderAt.Faultf(0, "without a delay there is nobody to overtake: give a delay")
	}
	return nil
}

// span reads a time with its unit.
func span(v element.Values) (time.Duration, error) {
	d, err := time.ParseDuration(v.Text(0))
	if err != nil || d < 0 || d > maxDelay {
		return 0, v.Faultf(0, "%q is not a time such as 20ms, from 0 to 1h", v.Text(0))
	}
	return d, nil
}

func setShare(p *float64) func(element.Values) error {
	return func(v element.Values) (err error) {
		*p, err = share(v)
		return err
	}
}

// share reads a percentage as a number from 0 to 1. It wants the sign, because 1
// could as well mean all.
func share(v element.Values) (float64, error) {
	digits, signed := strings.CutSuffix(v.Text(0), "%")
	p, ok := decimal(digits)
	if !ok || p > 100 || !signed && p != 0 {
		return 0, v.Faultf(0, "%q is not a percentage such as 0.1%%, from 0%% to 100%%", v.Text(0))
	}
	return p / 100, nil
}

// rate reads bits per second, in any case of letters: tc is as lenient. Its bps
// are bytes, everybody else's are bits, and so neither is taken.
func rate(v element.Values) (int64, error) {
	text := strings.ToLower(v.Text(0))
	if text == "off" {
		return 0, nil
	}
	digits := strings.TrimRight(text, "bgikmt")
	unit := map[string]float64{"bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}[text[len(digits):]]
	n, ok := decimal(digits)
	if n *= unit; !ok || n < minRate || n > maxRate {
		return 0, v.Faultf(0, "%q is not a rate such as 10mbit, from 1kbit to 100gbit, and not off", v.Text(0))
	}
	return int64(math.Round(n)), nil
}

// decimal reads digits with at most one point: no sign, exponent or infinity.
func decimal(text string) (float64, bool) {
	if text == "" || len(text) > 32 || strings.Trim(text, "0123456789.") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}
