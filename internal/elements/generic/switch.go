// Package generic is the element types that join others inside the process and
// need nothing of the host: tme/generic/switch, an Ethernet switch for any number
// of elements, and tme/generic/impair, a long, slow or bad wire between two.
//
// Frames flow from the goroutine of the connection that brings them into the
// queues of the ports that they go to, by one copy, and from there to the
// goroutines of those ports' connections. Neither has a goroutine of its own,
// opens anything, or lets a writer wait: what a queue does not hold is dropped
// and counted. A switch changes no frame; super-frames pass it whole.
//
// switch.go is the switch, table.go knows which address is behind which port,
// port.go decides where frames go, and queue.go holds them until they are read.
// impair.go is the wire, impair_words.go what is asked of it, impair_fate.go
// decides what becomes of each frame, impair_lane.go when it arrives,
// impair_line.go holds it until then, and impair_port.go is where it comes and goes.
package generic

import (
	"context"
	"fmt"
	"slices"
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
		Doc: "Each connection to the switch is a port of it. The switch learns from the source addresses which stations are behind which port, and sends a frame to the port of its destination; broadcasts, multicasts and frames for stations not heard of yet go to all ports but the one that they came from.\n\n" +
			"Every port has a queue of bounded length; frames that find it full are dropped, and counted at that port.",
		Example: "sw0: tme/generic/switch\nle0 at sw0\ntap1 at sw0\nlink2 at sw0",
		Options: options(&config{}),
		New:     New,
	})
}

// config is what the arguments say.
type config struct {
	ageing time.Duration
	table  int // addresses
	queue  int // frames
}

// defaults: the ageing time of IEEE 802.1Q-2022, table 8-3, and a queue as long
// as that of a host's interface.
var defaults = config{ageing: 300 * time.Second, table: 4096, queue: 1000}

func options(c *config) []element.Option {
	return []element.Option{
		{Name: "ageing", Values: "SECONDS", Doc: "How long a station is remembered that sends nothing, 1 to 1000000; the default is 300, as in IEEE 802.1Q.",
			Set: func(v element.Values) error {
				n, err := v.Int(0, 1, 1000000)
				c.ageing = time.Duration(n) * time.Second
				return err
			}},
		{Name: "table", Values: "N", Doc: "How many stations are remembered at most, 1 to 1048576; the default is 4096. Frames for those beyond go to all ports.",
			Set: func(v element.Values) (err error) { c.table, err = v.Int(0, 1, 1<<20); return }},
		{Name: "queue", Values: "N", Doc: "How many frames wait at a port at most, 1 to 65536, and 2048 bytes for each; the default is 1000.",
			Set: func(v element.Values) (err error) { c.queue, err = v.Int(0, 1, 65536); return }},
	}
}

// Switch is an Ethernet switch. Its ports come and go at any time.
type Switch struct {
	conf  config
	began time.Time
	table *table
	// toAll stands for all ports but the sender's in a routed batch.
	toAll port

	mu     sync.Mutex              // held by whoever changes what follows
	ports  atomic.Pointer[[]*port] // replaced, never changed
	closed bool
}

// New makes an element of type tme/generic/switch from its arguments.
func New(_ element.Env, args element.Args) (element.Element, error) {
	c := defaults
	if err := args.Parse(options(&c)); err != nil {
		return nil, err
	}
	return newSwitch(c), nil
}

func newSwitch(c config) *Switch {
	s := &Switch{conf: c, began: time.Now(), table: newTable(c.table, c.ageing)}
	s.ports.Store(&[]*port{})
	return s
}

// now is the switch's clock, which begins at 0.
func (s *Switch) now() time.Duration { return time.Since(s.began) }

// Attach gives a new port. Its side of a connection has no arguments.
func (s *Switch) Attach(args element.Args) (ethernet.Port, error) {
	if err := args.Parse(nil); err != nil {
		return nil, err
	}
	return s.newPort(), nil
}

func (s *Switch) newPort() *port {
	p := &port{sw: s}
	p.queue.init(s.conf.queue)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		p.queue.close()
		return p
	}
	ports := append(slices.Clone(*s.ports.Load()), p)
	s.ports.Store(&ports)
	return p
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

// Status says how many ports the switch has and how many stations it knows.
func (s *Switch) Status() string {
	return fmt.Sprintf("%d ports, %d stations", len(*s.ports.Load()), s.table.known(s.now()))
}

var _ element.Reporter = (*Switch)(nil)
