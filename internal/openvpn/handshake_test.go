package openvpn

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tmelink/internal/openvpn/controlchannel"
	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
)

// wrapping is one way to guard the control channel.
type wrapping struct {
	name           string
	client, server controlchannel.Wrapping
}

func wrappings(t testing.TB) []wrapping {
	t.Helper()
	static, err := keys.NewStatic(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serverV2, err := keys.NewServerV2(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	clientV2, err := keys.NewClientV2(rand.Reader, serverV2, keys.UserMetadata([]byte("a client")))
	if err != nil {
		t.Fatal(err)
	}
	auth := func(digest string, d keys.Direction) controlchannel.Wrapping {
		h, err := datachannel.LookupDigest(digest)
		if err != nil {
			t.Fatal(err)
		}
		return controlchannel.Wrapping{Auth: static, Digest: h, Dir: d}
	}
	return []wrapping{
		{"none", controlchannel.Wrapping{}, controlchannel.Wrapping{}},
		{"tls-auth", auth("SHA1", keys.Both), auth("SHA1", keys.Both)},
		{"tls-auth 1 and 0", auth("SHA256", keys.Inverse), auth("SHA256", keys.Normal)},
		{"tls-auth 0 and 1", auth("SHA512", keys.Normal), auth("SHA512", keys.Inverse)},
		{"tls-crypt", controlchannel.Wrapping{Crypt: static}, controlchannel.Wrapping{Crypt: static}},
		{"tls-crypt-v2", controlchannel.Wrapping{ClientV2: clientV2}, controlchannel.Wrapping{ServerV2: serverV2}},
	}
}

// exchange has both ends send frames to each other and checks that all arrive.
func (w *world) exchange(a, b *end) {
	w.t.Helper()
	a.chat(10*time.Millisecond, time.Second)
	b.chat(10*time.Millisecond, time.Second)
	w.run(2*time.Second, nil)
	if n := w.all(a, b); n < 200 {
		w.t.Errorf("%d frames were sent", n)
	}
}

func TestWrappings(t *testing.T) {
	for _, wr := range wrappings(t) {
		t.Run(wr.name, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.pair(func(c, s *Config) { c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server })
			largest := 0
			for _, p := range []*path{w.path("client", "server"), w.path("server", "client")} {
				p.hook = func(packet []byte) { largest = max(largest, len(packet)) }
			}
			w.meet(client, server, time.Second)
			if most := client.config.TLS.MaxPacket - 48; largest > most || largest < most/2 {
				t.Errorf("the largest packet has %d bytes, and may have %d", largest, most)
			}
			if took := w.now.Sub(start); took > 50*time.Millisecond {
				t.Errorf("it took %v, and a packet takes 5 ms", took)
			}
			w.exchange(client, server)
			for _, e := range []*end{client, server} {
				if !e.logged("keys agreed on", "cipher=AES-256-GCM", "TLS 1.3") || strings.Contains(e.log.String(), "level=WARN") {
					t.Errorf("%s has logged:\n%s", e.name, e.log)
				}
			}
			// A renegotiation, with a wrapping of its own.
			w.run(time.Hour+time.Minute, nil)
			if !client.logged("keys renewed") || !server.logged("keys renewed") {
				t.Errorf("keys were not renewed:\n%s%s", client.log, server.log)
			}
			w.exchange(client, server)
		})
	}
}

func TestCiphers(t *testing.T) {
	for _, name := range datachannel.CipherNames() {
		for _, digest := range []string{"SHA1", "SHA256", "SHA512"} {
			c := cipherNamed(name)
			if c.AEAD() && digest != "SHA1" {
				continue
			}
			t.Run(datachannel.Suite{Cipher: c, Digest: digestNamed(digest)}.String(), func(t *testing.T) {
				w := newWorld(t, 1)
				client, server := w.pair(func(cl, s *Config) {
					for _, config := range []*Config{cl, s} {
						config.TLS.Digest = digestNamed(digest)
					}
					s.TLS.Ciphers = ciphersNamed(name)
					cl.TLS.Ciphers = ciphersNamed(append(datachannel.CipherNames(), name)...)
				})
				w.meet(client, server, time.Second)
				w.exchange(client, server)
				if !client.logged("cipher="+name) && !client.logged(`cipher="`+name) {
					t.Errorf("not %s:\n%s", name, client.log)
				}
				// Ethernet's frame, and behind it what the suite says.
				if got, want := client.session.Overhead(), (datachannel.Suite{Cipher: c, Digest: digestNamed(digest)}).Overhead(datachannel.FormV2(0, 0)); got != want {
					t.Errorf("packets are longer by %d, want %d", got, want)
				}
			})
		}
	}
}

func digestNamed(name string) *datachannel.Digest {
	d, err := datachannel.LookupDigest(name)
	if err != nil {
		panic(err)
	}
	return d
}

func TestCipherNegotiation(t *testing.T) {
	type lists struct {
		ciphers  string
		fallback string
	}
	for name, c := range map[string]struct {
		client, server lists
		want           string // a cipher, or what the error says
		fails          bool
	}{
		"the server's first":     {lists{"CHACHA20-POLY1305:AES-128-GCM", ""}, lists{"AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305", ""}, "AES-128-GCM", false},
		"one in common":          {lists{"AES-192-CBC:AES-128-GCM", ""}, lists{"AES-256-GCM:AES-192-CBC", ""}, "AES-192-CBC", false},
		"fallback at both":       {lists{"AES-256-GCM", "AES-128-CBC"}, lists{"AES-128-GCM", "AES-128-CBC"}, "AES-128-CBC", false},
		"none in common":         {lists{"AES-256-GCM", ""}, lists{"AES-128-GCM", ""}, "make --data-ciphers overlap at both ends", true},
		"none, client":           {lists{"AES-256-GCM", "AES-256-CBC"}, lists{"AES-128-GCM", ""}, "this one takes AES-128-GCM, the peer AES-256-GCM", true},
		"fallback is not needed": {lists{"AES-256-GCM", "AES-128-CBC"}, lists{"AES-256-GCM", ""}, "AES-256-GCM", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.pair(func(cl, s *Config) {
				for _, x := range []struct {
					to   *controlchannel.Config
					from lists
				}{{cl.TLS, c.client}, {s.TLS, c.server}} {
					x.to.Ciphers = ciphersNamed(strings.Split(x.from.ciphers, ":")...)
					if x.from.fallback != "" {
						x.to.Fallback = cipherNamed(x.from.fallback)
					}
				}
			})
			if !c.fails {
				w.meet(client, server, time.Second)
				w.exchange(client, server)
				if !client.logged(c.want) || !server.logged(c.want) {
					t.Errorf("not %s:\n%s%s", c.want, client.log, server.log)
				}
				return
			}
			w.run(70*time.Second, nil)
			if client.ready() || server.ready() || !server.logged("no keys", c.want) && !client.logged("no keys", c.want) {
				t.Errorf("keys, or another error than %q:\n%s%s", c.want, client.log, server.log)
			}
		})
	}
}

