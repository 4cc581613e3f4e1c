package generic

import (
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// stormGuard bounds how many frames for groups come in at a port: a second's worth
// at once, and then as many as the time gives. It belongs to the goroutine that
// writes. The zero guard has no bound.
type stormGuard struct {
	most   int           // frames a second; 0: no bound
	spent  time.Duration // until when those that have come use the bound up
	beyond int           // dropped since it was last told
	again  time.Duration // when it may be told next
}

const maxStorm = 1e6

// tellEvery is the time between two lines about what goes on in a port.
const tellEvery = time.Minute

// admit says whether one more frame may pass.
func (g *stormGuard) admit(now time.Duration) bool {
	if g.most == 0 {
		return true
	}
	each := time.Second / time.Duration(g.most)
	spent := max(g.spent, now) + each
	if spent > now+time.Second {
		g.beyond++
		return false
	}
	g.spent = spent
	return true
}

// countStorm counts what the guard has dropped of a batch, of which beyond had
// been dropped before, and tells of it at once and then once a minute.
func (p *port) countStorm(beyond int, now time.Duration) {
	g := &p.storm
	p.counters.Write.Add(ethernet.Storm, g.beyond-beyond)
	if now < g.again {
		return
	}
	p.sw.log.Warn("a port brings more broadcasts and multicasts than its storm word allows; those beyond are dropped",
		"port", p.name, "most", g.most, "dropped", g.beyond)
	g.beyond, g.again = 0, now+tellEvery
}

// stormWord is the option that sets a bound, on the switch and on a port.
func stormWord(most *int, doc string) element.Option {
	return element.Option{Name: "storm", Values: "N", Doc: doc, Set: func(v element.Values) (err error) {
		if v.Text(0) == "off" {
			*most = 0
			return nil
		}
		if *most, err = v.Int(0, 1, maxStorm); err != nil {
			return v.Faultf(0, "%q is not a number of frames a second from 1 to %d, and not off", v.Text(0), int(maxStorm))
		}
		return nil
	}}
}
