package bpf

import (
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"tmelink/internal/ethernet"
)

// port is the element's port. The packets come from a device, of which each
// platform has its own:
//
//	openDevice(ifi, conf, filter, log, counters) opens it on an interface
//	read      waits, and gives packets and a time before the first of them came in
//	write     sends frames, and counts those that it cannot send
//	setFilter hands the kernel a filter program
//	countDropped counts what the kernel has dropped since it was last asked
//	close     ends it, and wakes who waits in read or write
type port struct {
	conf    config
	log     *slog.Logger
	sources *sources
	began   time.Time // what the times in sources count from

	counters ethernet.Counters
	done     chan struct{} // closed by Close

	mu     sync.Mutex // held over every change of what follows, and while the kernel's filter is renewed
	dev    *device    // nil before open
	iface  string
	closed bool
	filter *ethernet.Filter // nil: all frames are wanted

	// Of the goroutine that reads.
	frames []ethernet.Frame
	timer  *time.Timer // for conf.delay
}

// packet is what a device has read: a frame, and whether it was seen going out.
type packet struct {
	ethernet.Frame
	outgoing bool
}

func newPort(c config, log *slog.Logger) *port {
	return &port{conf: c, log: log, sources: newSources(), began: time.Now(), done: make(chan struct{})}
}

// open opens the device. It may come before or after SetFilter.
func (p *port) open(ifi *net.Interface) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	prog, err := assemble(p.filter)
	if err != nil {
		return fmt.Errorf("assemble the filter of interface %q: %w", ifi.Name, err)
	}
	dev, err := openDevice(ifi, p.conf, prog, p.log, &p.counters)
	if err != nil {
		return fmt.Errorf("listen on interface %q: %w", ifi.Name, err)
	}
	p.dev, p.iface = dev, ifi.Name
	return nil
}

// SetFilter has the port hand over only what the filter wants, unless the
// arguments say promisc.
func (p *port) SetFilter(f *ethernet.Filter) {
	if p.conf.promisc {
		return
	}
	p.mu.Lock()
	p.filter = f
	p.mu.Unlock()
	f.OnChange(p.renewFilter)
	p.renewFilter()
}

// renewFilter hands the kernel the filter as it is now. Without it the kernel
// lets through too much or too little, so a failure lets everything through.
func (p *port) renewFilter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dev == nil || p.closed {
		return
	}
	prog, err := assemble(p.filter)
	if err == nil {
		err = p.dev.setFilter(prog)
	}
	if err == nil {
		return
	}
	p.log.Warn("the kernel does not take the filter; every frame is looked at", "err", err)
	if all, err := assemble(nil); err == nil {
		p.dev.setFilter(all)
	}
}

// ReadFrames gives what came in for the machine.
func (p *port) ReadFrames() ([]ethernet.Frame, error) {
	if p.dev == nil {
		return nil, net.ErrClosed
	}
	for {
		packets, since, err := p.dev.read()
		if err != nil {
			return nil, err
		}
		p.sort(packets, since.Sub(p.began))
		if len(p.frames) == 0 {
			continue
		}
		if p.conf.delay > 0 && !p.hold() {
			return nil, net.ErrClosed
		}
		return p.frames, nil
	}
}

// sort takes into p.frames what is for the machine, and counts the rest. since
// is a time before the first packet came in.
func (p *port) sort(packets []packet, since time.Duration) {
	p.frames = p.frames[:0]
	now := time.Since(p.began)
	read := &p.counters.Read
	for i := range packets {
		pk := &packets[i]
		if pk.outgoing {
			p.sources.learn(ethernet.Src(pk.Data), now)
		} else if p.sources.sent(ethernet.Src(pk.Data), since) {
			read.Add(ethernet.Reflected, 1)
			continue
		}
		if p.filter != nil && !p.filter.Wants(pk.Data) {
			read.Add(ethernet.FilteredOut, 1)
			continue
		}
		p.frames = append(p.frames, pk.Frame)
	}
}

// hold waits for the delay, and says whether the port is still open.
func (p *port) hold() bool {
	if p.timer == nil {
		p.timer = time.NewTimer(p.conf.delay)
	} else {
		p.timer.Reset(p.conf.delay)
	}
	select {
	case <-p.timer.C:
		return true
	case <-p.done:
		p.timer.Stop()
		return false
	}
}

// WriteFrames sends frames on the interface.
func (p *port) WriteFrames(frames []ethernet.Frame) error {
	if p.dev == nil {
		return net.ErrClosed
	}
	now := time.Since(p.began)
	for i := range frames {
		p.sources.learn(ethernet.Src(frames[i].Data), now)
	}
	return p.dev.write(frames)
}

// Offloads are those of the device.
func (p *port) Offloads() ethernet.Offloads { return offloads }

// MaxFrame is what the interface's MTU allowed when it was opened.
func (p *port) MaxFrame() int {
	if p.dev == nil {
		return ethernet.FrameLen(ethernet.MTU)
	}
	return ethernet.FrameLen(p.dev.mtu)
}

// Counters are the drops, the kernel's until now included.
func (p *port) Counters() *ethernet.Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.countDropped()
	return &p.counters
}

func (p *port) countDropped() {
	if p.dev != nil && !p.closed {
		p.dev.countDropped()
	}
}

// Close closes the socket and wakes who waits.
func (p *port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.countDropped()
	p.closed = true
	close(p.done)
	filter, dev := p.filter, p.dev
	p.mu.Unlock()
	if filter != nil {
		filter.OnChange(nil)
	}
	if dev == nil {
		return nil
	}
	return dev.close()
}

func (p *port) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.dev == nil:
		return "not open"
	case p.closed:
		return "closed"
	case p.dev.down.Load():
		return "interface " + p.iface + ", which is down"
	}
	return "interface " + p.iface
}

var _ ethernet.Filtered = (*port)(nil)