func TestHandshakeOverBadPaths(t *testing.T) {
	const seeds = 20
	for _, wr := range wrappings(t) {
		for _, loss := range []float64{0, 0.01, 0.05, 0.20} {
			t.Run(fmt.Sprintf("%s, %.0f percent", wr.name, 100*loss), func(t *testing.T) {
				var took []time.Duration
				for seed := range uint64(seeds) {
					w := newWorld(t, seed)
					for _, p := range []*path{w.path("client", "server"), w.path("server", "client")} {
						p.lose, p.repeat, p.late, p.lateBy = loss, 0.05, 0.1, 50*time.Millisecond
						if wr.name != "none" { // without, TLS itself takes harm
							p.damage = loss / 4
						}
					}
					client, server := w.pair(func(c, s *Config) {
						c.TLS.Wrapping, s.TLS.Wrapping = wr.client, wr.server
						s.TLS.KnowsPeer = seed%2 == 1
					})
					w.meet(client, server, time.Minute)
					took = append(took, w.now.Sub(start))
					client.chat(10*time.Millisecond, time.Second)
					server.chat(10*time.Millisecond, time.Second)
					w.run(2*time.Second, nil)
					w.all(client, server)
					if t.Failed() {
						t.Fatalf("seed %d\n%s%s", seed, client.log, server.log)
					}
					w.close()
				}
				slices.Sort(took)
				t.Logf("took %v at best, %v in half, %v in nine of ten, %v at worst", took[0], took[seeds/2], took[seeds*9/10], took[seeds-1])
			})
		}
	}
}
