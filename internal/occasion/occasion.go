// Package occasion bounds how often something is done that could be asked for with
// every packet, such as a line in the log.
package occasion

import "time"

// Occasion lets something happen so many times in each period.
type Occasion struct {
	times  int
	period time.Duration

	begin time.Time
	given int
	since int // how often it was asked for since it happened last
}

// New makes an Occasion.
func New(times int, period time.Duration) Occasion {
	return Occasion{times: times, period: period}
}

// Due says that there is occasion again. It gives how often there has been since it
// was last made use of, or 0 if it must not be now.
func (o *Occasion) Due(now time.Time) int {
	o.since++
	if o.begin.IsZero() || now.Sub(o.begin) >= o.period {
		o.begin, o.given = now, 0
	}
	if o.given == o.times {
		return 0
	}
	n := o.since
	o.given++
	o.since = 0
	return n
}
