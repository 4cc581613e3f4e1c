package openvpn

import (
	"strings"
	"testing"
	"time"

	"tmelink/internal/openvpn/controlchannel"
)

// renewed counts the keys that an end has agreed on beside its first.
func (e *end) renewed() int { return strings.Count(e.log.String(), "keys renewed") }

func TestRenegotiationLosesNothing(t *testing.T) {
	for name, change := range map[string]func(client, server *controlchannel.Config){
		"time, client":  func(c, _ *controlchannel.Config) { c.RenegTime = 4 * time.Second },
		"time, server":  func(_, s *controlchannel.Config) { s.RenegTime = 4 * time.Second },
		"time, both":    func(c, s *controlchannel.Config) { c.RenegTime, s.RenegTime = 4*time.Second, 4*time.Second },
		"time, quickly": func(c, s *controlchannel.Config) { c.RenegTime, s.RenegTime = 2*time.Second, 3*time.Second },
		"bytes, client": func(c, _ *controlchannel.Config) { c.RenegBytes = 1 << 20 },
		"bytes, server": func(_, s *controlchannel.Config) { s.RenegBytes = 1 << 20 },
		"bytes, both": func(c, s *controlchannel.Config) {
			c.RenegBytes, s.RenegBytes, c.RenegTime, s.RenegTime = 1<<19, 1<<19, time.Minute, time.Minute
		},
		"packets, client": func(c, _ *controlchannel.Config) { c.RenegPackets = 500 },
		"packets, server": func(_, s *controlchannel.Config) { s.RenegPackets = 500 },
		"packets, both":   func(c, s *controlchannel.Config) { c.RenegPackets, s.RenegPackets = 300, 200 },
		"packets and time": func(c, s *controlchannel.Config) {
			c.RenegPackets, s.RenegTime = 50, 2*time.Second
		},
		"few packets": func(c, s *controlchannel.Config) { c.RenegPackets, s.RenegPackets = 5, 7 },
	} {
		for _, way := range []string{"good", "reordering", "losing"} {
			t.Run(name+", "+way, func(t *testing.T) {
				w := newWorld(t, 7)
				for _, p := range []*path{w.path("client", "server"), w.path("server", "client")} {
					switch way {
					case "reordering": // so little that the window against replay lets it by
						p.repeat, p.late, p.lateBy = 0.05, 0.1, 30*time.Millisecond
					case "losing":
						p.lose = 0.05
					}
				}
				client, server := w.pair(func(c, s *Config) { change(c.TLS, s.TLS) })
				w.meet(client, server, 20*time.Second)
				client.chat(20*time.Millisecond, 30*time.Second)
				server.chat(20*time.Millisecond, 30*time.Second)
				w.run(31*time.Second, nil)
				n := w.all(client, server)
				if client.renewed() < 4 || server.renewed() < 4 || len(client.errs)+len(server.errs) > 0 {
					t.Errorf("%d and %d renewed keys, errors %v %v", client.renewed(), server.renewed(), client.errs, server.errs)
				}
				if n < 5000 || client.config.Unsent.Total()+server.config.Unsent.Total() > 0 {
					t.Errorf("%d frames, unsent %d and %d", n, client.config.Unsent.Total(), server.config.Unsent.Total())
				}
				for _, e := range []*end{client, server} {
					if strings.Contains(e.log.String(), "level=WARN") && way != "reordering" {
						t.Errorf("%s has logged warnings:\n%s", e.name, warnings(e))
					}
				}
				t.Logf("%d frames, %d keys", n, client.renewed())
			})
		}
	}
}

