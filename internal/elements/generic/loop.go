package generic

import (
	"time"

	"tmelink/internal/element"
)

// A loop, two ports of a switch that lead to each other by another way, shows by
// itself: every broadcast comes back by the other port, and its sender seems to
// move to and fro between the two as fast as frames go round. No frame of our own is
// needed to find that out. What moves for an honest reason moves now and then, as a
// station that roams, or one whose link fails over; and whoever sends by two ports
// in turn, as some bonds do, sends each broadcast once. So only broadcasts and
// multicasts count. Where full queues have dropped all that went round one way, the
// loop shows with the next that goes both ways.
const (
	// flapsOfLoop is how often in a row an address must move to and fro between the
	// same two ports, and flapWithin the longest time between two of these moves:
	// frames that go round take no longer, be it over satellites.
	flapsOfLoop = 10
	flapWithin  = 2 * time.Second

	// blockFor is how long `loop block` keeps a port blocked. A loop that is still
	// there then is found again by the first few frames that go round.
	blockFor = 30 * time.Second
)

// flap is an address that has moved to and fro too often between the port whose
// goroutine found it and another.
type flap struct {
	station key
	other   *port // nil: there is none
}

// move notes that a station is heard behind another port than before, and by what.
// Where it has moved to and fro so often that it is a loop, it gives the port at the
// other end of that, else nil. Two ports that lead to each other move it at the same
// time, so that what belongs together is changed under a lock, which only moves take.
func (t *table) move(s *station, p *port, group bool, now time.Duration) *port {
	s.port.Store(p)
	if !group {
		return nil
	}
	t.moving.Lock()
	defer t.moving.Unlock()
	last, before := s.last, s.before
	if last == p {
		return nil
	}
	s.last, s.before = p, last
	inTime := now-s.moved <= flapWithin
	s.moved = now
	if before != p || !inTime {
		s.flaps = 0
		return nil
	}
	if s.flaps++; s.flaps%flapsOfLoop != 0 {
		return nil
	}
	return last
}

// looped tells of a loop between a port and another, once a minute, and blocks the
// younger one of them where that is asked for.
func (s *Switch) looped(p *port, f flap, now time.Duration) {
	older, younger := f.other, p
	if older.number > younger.number {
		older, younger = younger, older
	}
	s.mu.Lock()
	if younger.isBlocked(now) || !s.conf.blockLoops && now < younger.loopAgain {
		s.mu.Unlock()
		return
	}
	younger.loopAgain = now + tellEvery
	if s.conf.blockLoops {
		younger.blocked.Store(int64(now + blockFor))
	}
	s.mu.Unlock()
	fields := []any{"hwaddr", f.station.addr(), "port", younger.name, "other", older.name}
	if vlan := f.station.vlan(); vlan != 0 {
		fields = append(fields, "vlan", vlan)
	}
	const seen = "broadcasts of one address come in by two ports in turn: the ports lead to each other by another way, or two stations have the address; "
	if s.conf.blockLoops {
		s.table.forget(younger)
		s.log.Warn(seen+"the younger port is blocked", append(fields, "for", blockFor)...)
		return
	}
	s.log.Warn(seen+"take one of the ways out, or give the switch loop block", fields...)
}

// isBlocked says whether no frame may pass the port, for it is part of a loop.
func (p *port) isBlocked(now time.Duration) bool { return int64(now) < p.blocked.Load() }

// loopWord is the option that says what is done about loops.
func loopWord(block *bool) element.Option {
	return element.Option{Name: "loop", Values: "ACTION",
		Doc: "What is done when broadcasts or multicasts of one address come in by two ports in turn, ten times in a row and each time within two seconds, as they do when the ports lead to each other by another way. tell, the default, writes one line a minute to the log, with the address and both ports. block also keeps the port that was attached later from taking and giving frames for 30 seconds, again and again as long as the loop is there; what comes in meanwhile is counted as looped.",
		Set: func(v element.Values) error {
			switch v.Text(0) {
			case "tell", "block":
				*block = v.Text(0) == "block"
				return nil
			}
			return v.Faultf(0, "%q is neither tell nor block", v.Text(0))
		}}
}
