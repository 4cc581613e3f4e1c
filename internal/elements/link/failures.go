package link

import (
	"log/slog"
	"time"
)

const (
	tellAgain   = 10 * time.Minute // of a failure that goes on
	maxFailures = 100              // that are remembered: a proxy may answer something else each time
)

// failures are the errors of attempts to reach the peer since it was there last: each is
// logged once, however many attempts end with it. They are the keeper's.
type failures struct {
	told  map[string]struct{}
	since time.Time
	known bool // the last attempt's was told already
}

// note takes up the error of an attempt.
func (f *failures) note(err error, now time.Time) {
	if f.told == nil || len(f.told) == maxFailures || now.Sub(f.since) >= tellAgain {
		f.told, f.since = map[string]struct{}{}, now
	}
	_, f.known = f.told[err.Error()]
	f.told[err.Error()] = struct{}{}
}

// level is that of a log line about attempts: they go on unheard as long as there is
// nothing new about them.
func (f *failures) level(loud slog.Level) slog.Level {
	if f.known {
		return slog.LevelDebug
	}
	return loud
}
