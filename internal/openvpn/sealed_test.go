package openvpn

import (
	"bytes"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

func TestSealedSessionAllocatesNothing(t *testing.T) {
	for name, pair := range map[string]func(w *world) (client, server *end){
		"static key": (*world).staticPair,
		"TLS": func(w *world) (client, server *end) {
			client, server = w.pair(nil)
			w.meet(client, server, time.Second)
			return client, server
		},
	} {
		w := randomWorld(t, 1)
		client, server := pair(w)
		var in []ethernet.Frame
		for range 64 {
			in = append(in, ethernet.Frame{Data: make([]byte, 1514)})
		}
		packets, out := make([][]byte, 0, 64), make([]ethernet.Frame, 0, 64)
		now := w.now
		server.session.Decode(out, nil, client.addr, now)
		if n := testing.AllocsPerRun(100, func() {
			now = now.Add(time.Millisecond)
			packets, _ = client.session.Encode(packets[:0], in, now)
			out = server.session.Decode(out[:0], packets, client.addr, now)
			client.session.Rest()
			if len(out) != 64 {
				t.Fatalf("%d frames have come", len(out))
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a batch", name, n)
		}
		w.close()
	}
}

// A batch that needs more memory than there is at once is sealed in as many goes as it
// takes, and packets lie one behind the other.
func TestEncodeInGoes(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.staticPair()
	var frames []ethernet.Frame
	for range 500 {
		frames = append(frames, client.frame(1514))
	}
	goes := 0
	for rest := frames; len(rest) > 0; goes++ {
		packets, n := client.session.Encode(nil, rest, w.now)
		if n == 0 || n != len(packets) {
			t.Fatalf("%d packets of %d frames", len(packets), n)
		}
		for i, p := range packets[1:] {
			if last := packets[i]; &last[:cap(last)][len(last)] != &p[0] {
				t.Fatal("packets do not lie one behind the other")
			}
		}
		for _, p := range packets {
			server.read([][]byte{boxed(p)}, client.addr)
		}
		rest = rest[n:]
	}
	if goes < 2 || len(server.received) != 500 {
		t.Errorf("%d goes, %d frames have come", goes, len(server.received))
	}
	if client.session.Rest(); client.session.seal.buffer != nil {
		t.Error("at rest it holds memory")
	}
}

func TestFramesWithoutAKey(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.pair(nil)
	if client.ready() || client.session.Overhead() != 0 {
		t.Error("it is ready before there is a key")
	}
	packets, n := client.session.Encode(nil, []ethernet.Frame{client.frame(100), client.frame(100)}, w.now)
	if len(packets) != 0 || n != 2 || client.config.Unsent.Count(ethernet.NoKey) != 2 {
		t.Errorf("%d packets, %d taken, %d counted", len(packets), n, client.config.Unsent.Count(ethernet.NoKey))
	}
	if packet := client.session.Goodbye(w.now); packet != nil {
		t.Errorf("goodbye in the clear: %x", packet)
	}
	if packet, again := client.session.Message(w.now); packet != nil || again != 0 {
		t.Errorf("a message in the clear: %x", packet)
	}
	// Frames in the clear are not let in.
	clear := make([]byte, 100)
	for first := range 256 {
		clear[0] = byte(first)
		server.read([][]byte{boxed(clear)}, client.addr)
	}
	if len(server.received) > 0 {
		t.Error("a frame in the clear was let in")
	}
	if w.meet(client, server, time.Second); !w.flows(client, server) {
		t.Error("nothing flows")
	}
}

// The first frames are not lost, however close they follow the last packet of the
// handshake.
func TestFirstFrames(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		client, server := w.pair(nil)
		w.path("client", "server").delay = time.Duration(seed) * time.Millisecond
		w.run(time.Second, client.ready)
		client.write(5)
		w.run(time.Second, server.ready)
		server.write(5)
		w.run(time.Second, nil)
		if n := w.all(client, server); n != 10 {
			t.Errorf("%d frames were sent", n)
		}
		w.close()
	}
}

// side is one end in TestGoroutines.
type side struct {
	s       *Session
	addr    netip.AddrPort
	in      chan [][]byte
	stir    chan struct{}
	sending sync.Mutex
	sent    atomic.Int64
	got     atomic.Int64
}

func newSide(e *end) *side {
	return &side{s: e.session, addr: e.addr, in: make(chan [][]byte, 100), stir: make(chan struct{}, 1)}
}

func (x *side) wake() {
	if x.s.Asked() {
		select {
		case x.stir <- struct{}{}:
		default:
		}
	}
}

// write sends frames until there has been a new key several times.
func (x *side) write(to *side, deadline time.Time) {
	f := []ethernet.Frame{{Data: bytes.Repeat([]byte{1}, 200)}}
	for x.s.slots.Sending().ID < 4 && time.Now().Before(deadline) {
		x.sending.Lock()
		packets, _ := x.s.Encode(nil, f, time.Now())
		var batch [][]byte
		for _, p := range packets {
			batch = append(batch, boxed(p))
		}
		x.s.Rest()
		x.sending.Unlock()
		x.sent.Add(int64(len(batch)))
		to.in <- batch
		x.wake()
	}
}

func (x *side) read(from netip.AddrPort, stop <-chan struct{}) {
	for {
		select {
		case batch := <-x.in:
			x.got.Add(int64(len(x.s.Decode(nil, batch, from, time.Now()))))
			x.wake()
		case <-stop:
			return
		}
	}
}

func (x *side) talk(to *side, stop <-chan struct{}) {
	send := func(packet []byte) {
		select {
		case to.in <- [][]byte{boxed(packet)}:
		case <-stop:
		}
	}
	for {
		for p, ok, _, _ := x.s.Control(to.addr, time.Now()); ok; p, ok, _, _ = x.s.Control(to.addr, time.Now()) {
			send(p.Data)
		}
		x.sending.Lock()
		packet, _ := x.s.Message(time.Now())
		packet = bytes.Clone(packet)
		x.sending.Unlock()
		if packet != nil {
			send(packet)
		}
		x.s.Over(true, time.Now())
		select {
		case <-x.stir:
		case <-time.After(time.Millisecond):
		case <-stop:
			return
		}
	}
}

// Reader, writer and talker are goroutines of their own in a link; -race looks on.
func TestGoroutines(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.pair(func(c, s *Config) {
		c.Ping, s.Ping = time.Millisecond, time.Millisecond
		c.TLS.RenegPackets, s.TLS.RenegPackets = 50, 70
	})
	w.meet(client, server, time.Second)
	a, b := newSide(client), newSide(server)
	deadline := time.Now().Add(time.Minute)
	stop := make(chan struct{})
	var writers, others sync.WaitGroup
	for _, d := range [][2]*side{{a, b}, {b, a}} {
		writers.Go(func() { d[0].write(d[1], deadline) })
		others.Go(func() { d[0].read(d[1].addr, stop) })
		others.Go(func() { d[0].talk(d[1], stop) })
	}
	writers.Wait()
	for (a.got.Load() < b.sent.Load() || b.got.Load() < a.sent.Load()) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	close(stop)
	others.Wait()
	if a.got.Load() != b.sent.Load() || b.got.Load() != a.sent.Load() || client.renewed() < 4 || server.renewed() < 4 {
		t.Errorf("of %d and %d frames %d and %d have come, with %d and %d new keys; dropped %v %v", a.sent.Load(), b.sent.Load(), b.got.Load(), a.got.Load(), client.renewed(), server.renewed(), dropped(client), dropped(server))
	}
}

func TestInboxIsBounded(t *testing.T) {
	var i inbox
	for n := range 1000 {
		i.put([]byte{byte(n)}, peerAddr)
	}
	packets := i.take()
	if len(packets) != inboxSize || packets[1].Data[0] != 1 || i.filled.Load() || len(i.take()) != 0 {
		t.Errorf("%d packets are kept", len(packets))
	}
}
