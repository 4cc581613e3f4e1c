package openvpn

import (
	"bytes"
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"tmelink/internal/openvpn/controlchannel"
	"tmelink/internal/openvpn/pki"
)

// lively has both ends restart a second after their session has ended, and notice a
// silent peer after 20 seconds.
func lively(c, s *Config) {
	for _, x := range []*Config{c, s} {
		x.Ping, x.Silence = 5*time.Second, 20*time.Second
	}
}

func (w *world) livelyPair(change func(c, s *Config)) (client, server *end) {
	client, server = w.pair(func(c, s *Config) {
		lively(c, s)
		if change != nil {
			change(c, s)
		}
	})
	client.again, server.again = time.Second, time.Second
	return client, server
}

// flows says whether a frame comes through in both directions.
func (w *world) flows(a, b *end) bool {
	for _, d := range [][2]*end{{a, b}, {b, a}} {
		d[0].write(1)
		n := d[0].next
		if !w.run(100*time.Millisecond, func() bool { return d[1].received[n] > 0 }) {
			return false
		}
	}
	return true
}

func TestClientRestarts(t *testing.T) {
	for _, wr := range wrappings(t) {
		t.Run(wr.name, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.livelyPair(func(c, s *Config) { c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server })
			w.meet(client, server, time.Second)
			for range 5 {
				client.begin()
				if client.ready() {
					t.Fatal("a new session has a key")
				}
				w.meet(client, server, time.Second)
				w.run(50*time.Millisecond, nil) // until the server has it, too
				if !w.flows(client, server) {
					t.Fatalf("nothing flows:\n%s%s", client.log, server.log)
				}
			}
			if server.begun != 1 || len(client.errs) > 0 {
				t.Errorf("the server has begun %d times, the client has ended with %v", server.begun, client.errs)
			}
		})
	}
}

func TestServerRestarts(t *testing.T) {
	for _, wr := range wrappings(t) {
		t.Run(wr.name, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.livelyPair(func(c, s *Config) { c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server })
			w.meet(client, server, time.Second)
			server.begin()
			w.run(time.Second, nil)
			if !w.run(30*time.Second, both(client, server)) || client.begun != 2 || !w.flows(client, server) {
				t.Errorf("the client has begun %d times, %v:\n%s%s", client.begun, client.errs, client.log, server.log)
			}
		})
	}
}

// A server that knows where its client is has it begin anew after a restart, long before
// the client would notice by itself; but one with tls-crypt-v2 does not have its
// client's key then.
func TestServerHasTheClientBeginAnew(t *testing.T) {
	for _, wr := range wrappings(t) {
		t.Run(wr.name, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.pair(func(c, s *Config) {
				c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server
				s.TLS.KnowsPeer = true
			})
			w.meet(client, server, time.Second)
			before := server.session
			server.begin()
			if server.session == before {
				t.Fatal("the server has not begun anew")
			}
			can := wr.server.ServerV2 == nil
			w.run(5*time.Second, server.ready)
			if server.ready() != can || can && !w.flows(client, server) || client.begun != 1 {
				t.Errorf("the server has a key: %v, want %v; the client has begun %d times\n%s%s", server.ready(), can, client.begun, client.log, server.log)
			}
		})
	}
}

// A client that is heard is not told to begin anew.
func TestServerLeavesAClientThatIsHeard(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.pair(func(c, s *Config) { s.TLS.KnowsPeer = true })
	w.meet(client, server, 500*time.Millisecond)
	w.run(20*time.Millisecond, nil)
	sent := w.path("server", "client").count
	w.run(20*time.Second, nil)
	if now := w.path("server", "client").count; now != sent || !w.flows(client, server) {
		t.Errorf("the server has sent %d packets since", now-sent)
	}
}

// A client that has begun by itself is not told to begin anew, also when its next packets
// are lost: an OpenVPN would take what it has been answered for another session's.
func TestServerLeavesAClientThatHasBegun(t *testing.T) {
	w := newWorld(t, 1)
	answers := 0
	w.path("server", "client").hook = func(p []byte) {
		if p[0]>>3 == 8 {
			answers++
		}
	}
	w.script("client->server 2-40 drop")
	w.pair(func(c, s *Config) { s.TLS.KnowsPeer = true })
	w.run(10*time.Second, nil)
	if answers != 1 {
		t.Errorf("the server has begun %d sessions, want 1", answers)
	}
}

