package openvpn

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

// fragmented gives two ends --fragment, and begins them anew.
func fragmented(mtu, limit int, ends ...*end) {
	for _, e := range ends {
		e.config.Fragments, e.config.MTU = true, mtu
		e.config.PacketLimit = func() int { return limit }
		e.begin()
	}
}

// unkeyed are two ends without keys.
func (w *world) unkeyed() (client, server *end) {
	return w.add("client", clientAddr, serverAddr, Config{}), w.add("server", serverAddr, clientAddr, Config{})
}

// fragmentedPairs are the kinds of sessions, each with --fragment.
var fragmentedPairs = map[string]func(w *world) (client, server *end){
	"in the clear": (*world).unkeyed, "static key": (*world).staticPair,
	"TLS": func(w *world) (client, server *end) { return w.pair(nil) },
}

// Frames of any length come through, no packet is longer than it may be, and over a bad
// path no frame comes out other than it was.
func TestFragmentedSessions(t *testing.T) {
	for name, pair := range fragmentedPairs {
		for _, c := range []struct {
			mtu, limit int
			loss       float64
		}{{1500, 1300, 0}, {1500, 200, 0}, {9000, 1372, 0}, {1500, 576, 0.05}, {9000, 1300, 0.05}} {
			w := newWorld(t, 1)
			client, server := pair(w)
			fragmented(c.mtu, c.limit, client, server)
			longest, cut := 0, 0
			for _, p := range []*path{w.path("client", "server"), w.path("server", "client")} {
				p.lose, p.late, p.lateBy = c.loss, 0.1, 5*time.Millisecond
				p.hook = func(packet []byte) {
					if client.session.control == nil || packet[0]>>3 == 6 || packet[0]>>3 == 9 {
						longest = max(longest, len(packet))
						cut++
					}
				}
			}
			w.run(20*time.Second, both(client, server))
			w.exchange(client, server)
			if longest > c.limit || longest < c.limit-40 {
				t.Errorf("%s, %+v: a packet of %d bytes", name, c, longest)
			}
			if frames := len(client.sent) + len(server.sent); cut < frames+20 {
				t.Errorf("%s, %+v: %d packets of %d frames", name, c, cut, frames)
			}
			if lost := client.config.Dropped.Count(ethernet.Incomplete) + server.config.Dropped.Count(ethernet.Incomplete); (lost > 0) != (c.loss > 0) {
				t.Errorf("%s, %+v: %d frames are not complete", name, c, lost)
			}
			w.close()
		}
	}
}

// Messages have the header too, and are cut where they must be.
func TestFragmentedMessages(t *testing.T) {
	s, _ := newSession(Config{Options: Options{MTU: 1500, Proto: UDP, Fragments: true}, Timers: Timers{Ping: time.Second}, PacketLimit: func() int { return 52 }})
	if p, _ := s.Message(start); !bytes.Equal(p, append(make([]byte, 4), pingMessage...)) {
		t.Errorf("ping %x", p)
	}
	if p := s.Goodbye(start); !bytes.Equal(p, append(make([]byte, 4), occ(occExit, "")...)) {
		t.Errorf("goodbye %x", p)
	}
	if got := s.Decode(nil, [][]byte{append(make([]byte, 4), occ(occRequest, "")...)}, peerAddr, start); len(got) != 0 || !s.Asked() {
		t.Fatalf("a request is not understood: %d frames", len(got))
	}
	r, drops := newReassembler(2000)
	var reply []byte
	packets := 0
	for p, _ := s.Message(start); p != nil; p, _ = s.Message(start) {
		if packets++; len(p) > 52 {
			t.Errorf("a packet of %d bytes", len(p))
		}
		reply = append(reply, r.add(p, start)...)
	}
	if want := occ(occReply, "V4,dev-type tap,link-mtu 1536,tun-mtu 1500,proto UDPv4,mtu-dynamic\x00"); !bytes.Equal(reply, want) || packets != 2 || drops.Total() != 0 {
		t.Errorf("in %d packets comes %q, want %q", packets, reply, want)
	}
}

// A path that takes less shortens the fragments from then on; a frame that would take
// too many is dropped, and no other.
func TestPacketLimitChanges(t *testing.T) {
	limit := 1300
	s, _ := newSession(Config{Options: Options{MTU: 1500, Proto: UDP, Fragments: true}, PacketLimit: func() int { return limit }})
	frames := []ethernet.Frame{{Data: make([]byte, 1514)}, {Data: make([]byte, 60)}}
	for _, c := range []struct{ limit, packets, dropped int }{{1300, 3, 0}, {572, 4, 0}, {2000, 2, 0}, {40, 2, 1}} {
		limit = c.limit
		before := s.config.Unsent.Count(ethernet.Oversize)
		packets, n := s.Encode(nil, frames, start)
		if len(packets) != c.packets || n != 2 || int(s.config.Unsent.Count(ethernet.Oversize)-before) != c.dropped {
			t.Errorf("limit %d: %d packets of %d frames", c.limit, len(packets), n)
		}
		for _, p := range packets {
			if len(p) > c.limit {
				t.Errorf("limit %d: a packet of %d bytes", c.limit, len(p))
			}
		}
	}
	if s.Overhead() != 4 {
		t.Errorf("a packet is longer than its frame by %d, want 4", s.Overhead())
	}
}

func TestFragmentedSessionAllocatesNothing(t *testing.T) {
	for name, pair := range fragmentedPairs {
		w := randomWorld(t, 1)
		client, server := pair(w)
		fragmented(1500, 1300, client, server)
		w.meet(client, server, time.Second)
		var in []ethernet.Frame
		for range 200 { // more than one go
			in = append(in, ethernet.Frame{Data: make([]byte, 1514)})
		}
		batch, packets, out := make([][]byte, 0, 400), make([][]byte, 0, 400), make([]ethernet.Frame, 0, 200)
		now := w.now
		if n := testing.AllocsPerRun(50, func() {
			now = now.Add(time.Millisecond)
			goes, got := 0, 0
			for rest := in; len(rest) > 0; goes++ {
				var n int
				packets, n = client.session.Encode(packets[:0], rest, now)
				rest = rest[n:]
				batch = append(batch[:0], packets...)
				out = server.session.Decode(out[:0], batch, client.addr, now)
				got += len(out)
				server.session.Reclaim()
			}
			client.session.Rest()
			if got != 200 || goes < 2 {
				t.Fatalf("%s: %d frames in %d goes; dropped %v", name, got, goes, dropped(server))
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a batch", name, n)
		}
		w.close()
	}
}

func TestOversizeIsToldOnce(t *testing.T) {
	w := newWorld(t, 1)
	client, _ := w.unkeyed()
	client.session.Decode(nil, [][]byte{make([]byte, 1600), make([]byte, 1700)}, peerAddr, w.now)
	client.session.Decode(nil, [][]byte{make([]byte, 1600)}, peerAddr, w.now)
	if n := strings.Count(client.log.String(), "dropped a frame"); n != 1 || !client.logged("frame=1600", "most=1522", "peer="+peerAddr.String()) {
		t.Errorf("told %d times: %s", n, client.log)
	}
}
