package openvpn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"tmelink/internal/ethernet"
)

// end is one end of a link.
type end struct {
	w       *world
	name    string
	addr    netip.AddrPort
	config  Config
	session *Session // nil while it is down
	peer    netip.AddrPort
	fixed   netip.AddrPort // whom it begins with, as of --remote

	again   time.Duration // after how long a time it begins a new session; 0: never
	timer   int           // which of the timers counts
	restart bool          // is on its way
	begun   int           // sessions
	errs    []error       // with which they ended

	next     uint32 // the number of the next frame
	sent     map[uint32]bool
	received map[uint32]int
	log      *bytes.Buffer
	unasked  int // packets that Control and Message gave
}

// add puts an end into the world, and begins its session.
func (w *world) add(name, addr, peer string, c Config) *end {
	e := &end{w: w, name: name, addr: netip.MustParseAddrPort(addr), config: c, sent: map[uint32]bool{}, received: map[uint32]int{}, log: new(bytes.Buffer)}
	if peer != "" {
		e.fixed = netip.MustParseAddrPort(peer)
	}
	e.config.Dropped, e.config.Unsent = &ethernet.Drops{}, &ethernet.Drops{}
	e.config.Log = slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if e.config.TLS != nil {
		e.config.TLS.Log = e.config.Log
	}
	if e.config.MTU == 0 {
		e.config.Options.MTU, e.config.Options.Proto = 1500, UDP
	}
	w.ends[e.addr] = e
	e.begin()
	return e
}

func (e *end) begin() {
	e.stop()
	s, err := NewSession(e.config, e.w.now)
	if err != nil {
		e.w.t.Fatal(err)
	}
	e.session, e.peer = s, e.fixed
	e.begun++
	e.talk()
}

// stop ends the session without a word, as a crash does.
func (e *end) stop() {
	if e.session != nil {
		e.session.Close()
		e.session = nil
	}
}

// fail ends the session as a link does.
func (e *end) fail(err error) {
	e.errs = append(e.errs, err)
	e.stop()
	if e.again > 0 && !e.restart {
		e.restart = true
		e.w.after(e.again, func() {
			e.restart = false
			e.begin()
		})
	}
}

// read is the link's reader.
func (e *end) read(batch [][]byte, from netip.AddrPort) {
	if e.session == nil {
		return
	}
	if from != e.peer {
		proved := false
		for _, p := range batch {
			proved = e.session.Introduce(p, from, e.w.now) || proved
		}
		if !proved {
			if e.session.Asked() {
				e.talk()
			}
			return
		}
		e.peer = from
	}
	for _, f := range e.session.Decode(nil, batch, from, e.w.now) {
		if n, ok := frameNumber(f.Data); ok {
			e.received[n]++
		} else {
			e.w.t.Errorf("%s: a frame that nobody sent: %x", e.name, f.Data)
		}
	}
	e.session.Reclaim()
	if e.session.Asked() {
		e.talk()
	}
}

// talk is the link's talker: it sends what is to be said and sets its timer.
func (e *end) talk() {
	if e.session == nil {
		return
	}
	var wait time.Duration
	for sent := 0; ; sent++ {
		p, ok, moved, again := e.session.Control(e.peer, e.w.now)
		if moved.IsValid() {
			e.peer = moved
		}
		if err := e.session.Err(); err != nil {
			e.fail(err)
			return
		}
		if !ok {
			wait = again
			break
		}
		if sent > 200 {
			e.w.t.Fatalf("%s: Control never ends", e.name)
		}
		to := p.To
		if !to.IsValid() {
			to = e.peer
		}
		e.unasked++
		e.w.send(e, to, p.Data, 0)
	}
	packet, again := e.session.Message(e.w.now)
	for packet != nil && e.peer.IsValid() {
		e.unasked++
		e.w.send(e, e.peer, packet, 0)
		packet, again = e.session.Message(e.w.now)
	}
	sooner := func(d time.Duration) {
		if d > 0 && (wait == 0 || d < wait) {
			wait = d
		}
	}
	sooner(again)
	left, err := e.session.Over(e.peer.IsValid(), e.w.now)
	if err != nil {
		e.fail(err)
		return
	}
	sooner(left)
	e.timer++
	if wait > 0 {
		which := e.timer
		e.w.after(wait, func() {
			if which == e.timer {
				e.talk()
			}
		})
	}
}

