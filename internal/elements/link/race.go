package link

import (
	"net/netip"
	"slices"
	"time"
)

// raceEvery is after how long a time without an answer the next address of a name is
// asked too ("Connection Attempt Delay", RFC 8305, 5).
const raceEvery = 250 * time.Millisecond

// race has the first packet of a TLS client go to all addresses of its peer, of either
// family, one after the other until one answers: that one is the peer's.
type race struct {
	left  []netip.AddrPort // to be asked still
	first []byte           // packet
	next  time.Time
}

// newRace begins with the second address: the first is the socket's.
func newRace(addrs []netip.AddrPort, client bool) race {
	if !client || len(addrs) < 2 {
		return race{}
	}
	return race{left: addrs[1:]}
}

// note takes down the client's first packet.
func (r *race) note(packet []byte) {
	if len(r.left) > 0 && r.first == nil {
		r.first = slices.Clone(packet)
		r.next = time.Now().Add(raceEvery)
	}
}

// runRace asks the next address if it is time, and says after how long a time to go on
// with the negotiation, which itself wants to after again.
func (l *Link) runRace(c *circuit, again time.Duration) time.Duration {
	r := &c.race
	if c.session.Spoken() {
		*r = race{}
	}
	if r.first == nil {
		return again
	}
	if !time.Now().Before(r.next) {
		l.log.Info("asking another address of the peer too", "peer", r.left[0])
		l.port.sendBeside(c, r.first, r.left[0])
		r.left = r.left[1:]
		r.next = time.Now().Add(raceEvery)
		if len(r.left) == 0 {
			*r = race{}
			return again
		}
	}
	wait := max(time.Until(r.next), time.Millisecond)
	if again > 0 {
		wait = min(wait, again)
	}
	return wait
}
