package generic

import (
	"net"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
)

// port is one port of a switch.
type port struct {
	sw       *Switch
	name     string // of what it is joined to
	number   int    // a younger port has a higher one
	conf     portConfig
	vlans    vlans
	counters ethernet.Counters
	full     *ethernet.Drops // where frames that find the queue full are counted
	queue    queue

	blocked   atomic.Int64  // until when, a time.Duration
	loopAgain time.Duration // when a loop may be told next; of Switch.mu

	// of the goroutine that writes
	routes []route // where each frame of its batch goes
	storm  stormGuard
	flap   flap // what the last batch has shown

	// of the goroutine that reads
	read *buffer // what it has handed out
}

// route is where a frame goes.
type route struct {
	to   *port  // nil: nowhere
	vlan uint16 // 0: the switch has none; outside: its port does not take it
}

// WriteFrames takes frames that come in at the port, and puts each into the
// queues of the ports that it goes to.
func (p *port) WriteFrames(frames []ethernet.Frame) error {
	if p.queue.isClosed() {
		return net.ErrClosed
	}
	p.forward(frames, p.sw.now())
	return nil
}

// forward locks the table once, and each queue that gets frames once.
func (p *port) forward(frames []ethernet.Frame, now time.Duration) {
	if p.isBlocked(now) {
		p.counters.Write.Add(ethernet.Looped, len(frames))
		return
	}
	flood := p.route(frames, now)
	if flood {
		for _, q := range *p.sw.ports.Load() {
			if q != p && !p.isolatedFrom(q) && !q.isBlocked(now) {
				q.take(frames, p.routes)
			}
		}
		return
	}
	for i := range p.routes {
		q := p.routes[i].to
		if q == nil {
			continue
		}
		q.take(frames[i:], p.routes[i:])
		for j := i; j < len(p.routes); j++ { // they are delivered
			if p.routes[j].to == q {
				p.routes[j].to = nil
			}
		}
	}
}

// route sets p.routes. It learns the sources, and says whether any frame goes to
// all.
func (p *port) route(frames []ethernet.Frame, now time.Duration) (flood bool) {
	t, aware := p.sw.table, p.sw.aware.Load()
	p.routes = p.routes[:0]
	strangers, beyond := false, p.storm.beyond
	t.mu.RLock()
	for i := range frames {
		r := route{}
		if aware {
			var why ethernet.Reason
			if r.vlan, why = p.vlans.admit(&frames[i]); r.vlan == outside {
				p.counters.Write.Add(why, 1)
				p.routes = append(p.routes, r)
				continue
			}
		}
		src, dst := source(frames[i].Data, r.vlan), destination(frames[i].Data, r.vlan)
		if !src.isGroup() && !t.heard(src, p, dst.isGroup(), now) {
			strangers = true
		}
		if !dst.isGroup() {
			r.to = t.find(dst, now)
		}
		switch {
		case dst.isGroup() && !p.storm.admit(now):
		case r.to == nil:
			r.to, flood = &p.sw.toAll, true
		case r.to == p: // the station is on the side that the frame comes from
			p.counters.Write.Add(ethernet.FilteredOut, 1)
			r.to = nil
		case p.isolatedFrom(r.to):
			p.counters.Write.Add(ethernet.Isolated, 1)
			r.to = nil
		}
		p.routes = append(p.routes, r)
	}
	t.mu.RUnlock()
	if p.storm.beyond != beyond {
		p.countStorm(beyond, now)
	}
	if strangers {
		t.learn(frames, p.routes, p, now)
	}
	if p.flap.other != nil {
		p.sw.looped(p, p.flap, now)
		p.flap = flap{}
	}
	return flood
}

// isolatedFrom says whether the words of two ports keep their frames apart.
func (p *port) isolatedFrom(q *port) bool { return p.conf.isolated && q.conf.isolated }

// take queues the frames whose routes are this port, or all ports that carry
// their VLAN.
func (p *port) take(frames []ethernet.Frame, routes []route) {
	toAll := &p.sw.toAll
	full := p.queue.put(frames, func(i int) (retag, bool) {
		r := &routes[i]
		switch {
		case r.to != p && r.to != toAll:
			return asItCame, false
		case r.vlan == 0:
			return asItCame, true
		case !p.vlans.carries(r.vlan):
			return asItCame, false
		}
		how, ok := p.vlans.release(&frames[i], r.vlan)
		if !ok {
			p.counters.Read.Add(ethernet.OtherVLAN, 1)
		}
		return how, ok
	})
	if full > 0 {
		p.full.Add(ethernet.QueueFull, full)
	}
}

// ReadFrames waits for frames that go out at the port, and gives all there are.
func (p *port) ReadFrames() ([]ethernet.Frame, error) {
	if p.read != nil {
		p.read.release()
	}
	if p.read = p.queue.get(); p.read == nil {
		return nil, net.ErrClosed
	}
	return p.read.frames(), nil
}

// Offloads: super-frames pass whole.
func (p *port) Offloads() ethernet.Offloads { return ethernet.Checksum | ethernet.Segmentation }

// MaxFrame: a switch has no limit of its own.
func (p *port) MaxFrame() int { return ethernet.MaxFrameLen }

// Counters: Read has what found the queue full, and Write what came in and goes
// nowhere.
func (p *port) Counters() *ethernet.Counters { return &p.counters }

// Forget has the stations behind the port looked for everywhere.
func (p *port) Forget() { p.sw.table.forget(p) }

// Close takes the port out of its switch.
func (p *port) Close() error {
	p.sw.remove(p)
	p.queue.close()
	return nil
}

var _ ethernet.Learner = (*port)(nil)