// frame makes a frame with a number that no other has.
func (e *end) frame(size int) ethernet.Frame {
	e.next++
	f := bytes.Repeat([]byte{byte(e.next)}, max(size, ethernet.HeaderLen+8))
	binary.BigEndian.PutUint32(f[ethernet.HeaderLen:], e.next)
	binary.BigEndian.PutUint32(f[ethernet.HeaderLen+4:], ^e.next)
	return ethernet.Frame{Data: f}
}

func frameNumber(f []byte) (uint32, bool) {
	if len(f) < ethernet.HeaderLen+8 {
		return 0, false
	}
	n := binary.BigEndian.Uint32(f[ethernet.HeaderLen:])
	for _, b := range f[ethernet.HeaderLen+8:] {
		if b != byte(n) {
			return 0, false
		}
	}
	return n, n == ^binary.BigEndian.Uint32(f[ethernet.HeaderLen+4:])
}

// write is the link's writer: it sends so many frames as one batch.
func (e *end) write(frames int) {
	if e.session == nil || !e.peer.IsValid() {
		return
	}
	for range frames {
		f := e.frame(60 + e.w.random.IntN(e.config.MTU-100))
		packets, n := e.session.Encode(nil, []ethernet.Frame{f}, e.w.now)
		if n != 1 {
			e.w.t.Fatalf("%d frames taken of one", n)
		}
		for _, p := range packets { // several with --fragment
			e.sent[e.next] = true
			e.w.send(e, e.peer, p, e.next)
		}
		e.session.Rest()
	}
	if e.session.Asked() {
		e.talk()
	}
}

// chat has an end send frames again and again, for so long a time.
func (e *end) chat(every, long time.Duration) {
	stop := e.w.now.Add(long)
	var again func()
	again = func() {
		if e.w.now.Before(stop) {
			e.write(1 + e.w.random.IntN(3))
			e.w.after(every, again)
		}
	}
	again()
}

// missing counts the frames that e has sent and to has not received, although the
// path has not lost them; twice those that have come more than once.
func (e *end) missing(to *end) (missing, twice int) {
	lost := e.w.path(e.name, to.name).lostFrames
	for n := range e.sent {
		if to.received[n] == 0 && !lost[n] {
			missing++
		}
	}
	for _, times := range to.received {
		if times > 1 {
			twice++
		}
	}
	return missing, twice
}

// all checks that every frame has come that was not lost on its way, and gives how many
// were sent.
func (w *world) all(a, b *end) int {
	w.t.Helper()
	for _, d := range [][2]*end{{a, b}, {b, a}} {
		if missing, twice := d[0].missing(d[1]); missing != 0 || twice != 0 {
			w.t.Errorf("%s->%s: of %d frames %d have not come, and %d twice; dropped %v", d[0].name, d[1].name, len(d[0].sent), missing, twice, dropped(d[1]))
		}
	}
	return len(a.sent) + len(b.sent)
}

func dropped(e *end) (all []string) {
	for r := range ethernet.NumReasons {
		if n := e.config.Dropped.Count(r); n > 0 {
			all = append(all, fmt.Sprintf("%v %d", r, n))
		}
	}
	return all
}

func (e *end) ready() bool { return e.session != nil && e.session.Ready() }

// logged says whether all the texts are in the end's log.
func (e *end) logged(texts ...string) bool {
	for _, text := range texts {
		if !strings.Contains(e.log.String(), text) {
			return false
		}
	}
	return true
}
