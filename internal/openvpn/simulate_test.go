package openvpn

import (
	"bytes"
	"container/heap"
	mathrand "math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/openvpn/datachannel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a network with a clock of its own. Ends, each with a Session, are driven in
// it as a link's reader, writer and talker would; between them packets are delayed,
// lost, repeated, reordered and damaged, by chance or by a script.
type world struct {
	t      *testing.T
	now    time.Time
	random *mathrand.Rand
	events events
	number int // of events
	ends   map[netip.AddrPort]*end
	paths  map[string]*path // by "from->to"
}

// event is something that happens at a time; those of one time in their order.
type event struct {
	at     time.Time
	number int
	do     func()
	packet *inFlight // in place of do
}

type inFlight struct {
	to, from netip.AddrPort
	data     []byte
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].number < e[j].number
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// newWorld begins a world, which ends with its test and leaves nothing behind.
func newWorld(t *testing.T, seed uint64) *world {
	cryptotest.SetGlobalRandom(t, seed)
	return randomWorld(t, seed)
}

// randomWorld is one in which keys are random: the randomness of package cryptotest
// allocates.
func randomWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, now: start, random: mathrand.New(mathrand.NewPCG(seed, 1)),
		ends: map[netip.AddrPort]*end{}, paths: map[string]*path{},
	}
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		w.close()
		goleak.VerifyNone(t, before)
	})
	return w
}

func (w *world) close() {
	for _, e := range w.ends {
		e.stop()
	}
}

func (w *world) schedule(at time.Time, e event) {
	e.at, e.number = at, w.number
	w.number++
	heap.Push(&w.events, e)
}

// after does something later.
func (w *world) after(d time.Duration, do func()) { w.schedule(w.now.Add(d), event{do: do}) }

// run lets the world go on for a time, or until something has become true, and says
// whether it has.
func (w *world) run(d time.Duration, until func() bool) bool {
	limit := w.now.Add(d)
	for until == nil || !until() {
		if len(w.events) == 0 || w.events[0].at.After(limit) {
			w.now = limit
			return until != nil && until()
		}
		e := heap.Pop(&w.events).(event)
		if e.at.After(w.now) {
			w.now = e.at
		}
		if e.packet == nil {
			e.do()
			continue
		}
		// What comes at one time is one batch to the reader.
		batch := [][]byte{boxed(e.packet.data)}
		for len(w.events) > 0 && w.events[0].packet != nil && w.events[0].at.Equal(e.at) && w.events[0].packet.to == e.packet.to && w.events[0].packet.from == e.packet.from {
			batch = append(batch, boxed(heap.Pop(&w.events).(event).packet.data))
		}
		if to := w.ends[e.packet.to]; to != nil {
			to.read(batch, e.packet.from)
		}
	}
	return true
}

// jump sets all clocks, on which nothing has happened meanwhile.
func (w *world) jump(d time.Duration) {
	w.now = w.now.Add(d)
	for _, e := range w.ends {
		e.talk()
	}
}

func boxed(p []byte) []byte {
	return append(make([]byte, 0, len(p)+datachannel.Slack), p...)
}

// path is what happens to packets of one direction.
type path struct {
	delay                      time.Duration
	lose, repeat, late, damage float64 // with what probability; late is by up to lateBy
	lateBy                     time.Duration
	script                     map[int]string           // what happens to the first packets, by their number
	refuse                     func(packet []byte) bool // what does not get through, nil: nothing

	count      int
	hook       func(packet []byte) // sees all packets
	lostFrames map[uint32]bool
}

// path is that from one end to another; "elsewhere" is where nobody is.
func (w *world) path(from, to string) *path {
	name := from + "->" + to
	if w.paths[name] == nil {
		w.paths[name] = &path{delay: 5 * time.Millisecond, lostFrames: map[uint32]bool{}}
	}
	return w.paths[name]
}

// script says what happens to packets of a path, as in
//
//	client->server 1 drop; 2 +300ms; 3 dup; 4-6 drop; 7 flip
func (w *world) script(text string) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		from, to, ok := strings.Cut(name, "->")
		p := w.path(from, to)
		p.script = map[int]string{}
		for item := range strings.SplitSeq(rest, ";") {
			which, what, fine := strings.Cut(strings.TrimSpace(item), " ")
			first, last, several := strings.Cut(which, "-")
			if !several {
				last = first
			}
			a, err1 := strconv.Atoi(first)
			b, err2 := strconv.Atoi(last)
			if !ok || !fine || err1 != nil || err2 != nil {
				w.t.Fatalf("script %q", line)
			}
			for n := a; n <= b; n++ {
				p.script[n] = what
			}
		}
	}
}

// send brings a packet on its way; frame is the number of the frame in it, 0 for none.
func (w *world) send(from *end, to netip.AddrPort, packet []byte, frame uint32) {
	name := "elsewhere"
	if e := w.ends[to]; e != nil {
		name = e.name
	}
	p := w.path(from.name, name)
	p.count++
	if p.hook != nil {
		p.hook(packet)
	}
	data := bytes.Clone(packet)
	delay, times := p.delay, 1
	flip := func() {
		bit := w.random.IntN(8 * len(data))
		data[bit/8] ^= 1 << (bit % 8)
	}
	lost := p.refuse != nil && p.refuse(packet)
	switch what := p.script[p.count]; {
	case what == "drop":
		lost = true
	case what == "dup":
		times = 2
	case what == "flip":
		flip()
		lost = true
	case strings.HasPrefix(what, "+"):
		more, err := time.ParseDuration(what[1:])
		if err != nil {
			w.t.Fatal(err)
		}
		delay += more
	case what != "":
		w.t.Fatalf("script: %q", what)
	}
	flipped := p.script[p.count] == "flip"
	switch {
	case lost:
	case w.random.Float64() < p.lose:
		lost = true
	case w.random.Float64() < p.damage:
		flip()
		lost, flipped = true, true
	}
	if w.random.Float64() < p.repeat {
		times++
	}
	if lost && frame != 0 {
		p.lostFrames[frame] = true
	}
	if lost && !flipped {
		return
	}
	for range times {
		d := delay
		if w.random.Float64() < p.late {
			d += time.Duration(w.random.Int64N(int64(p.lateBy)))
		}
		w.schedule(w.now.Add(d), event{packet: &inFlight{to, from.addr, data}})
	}
}