func warnings(e *end) string {
	var b strings.Builder
	for line := range strings.Lines(e.log.String()) {
		if strings.Contains(line, "level=WARN") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// When both ends begin at the same moment one negotiation comes of it.
func TestBothRenegotiateAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.pair(func(c, s *Config) {
		c.TLS.RenegTime, s.TLS.RenegTime = 10*time.Second, 10*time.Second-10*time.Millisecond
	})
	w.meet(client, server, time.Second)
	client.chat(time.Millisecond, 35*time.Second)
	server.chat(time.Millisecond, 35*time.Second)
	w.run(36*time.Second, nil)
	w.all(client, server)
	if client.renewed() != 3 || server.renewed() != 3 {
		t.Errorf("%d and %d keys in 35 s:\n%s%s", client.renewed(), server.renewed(), client.log, server.log)
	}
}

// A renegotiation that fails leaves the old key in use, and the client begins a new
// session.
func TestFailedRenegotiation(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.pair(func(c, s *Config) {
		for _, x := range []*Config{c, s} {
			x.TLS.RenegTime, x.TLS.TranWindow, x.TLS.HandWindow = 100*time.Second, 200*time.Second, 30*time.Second
		}
	})
	w.meet(client, server, time.Second)
	chat := func(long time.Duration) {
		client.chat(10*time.Millisecond, long)
		server.chat(10*time.Millisecond, long)
		w.run(long+time.Second, nil)
	}
	chat(90 * time.Second)
	// The control channel is cut, frames still come through.
	cut := func(on bool) {
		for _, p := range []*path{w.path("client", "server"), w.path("server", "client")} {
			p.refuse = nil
			if on {
				p.refuse = func(packet []byte) bool { return controlchannel.IsControl(packet[0]) }
			}
		}
	}
	cut(true)
	chat(80 * time.Second)
	if !client.logged("no keys", "--hand-window", "the old key is used on") || !client.ready() || !server.ready() || client.renewed() != 0 {
		t.Fatalf("with the control channel cut:\n%s%s", client.log, server.log)
	}
	if busy := client.unasked + server.unasked; busy > 200 {
		t.Errorf("%d packets were sent of the control channel", busy)
	}
	w.all(client, server)
	cut(false)
	chat(250 * time.Second)
	if client.renewed() == 0 || len(client.errs)+len(server.errs) > 0 {
		t.Errorf("no new keys: %v %v\n%s%s", client.errs, server.errs, client.log, server.log)
	}
	// A new session is no renegotiation: what is under way under the old key is lost.
	for _, d := range [][2]*end{{client, server}, {server, client}} {
		if missing, twice := d[0].missing(d[1]); missing > 3 || twice > 0 {
			t.Errorf("%s->%s: %d frames are missing, %d twice; dropped %v", d[0].name, d[1].name, missing, twice, dropped(d[1]))
		}
	}
}

// An end that can agree on no new key does not use the old one for ever.
func TestOldKeyExpires(t *testing.T) {
	w := newWorld(t, 1)
	client, server := w.pair(func(c, s *Config) {
		for _, x := range []*Config{c, s} {
			x.TLS.RenegTime, x.TLS.TranWindow, x.TLS.HandWindow = 100*time.Second, 200*time.Second, 30*time.Second
		}
	})
	w.meet(client, server, time.Second)
	for _, p := range []*path{w.path("client", "server"), w.path("server", "client")} {
		p.refuse = func(packet []byte) bool { return controlchannel.IsControl(packet[0]) }
	}
	w.run(1000*time.Second, nil)
	for _, e := range []*end{client, server} {
		if e.session != nil || len(e.errs) != 1 || !strings.Contains(e.errs[0].Error(), "--tran-window") {
			t.Errorf("%s: %v", e.name, e.errs)
		}
	}
}

// isolated has two ends agree up to the client's last acknowledgement, which is lost
// like all that the server repeats, and like a next key that the client begins;
// letThrough ends that for the client's packets.
func isolated(w *world, change func(c, s *Config)) (client, server *end, letThrough func()) {
	client, server = w.pair(change)
	w.path("client", "server").refuse = func(p []byte) bool { return p[0]>>3 == 5 || p[0]>>3 == 3 }
	w.path("server", "client").refuse = func(p []byte) bool { return client.ready() && controlchannel.IsControl(p[0]) }
	w.run(time.Second, client.ready)
	return client, server, func() { w.path("client", "server").refuse = nil }
}

func TestLastAcknowledgementIsRepeated(t *testing.T) {
	w := newWorld(t, 1)
	client, server, letThrough := isolated(w, nil)
	w.run(500*time.Millisecond, nil)
	if !client.ready() || server.ready() {
		t.Fatalf("ready: client %v, server %v", client.ready(), server.ready())
	}
	letThrough()
	if !w.run(3*time.Second, server.ready) || !w.flows(client, server) {
		t.Errorf("the server has no key:\n%s%s", client.log, server.log)
	}
}

// A client may begin the next key before the server has this one, of which it does not
// know.
func TestRenewalBeforeThePeerHasTheKey(t *testing.T) {
	const every = 4 * time.Second
	w := newWorld(t, 1)
	client, server, letThrough := isolated(w, func(c, s *Config) { c.TLS.RenegTime, s.TLS.RenegTime = every, every })
	asked := client.unasked
	w.run(3*every/2, nil)
	if server.ready() {
		t.Fatal("the server has a key")
	}
	if n := client.unasked - asked; n > 20 {
		t.Errorf("the client has sent %d packets meanwhile", n)
	}
	letThrough()
	if !w.run(5*time.Second, server.ready) {
		t.Fatalf("the server has no key:\n%s%s", client.log, server.log)
	}
	w.path("server", "client").refuse = nil
	w.run(every, nil)
	client.chat(10*time.Millisecond, 3*every)
	server.chat(10*time.Millisecond, 3*every)
	w.run(4*every, nil)
	w.all(client, server)
	if client.renewed() == 0 || server.renewed() == 0 {
		t.Error("the keys were not renewed afterwards")
	}
}

// An OpenVPN that is the client acknowledges nothing of a negotiation after it has begun
// the next. That the server's hello has come it then tells by what it does.
func TestServerConcludesWhatTheClientHas(t *testing.T) {
	for name, c := range map[string]struct {
		refused func(p []byte) bool // once the client has the key
		frames  bool
	}{
		"frames under the key":   {func(p []byte) bool { return controlchannel.IsControl(p[0]) }, true},
		"it begins the next key": {func(p []byte) bool { return controlchannel.IsControl(p[0]) && p[0]&7 == 0 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, wr := range wrappings(t) {
				w := newWorld(t, 1)
				client, server := w.pair(func(c, s *Config) {
					c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server
					c.TLS.RenegTime = 4 * time.Second
				})
				ack := func(p []byte) bool { return p[0]>>3 == 5 }
				w.path("client", "server").refuse = ack
				w.run(time.Second, client.ready)
				w.path("client", "server").refuse = c.refused
				w.run(200*time.Millisecond, nil)
				if server.ready() {
					t.Fatal("the server has a key")
				}
				if c.frames {
					client.chat(100*time.Millisecond, time.Second)
				}
				if !w.run(9*time.Second, server.ready) {
					t.Errorf("%s: the server has no key:\n%s%s", wr.name, client.log, server.log)
				}
				w.path("client", "server").refuse = nil
				if !w.run(20*time.Second, both(client, server)) || !w.flows(client, server) {
					t.Errorf("%s: nothing flows:\n%s%s", wr.name, client.log, server.log)
				}
				w.close()
			}
		})
	}
}
