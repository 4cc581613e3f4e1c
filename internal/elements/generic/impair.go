package generic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/generic/impair",
		Summary: "a long, slow or bad wire between two elements, from a seed",
		Doc: "What comes in by one of its two connections goes out by the other, impaired as the words say; without words as it came. The words behind the type are for both directions. Those behind the element's name in a connection are for the frames that come in by that connection, and stand in place of the same words behind the type: in the example, link0's frames go at 1 Mbit/s, and le0's without a limit.\n\n" +
			"The words are those of Linux's netem, and happen in this order: a frame is lost, or goes on once or twice. Each copy may have a bit flipped; it waits until those before it and itself have been sent at the rate, and then is under way for the delay. Frames stay in their order whatever the jitter, but for those that reorder picks. TIME is a number with its unit, as in 1.5ms; P is a percentage such as 0.1%, or 0.\n\n" +
			"What becomes of a frame depends on the seed and on the number of frames before it in its direction, so that a run can be repeated. Chance throws for each word by itself: adding a delay does not change which frames are lost.",
		Example: "imp0: tme/generic/impair delay 20ms jitter 5ms loss 1% seed 42\n" +
			"le0 at imp0\nlink0 at imp0 rate 1mbit",
		MaxConnections:    2,
		Options:           (&impairConfig{}).options(),
		ConnectionOptions: (&impairments{}).options(),
		New:               NewImpair,
	})
}

// impairConfig is what the words behind the type say.
type impairConfig struct {
	impairments
	seed  uint64
	given bool // the seed
}

// Impair is a wire with faults between two connections. It has no goroutine of its
// own: a frame is copied into the lane of its direction by the goroutine that
// brings it, and taken out, when its time has come, by the one that reads.
type Impair struct {
	log      *slog.Logger
	conf     impairConfig
	began    time.Time
	ports    [2]*impairPort // in the order of the connections
	attached int            // how many of them have theirs
}

// NewImpair makes an element of type tme/generic/impair from its arguments.
func NewImpair(env element.Env, args element.Args) (element.Element, error) {
	c := impairConfig{impairments: noImpairments, seed: uint64(rand.Uint32() >> 1)}
	if err := args.Parse(c.options()); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return newImpair(env.Log, c), nil
}

func newImpair(log *slog.Logger, c impairConfig) *Impair {
	e := &Impair{log: log, conf: c, began: time.Now()}
	for i := range e.ports {
		e.ports[i] = &impairPort{element: e}
	}
	for i, p := range e.ports {
		p.out = &e.ports[1-i].in
		p.in.init(c.impairments, c.seed, uint64(i), &p.counters.Write)
	}
	return e
}

// now is the element's clock, which begins at 0.
func (e *Impair) now() time.Duration { return time.Since(e.began) }

// Attach gives the next of the two ports. The arguments on the element's side of
// the connection are for the frames that come in there.
func (e *Impair) Attach(args element.Args) (ethernet.Port, error) {
	c := e.conf.impairments
	if err := args.Parse(c.options()); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	p := e.ports[e.attached]
	e.attached++
	p.in.setConf(c)
	return p, nil
}

// Start has nothing to open. With one connection alone, every frame would end
// here, which nobody means.
func (e *Impair) Start(context.Context) error {
	if e.attached == 1 {
		return errors.New("a tme/generic/impair stands between two connections and has one: connect it to another element as well")
	}
	if !e.conf.given && (e.ports[0].in.chancy() || e.ports[1].in.chancy()) {
		e.log.Info(fmt.Sprintf("impairs by chance; seed %d repeats this run", e.conf.seed))
	}
	return nil
}

// Close closes both ports.
func (e *Impair) Close() error {
	for _, p := range e.ports {
		p.Close()
	}
	return nil
}

// Status says the seed, and what has become of each direction's frames.
func (e *Impair) Status() string {
	return fmt.Sprintf("seed %d; in by the first connection: %s; in by the second: %s",
		e.conf.seed, e.ports[0].in.status(), e.ports[1].in.status())
}

var _ element.Reporter = (*Impair)(nil)
