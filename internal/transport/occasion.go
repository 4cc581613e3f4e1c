package transport

import "time"

// occasion spares the log an event that could come with every datagram: in each
// period it lets so many lines through.
type occasion struct {
	lines  int
	period time.Duration

	begin time.Time
	given int
	times int // since the last line
}

// due counts the event. It gives how often it has happened since the last line,
// or 0 if there were lines enough in this period.
func (o *occasion) due(now time.Time) int {
	o.times++
	if o.begin.IsZero() || now.Sub(o.begin) >= o.period {
		o.begin, o.given = now, 0
	}
	if o.given == o.lines {
		return 0
	}
	n := o.times
	o.given++
	o.times = 0
	return n
}
