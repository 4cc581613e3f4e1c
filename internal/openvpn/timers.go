package openvpn

import (
	"fmt"
	"sync/atomic"
	"time"

	"tmelink/internal/openvpn/controlchannel"
)

// Timers are after how long a time something happens in a session; 0: never. They
// are OpenVPN's, and count as there: from when the session begins, and again from
// when a server has said others (do_init_timers in init.c).
type Timers struct {
	// Ping: nothing was sent, and a ping is due.
	Ping time.Duration
	// Silence: the peer was not heard, and the session is over; with SilenceEnds
	// for good (--ping-exit), else to begin anew (--ping-restart). With KnownOnly it
	// does not end while there is no peer (--ping-timer-rem).
	Silence     time.Duration
	SilenceEnds bool
	KnownOnly   bool
	// Inactive: frames were carried of fewer bytes than InactiveBytes, of none where
	// that is 0, and the session is over for good (--inactive).
	Inactive      time.Duration
	InactiveBytes uint64
	// Whole: the session has lasted so long, and is over for good
	// (--session-timeout).
	Whole time.Duration
}

// TimeoutError is the end of a session by one of its timers.
type TimeoutError struct {
	Option string // that has set the timer
	After  time.Duration
	Bytes  uint64 // of --inactive
	Final  bool   // the end is for good
}

func (e *TimeoutError) Error() string {
	switch {
	case e.Option == "--session-timeout":
		return fmt.Sprintf("the session has lasted %v (--session-timeout)", e.After)
	case e.Option == "--inactive" && e.Bytes > 1:
		return fmt.Sprintf("frames of less than %d bytes were carried in %v (--inactive)", e.Bytes, e.After)
	case e.Option == "--inactive":
		return fmt.Sprintf("no frame was carried for %v (--inactive)", e.After)
	}
	return fmt.Sprintf("the peer has been silent for %v (%s)", e.After, e.Option)
}

// unknownPoll is how often a session asks whether there is a peer now.
const unknownPoll = time.Second

// Over gives a *TimeoutError when the session is over by one of its timers, and
// otherwise after how long a time to ask again: 0 for never. known says whether there
// is a peer who could be silent.
func (s *Session) Over(known bool, now time.Time) (again time.Duration, err error) {
	t := s.timers.Load()
	silence := "--ping-restart"
	if t.SilenceEnds {
		silence = "--ping-exit"
	}
	for _, timer := range [...]struct {
		option string
		limit  time.Duration
		from   *atomic.Int64
		final  bool
		stands bool
	}{
		{"--inactive", t.Inactive, &s.activity.at, true, false},
		{"--session-timeout", t.Whole, &s.begun, true, false},
		{silence, t.Silence, &s.heard, t.SilenceEnds, t.KnownOnly && !known},
	} {
		if timer.limit == 0 {
			continue
		}
		left := timer.limit + time.Duration(timer.from.Load()) - now.Sub(s.start)
		switch {
		case left > 0:
		case timer.stands:
			left = unknownPoll
		default:
			return 0, &TimeoutError{timer.option, timer.limit, t.InactiveBytes, timer.final}
		}
		if again == 0 || left < again {
			again = left
		}
	}
	return again, nil
}

// activity is what --inactive counts.
type activity struct {
	bytes atomic.Uint64 // of frames, since at
	at    atomic.Int64  // nanoseconds: when there were last enough of them
}

// noteActivity counts bytes of frames, in their packets on the way out
// (register_activity in OpenVPN's forward.h).
func (s *Session) noteActivity(bytes int, now time.Time) {
	t := s.timers.Load()
	if t.Inactive == 0 {
		return
	}
	if a := &s.activity; a.bytes.Add(uint64(bytes)) >= t.InactiveBytes {
		a.bytes.Store(0)
		a.at.Store(int64(now.Sub(s.start)))
	}
}

// obey takes the timers that a server says. If it says any, all begin to count anew, and
// a ping is due at once.
func (s *Session) obey(said *controlchannel.Settings, now time.Time) {
	if said.ExitNotify >= 0 && s.config.Proto == UDP {
		s.goodbyes.Store(int32(min(said.ExitNotify, MaxGoodbyes)))
	}
	t := *s.timers.Load()
	anew := said.KnownOnly
	t.KnownOnly = t.KnownOnly || said.KnownOnly
	for _, timer := range []struct {
		said time.Duration
		to   *time.Duration
	}{{said.Ping, &t.Ping}, {said.Silence, &t.Silence}, {said.Inactive, &t.Inactive}, {said.SessionTimeout, &t.Whole}} {
		if timer.said >= 0 {
			*timer.to, anew = timer.said, true
		}
	}
	if said.Silence >= 0 {
		t.SilenceEnds = said.SilenceEnds
	}
	if said.InactiveBytes > 0 {
		t.InactiveBytes = said.InactiveBytes
	}
	if !anew {
		return
	}
	at := int64(now.Sub(s.start))
	s.sent.Store(at - int64(t.Ping))
	for _, from := range []*atomic.Int64{&s.heard, &s.activity.at, &s.begun} {
		from.Store(at)
	}
	s.timers.Store(&t)
}

// MaxGoodbyes is how often a peer is told at most that this end ends.
const MaxGoodbyes = 5

// Goodbyes is how often the peer is to be told that this end ends.
func (s *Session) Goodbyes() int { return int(s.goodbyes.Load()) }
