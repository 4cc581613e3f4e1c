package openvpn

import (
	"fmt"
	"testing"
	"time"
)

// A handshake that loses any one of its packets, or has it late, twice or changed, ends
// well and soon.
func TestAnyPacketGoesWrong(t *testing.T) {
	for _, wr := range wrappings(t) {
		for _, way := range []string{"client->server", "server->client"} {
			for what, within := range map[string]time.Duration{"drop": 2100 * time.Millisecond, "+300ms": 700 * time.Millisecond, "dup": 100 * time.Millisecond, "flip": 2100 * time.Millisecond} {
				if what == "flip" && wr.name == "none" {
					continue // TLS itself takes harm: who wants to guard against that uses --tls-crypt
				}
				var worst time.Duration
				for n := 1; n <= 10; n++ {
					w := newWorld(t, uint64(n))
					script := fmt.Sprintf("%s %d %s", way, n, what)
					w.script(script)
					client, server := w.pair(func(c, s *Config) { c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server })
					if !w.run(within, both(client, server)) {
						t.Errorf("%s, %s: no keys within %v: %v %v\n%s%s", wr.name, script, within, client.errs, server.errs, client.log, server.log)
					}
					worst = max(worst, w.now.Sub(start))
					w.exchange(client, server)
					w.close()
				}
				t.Logf("%s, %s: at worst %v", wr.name, what, worst)
			}
		}
	}
}

func TestScripts(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		within time.Duration
	}{
		"the first packets":     {"client->server 1-3 drop", 8 * time.Second},
		"the first answers":     {"server->client 1-3 drop", 8 * time.Second},
		"both":                  {"client->server 1 drop; 3 drop\nserver->client 1 drop; 2 drop", 12 * time.Second},
		"order":                 {"client->server 2 +200ms; 3 +100ms; 4 +50ms\nserver->client 2 +150ms; 3 +50ms; 4 +10ms", time.Second},
		"everything comes late": {"client->server 1-50 +2s\nserver->client 1-50 +2s", 25 * time.Second},
		"everything is doubled": {"client->server 1-50 dup\nserver->client 1-50 dup", 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			for _, wr := range wrappings(t) {
				w := newWorld(t, 1)
				w.script(c.script)
				client, server := w.pair(func(cl, s *Config) { cl.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server })
				w.meet(client, server, c.within)
				t.Logf("%s: %v", wr.name, w.now.Sub(start))
				w.run(10*time.Second, nil)
				w.path("client", "server").script, w.path("server", "client").script = nil, nil
				w.exchange(client, server)
				w.close()
			}
		})
	}
}