// A peer that restarts after any number of packets of a handshake is met all the same.
func TestRestartInMidHandshake(t *testing.T) {
	for _, wr := range wrappings(t)[3:] {
		for _, who := range []string{"client", "server"} {
			var worst time.Duration
			for packets := range 14 {
				w := newWorld(t, uint64(packets))
				client, server := w.livelyPair(func(c, s *Config) { c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server })
				w.run(time.Second, func() bool {
					return w.path("client", "server").count+w.path("server", "client").count >= packets
				})
				if who == "client" {
					client.begin()
				} else {
					server.begin()
				}
				if !w.run(2*time.Minute, func() bool { return client.ready() && server.ready() && w.flows(client, server) }) {
					t.Fatalf("%s, %s after %d packets: no keys: %v %v\n%s%s", wr.name, who, packets, client.errs, server.errs, client.log, server.log)
				}
				worst = max(worst, w.now.Sub(start))
				w.close()
			}
			t.Logf("%s, %s: %v at worst", wr.name, who, worst)
		}
	}
}

// floodFrom sends hard resets to an end, each from an address and a session of its own.
func (w *world) floodFrom(to *end, n int, every time.Duration, packet func(i int) []byte) {
	flooder := &end{w: w, name: "flood"}
	var again func(i int)
	again = func(i int) {
		if i < n {
			flooder.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), uint16(1024+i%50000))
			w.send(flooder, to.addr, packet(i), 0)
			w.after(every, func() { again(i + 1) })
		}
	}
	again(0)
}

// resetFrom is a client's first packet, without a wrapping.
func resetFrom(i int) []byte {
	return []byte{7 << 3, 1, byte(i >> 16), byte(i >> 8), byte(i), 5, 6, 7, 8, 0, 0, 0, 0, 0}
}

func TestFloodOfHardResets(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.livelyPair(func(c, s *Config) { s.TLS.RenegTime = 3 * time.Second })
	w.meet(client, server, time.Second)
	var small, large, replies int
	before := heapInUse()
	const floods = 50000
	w.path("server", "elsewhere").hook = func(packet []byte) {
		replies++
		if len(packet) <= len(resetFrom(0))+12 { // as OpenVPN's: the acknowledgement of ours, and its sender
			small++
		} else {
			large++
		}
	}
	w.floodFrom(server, floods, 200*time.Microsecond, resetFrom)
	client.chat(10*time.Millisecond, 10*time.Second)
	server.chat(10*time.Millisecond, 10*time.Second)
	begin := w.now
	w.run(9*time.Second+900*time.Millisecond, nil)
	if replies > 100 || replies < 90 || large > 0 {
		t.Errorf("%d replies within %v, %d of them large", replies, w.now.Sub(begin), large)
	}
	w.run(2*time.Second, nil)
	if more := heapInUse() - before; more > 8<<20 {
		t.Errorf("%d bytes more are in use", more)
	}
	if n := w.all(client, server); n < 3000 || server.renewed() < 2 || server.begun != 1 || client.begun != 1 {
		t.Errorf("%d frames, %d keys, begun %d and %d times", n, server.renewed(), client.begun, server.begun)
	}
	if lines := strings.Count(server.log.String(), "\n"); lines > 20 {
		t.Errorf("%d lines in the log:\n%s", lines, server.log)
	}
}

