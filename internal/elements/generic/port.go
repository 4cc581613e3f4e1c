package generic

import (
	"net"
	"time"

	"tmelink/internal/ethernet"
)

// port is one port of a switch.
type port struct {
	sw       *Switch
	counters ethernet.Counters
	queue    queue

	routes []*port // of the goroutine that writes: where each frame of its batch goes
	read   *buffer // of the goroutine that reads: what it has handed out
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
	toAll := &p.sw.toAll
	flood := p.route(frames, now)
	if flood {
		for _, q := range *p.sw.ports.Load() {
			if q != p {
				q.take(frames, p.routes, toAll)
			}
		}
		return
	}
	for i, q := range p.routes {
		if q == nil {
			continue
		}
		q.take(frames[i:], p.routes[i:], toAll)
		for j := i; j < len(p.routes); j++ { // they are delivered
			if p.routes[j] == q {
				p.routes[j] = nil
			}
		}
	}
}

// route sets p.routes to where each frame goes: a port, toAll, or nil for
// nowhere. It learns the sources, and says whether any frame goes to all.
func (p *port) route(frames []ethernet.Frame, now time.Duration) (flood bool) {
	t := p.sw.table
	p.routes = p.routes[:0]
	strangers := false
	t.mu.RLock()
	for i := range frames {
		src, dst := ethernet.Src(frames[i].Data), ethernet.Dst(frames[i].Data)
		if !src.IsGroup() && !t.heard(src, p, now) {
			strangers = true
		}
		var q *port
		if !dst.IsGroup() {
			q = t.find(dst, now)
		}
		switch q {
		case nil:
			q, flood = &p.sw.toAll, true
		case p: // the station is on the side that the frame comes from
			p.counters.Write.Add(ethernet.FilteredOut, 1)
			q = nil
		}
		p.routes = append(p.routes, q)
	}
	t.mu.RUnlock()
	if strangers {
		t.learn(frames, p, now)
	}
	return flood
}

// take queues the frames whose routes are this port or toAll.
func (p *port) take(frames []ethernet.Frame, routes []*port, toAll *port) {
	if full := p.queue.put(frames, func(i int) bool { return routes[i] == p || routes[i] == toAll }); full > 0 {
		p.counters.Read.Add(ethernet.QueueFull, full)
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

// Counters: Read has what found the queue full.
func (p *port) Counters() *ethernet.Counters { return &p.counters }

// Close takes the port out of its switch.
func (p *port) Close() error {
	p.sw.remove(p)
	p.queue.close()
	return nil
}
