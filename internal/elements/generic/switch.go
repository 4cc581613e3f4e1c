// Package generic is the element types that join others inside the process and
// need nothing of the host: tme/generic/switch, an Ethernet switch for any number
// of elements, and tme/generic/impair, a long, slow or bad wire between two.
//
// Frames flow from the goroutine of the connection that brings them into the
// queues of the ports that they go to, by one copy, and from there to the
// goroutines of those ports' connections. Neither has a goroutine of its own,
// opens anything, or lets a writer wait: what a queue does not hold is dropped
// and counted. A switch changes nothing of a frame but its VLAN tag, and that only
// where a port's words name VLANs; super-frames pass it whole.
//
// switch.go is the switch, switch_words.go what is asked of it, table.go knows
// which address is behind which port, port.go decides where frames go, vlan.go
// which of them a port carries, storm.go how many for all, loop.go finds ports that
// lead to each other, queue.go holds frames until they are read, and join.go is how
// elements of other packages have a switch of their own.
// impair.go is the wire, impair_words.go what is asked of it, impair_fate.go
// decides what becomes of each frame, impair_lane.go when it arrives,
// impair_line.go holds it until then, and impair_port.go is where it comes and goes.
package generic

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/generic/switch",
		Summary: "an Ethernet switch that joins any number of elements",
		Doc: "Each connection to the switch is a port of it. The switch learns from the source addresses which stations are behind which port, and sends a frame to the port of its destination; broadcasts, multicasts and frames for stations not heard of yet go to all ports but the one that they came from. A station that moves is reached where it was heard last; when a link loses its peer, those behind it are looked for everywhere until they are heard again.\n\n" +
			"Every port has a queue of bounded length; frames that find it full are dropped, and counted at that port.\n\n" +
			"The words behind the switch's name in a connection are for its port. As long as no port's words name a VLAN, tagged frames pass like all others, as they are. As soon as one does, the switch has VLANs: stations are learned and frames carried in each by itself, and a port whose words name none is in VLAN 1. A frame whose tag gives only a priority counts as one without tag.",
		Example:           "sw0: tme/generic/switch\nle0 at sw0 vlan 10\ntap1 at sw0 vlan 20\nlink2 at sw0 trunk 10,20",
		Options:           options(&config{}),
		ConnectionOptions: (&portConfig{}).options(),
		New:               New,
	})
}

// Switch is an Ethernet switch. Its ports come and go at any time.
type Switch struct {
	log   *slog.Logger
	conf  config
	began time.Time
	table *table
	// toAll stands for all ports but the sender's in a routed batch.
	toAll port
	// aware is set with the first port whose words name a VLAN: before that, tags
	// are bytes like others.
	aware atomic.Bool

	mu       sync.Mutex              // held by whoever changes what follows
	ports    atomic.Pointer[[]*port] // replaced, never changed
	closed   bool
	attached int // ports, ever
}

// New makes an element of type tme/generic/switch from its arguments.
func New(env element.Env, args element.Args) (element.Element, error) {
	c := defaults
	if err := args.Parse(options(&c)); err != nil {
		return nil, err
	}
	return newSwitch(env.Log, c), nil
}

func newSwitch(log *slog.Logger, c config) *Switch {
	s := &Switch{log: log, conf: c, began: time.Now(), table: newTable(c.table, c.ageing)}
	s.ports.Store(&[]*port{})
	return s
}

// now is the switch's clock, which begins at 0.
func (s *Switch) now() time.Duration { return time.Since(s.began) }

// Attach gives a new port, named after what it is joined to.
func (s *Switch) Attach(args element.Args) (ethernet.Port, error) {
	c := portConfig{storm: s.conf.storm}
	if err := args.Parse(c.options()); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return s.newPort(args.Peer, c), nil
}

func (s *Switch) newPort(name string, c portConfig) *port { return s.add(name, c, nil) }

// add makes a port. full counts the frames that find its queue full; nil: its own
// counters do.
func (s *Switch) add(name string, c portConfig, full *ethernet.Drops) *port {
	p := &port{sw: s, conf: c, vlans: c.vlans(), storm: stormGuard{most: c.storm}, full: full}
	if full == nil {
		p.full = &p.counters.Read
	}
	p.queue.init(s.conf.queue)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		p.queue.close()
		return p
	}
	before := *s.ports.Load()
	p.name = freeName(name, before)
	s.attached++
	p.number = s.attached
	if c.namesVLAN() {
		s.aware.Store(true)
	}
	ports := append(slices.Clone(before), p)
	s.ports.Store(&ports)
	return p
}

// freeName tells ports to the same element apart: "sw1", "sw1 (2)".
func freeName(name string, ports []*port) string {
	for free, n := name, 2; ; n++ {
		if !slices.ContainsFunc(ports, func(p *port) bool { return p.name == free }) {
			return free
		}
		free = fmt.Sprintf("%s (%d)", name, n)
	}
}

// remove takes a port out. Its stations count as unknown from then on.
func (s *Switch) remove(p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports := slices.DeleteFunc(slices.Clone(*s.ports.Load()), func(q *port) bool { return q == p })
	s.ports.Store(&ports)
}

// Start has nothing to open.
func (s *Switch) Start(context.Context) error { return nil }

// Close closes every port.
func (s *Switch) Close() error {
	s.mu.Lock()
	s.closed = true
	ports := *s.ports.Load()
	s.ports.Store(&[]*port{})
	s.mu.Unlock()
	for _, p := range ports {
		p.queue.close()
	}
	return nil
}

// Status says how many ports the switch has and how many stations it knows, what
// the ports' words are, and which ports are blocked.
func (s *Switch) Status() string {
	status := fmt.Sprintf("%d ports, %d stations", len(*s.ports.Load()), s.table.known(s.now()))
	parts := s.describe()
	for _, p := range *s.ports.Load() {
		if p.isBlocked(s.now()) {
			parts = append(parts, p.name+" is blocked, for it is part of a loop")
		}
	}
	if len(parts) > 0 {
		status += "; " + strings.Join(parts, "; ")
	}
	return status
}

// describe gives the ports that have the same words, for each of these: "vlan 10:
// le0 le1".
func (s *Switch) describe() []string {
	aware := s.aware.Load()
	var lines []string
	at := map[string]int{}
	for _, p := range *s.ports.Load() {
		words := p.conf.describe(aware)
		if words == "" {
			continue
		}
		i, known := at[words]
		if !known {
			i = len(lines)
			at[words] = i
			lines = append(lines, words+":")
		}
		lines[i] += " " + p.name
	}
	return lines
}

var _ element.Reporter = (*Switch)(nil)