// heapInUse is how much memory is in use.
func heapInUse() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Garbage of all kinds changes nothing in a session.
func TestFloodOfGarbage(t *testing.T) {
	for _, wr := range wrappings(t) {
		t.Run(wr.name, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.livelyPair(func(c, s *Config) { c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server })
			w.meet(client, server, time.Second)
			garbage := func(i int) []byte {
				p := make([]byte, 1+w.random.IntN(300))
				for j := range p {
					p[j] = byte(w.random.Uint32())
				}
				return p
			}
			w.floodFrom(server, 5000, time.Millisecond, garbage)
			w.floodFrom(client, 5000, time.Millisecond, garbage)
			client.chat(10*time.Millisecond, 5*time.Second)
			server.chat(10*time.Millisecond, 5*time.Second)
			w.run(10*time.Second, nil)
			if w.all(client, server); client.begun+server.begun != 2 {
				t.Errorf("begun %d and %d times: %v %v", client.begun, server.begun, client.errs, server.errs)
			}
			// From the peer's own address, too.
			for i := range 2000 {
				server.read([][]byte{boxed(garbage(i))}, client.addr)
				client.read([][]byte{boxed(garbage(i))}, server.addr)
			}
			if w.exchange(client, server); client.begun+server.begun != 2 {
				t.Errorf("begun %d and %d times: %v %v", client.begun, server.begun, client.errs, server.errs)
			}
		})
	}
}

// All packets of an earlier session, sent again by somebody on the way, do nothing to a
// later one, and make nobody believe that the peer is there.
func TestReplayedSession(t *testing.T) {
	for _, wr := range wrappings(t) {
		t.Run(wr.name, func(t *testing.T) {
			w := newWorld(t, 1)
			var toServer, toClient [][]byte
			w.path("client", "server").hook = func(p []byte) { toServer = append(toServer, bytes.Clone(p)) }
			w.path("server", "client").hook = func(p []byte) { toClient = append(toClient, bytes.Clone(p)) }
			client, server := w.livelyPair(func(c, s *Config) { c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server })
			w.meet(client, server, time.Second)
			w.exchange(client, server)
			first := [2][][]byte{toServer, toClient}
			w.path("client", "server").hook, w.path("server", "client").hook = nil, nil
			w.run(3*time.Minute, nil) // their cookies are no longer good
			client.begin()
			w.meet(client, server, time.Second)
			w.run(50*time.Millisecond, nil)
			replay := func() {
				for i := range max(len(first[0]), len(first[1])) {
					if i < len(first[0]) {
						server.read([][]byte{boxed(first[0][i])}, client.addr)
					}
					if i < len(first[1]) {
						client.read([][]byte{boxed(first[1][i])}, server.addr)
					}
				}
			}
			got := len(client.received) + len(server.received)
			replay()
			if n := len(client.received) + len(server.received); n != got {
				t.Errorf("%d frames were taken from an earlier session", n-got)
			}
			if w.exchange(client, server); client.begun != 2 || server.begun != 1 {
				t.Errorf("begun %d and %d times: %v %v", client.begun, server.begun, client.errs, server.errs)
			}
			// Of this session, too, and to a new one.
			w.path("client", "server").refuse = func([]byte) bool { return true }
			w.path("server", "client").refuse = w.path("client", "server").refuse
			for range 25 {
				w.run(time.Second, nil)
				if client.session != nil && server.session != nil {
					replay()
				}
			}
			if len(client.errs) == 0 || len(server.errs) == 0 {
				t.Errorf("replayed packets keep a session alive: %v %v", client.errs, server.errs)
			}
		})
	}
}

// stranger adds a client with a certificate that the server does not know.
func (w *world) stranger(wr controlchannel.Wrapping) *end {
	c := Config{TLS: w.tlsConfig(false)}
	c.TLS.TLS = w.trust(identities()["stranger"], pki.Peer{Fingerprints: [][32]byte{identities()["server"].fingerprint}, Server: true})
	c.TLS.Wrapping = wr
	return w.add("stranger", strangerAddr, serverAddr, c)
}

func TestStrangerBesideASession(t *testing.T) {
	for _, wr := range wrappings(t) {
		t.Run(wr.name, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.livelyPair(func(c, s *Config) { c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server })
			w.meet(client, server, time.Second)
			client.chat(10*time.Millisecond, 20*time.Second)
			server.chat(10*time.Millisecond, 20*time.Second)
			stranger := w.stranger(wr.client)
			stranger.again = time.Second
			w.run(21*time.Second, nil)
			w.all(client, server)
			if stranger.ready() || len(stranger.received) > 0 || len(stranger.errs) == 0 {
				t.Error("a stranger was let in")
			}
			if client.begun+server.begun != 2 || server.peer != client.addr {
				t.Errorf("begun %d and %d times, the server's peer is %v", client.begun, server.begun, server.peer)
			}
			if !server.logged("--peer-fingerprint") || strings.Count(server.log.String(), "no keys") > 12 {
				t.Errorf("the server's log:\n%s", server.log)
			}
			// While the stranger is at it the client may begin anew.
			client.begin()
			w.meet(client, server, 30*time.Second)
			w.run(50*time.Millisecond, nil)
			if !w.flows(client, server) {
				t.Error("nothing flows")
			}
		})
	}
}

// A peer that has got another address is followed once it has proved itself.
func TestClientMoves(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.livelyPair(func(c, s *Config) { c.TLS.RenegTime = 30 * time.Second })
	w.meet(client, server, time.Second)
	delete(w.ends, client.addr)
	client.addr = netip.MustParseAddrPort("192.0.2.77:4000")
	w.ends[client.addr] = client
	client.write(1)
	w.run(time.Second, nil)
	if server.peer != client.addr || !w.flows(client, server) {
		t.Fatalf("the server's peer is %v", server.peer)
	}
	client.chat(10*time.Millisecond, 40*time.Second)
	server.chat(10*time.Millisecond, 40*time.Second)
	w.run(41*time.Second, nil)
	if client.renewed() == 0 || client.begun+server.begun != 2 {
		t.Errorf("%d keys were renewed, %v %v\n%s", client.renewed(), client.errs, server.errs, server.log)
	}
}

func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -10 * time.Minute, time.Minute, -time.Second} {
		t.Run(jump.String(), func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.livelyPair(nil)
			w.meet(client, server, time.Second)
			w.exchange(client, server)
			w.jump(jump)
			if !w.run(30*time.Second, func() bool { return client.ready() && server.ready() && w.flows(client, server) }) {
				t.Fatalf("no keys: %v %v\n%s%s", client.errs, server.errs, client.log, server.log)
			}
			client.begin() // and a new session with the new time
			w.meet(client, server, 10*time.Second)
			w.run(50*time.Millisecond, nil)
			if !w.flows(client, server) {
				t.Error("nothing flows")
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	w := newWorld(t, 1)
	client := w.add("client", clientAddr, serverAddr, Config{TLS: w.tlsConfig(false)})
	w.run(59*time.Second, nil)
	if client.session == nil {
		t.Fatalf("it has given up: %v", client.errs)
	}
	w.run(2*time.Second, nil)
	var final *controlchannel.FinalError
	if len(client.errs) != 1 || !strings.Contains(client.errs[0].Error(), "--hand-window") || errors.As(client.errs[0], &final) {
		t.Errorf("it ends with %v", client.errs)
	}
	if n := w.path("client", "elsewhere").count; n < 8 || n > 25 {
		t.Errorf("%d packets were sent to nobody in a minute", n)
	}
}

// The same with a peer that falls silent at any point of the handshake.
func TestPeerFallsSilent(t *testing.T) {
	for packets := 1; packets < 8; packets++ {
		w := newWorld(t, 1)
		client, server := w.pair(nil)
		p := w.path("server", "client")
		p.refuse = func([]byte) bool { return p.count > packets }
		w.run(3*time.Minute, nil)
		if !client.ready() && (len(client.errs) != 1 || !strings.Contains(client.errs[0].Error(), "--hand-window")) {
			t.Errorf("after %d packets: %v\n%s", packets, client.errs, client.log)
		}
		if packets < 4 && (!server.logged("--hand-window") && packets > 1 || server.session == nil) {
			t.Errorf("after %d packets the server: %v\n%s", packets, server.errs, server.log)
		}
		w.close()
	}
}

func TestSingleSession(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.livelyPair(func(c, s *Config) { s.TLS.Single = true })
	w.meet(client, server, time.Second)
	client.begin()
	if w.run(15*time.Second, client.ready) || !server.logged("--single-session forbids") {
		t.Errorf("a second session:\n%s", server.log)
	}
	// The server notices that its peer is gone, and begins anew itself.
	if !w.run(time.Minute, both(client, server)) || !w.flows(client, server) {
		t.Errorf("no session after the first has ended: %v %v\n%s%s", client.errs, server.errs, client.log, server.log)
	}
}
