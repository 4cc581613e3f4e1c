package openvpn

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
)

func TestGoodbye(t *testing.T) {
	ended := func(t *testing.T, w *world, e *end) {
		t.Helper()
		w.run(time.Second, nil)
		if len(e.errs) != 1 || !strings.Contains(e.errs[0].Error(), "the peer has ended, and said so") {
			t.Errorf("%s has ended with %v", e.name, e.errs)
		}
	}
	for _, who := range []string{"client", "server"} {
		t.Run("TLS, "+who, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.pair(nil)
			w.meet(client, server, time.Second)
			w.run(time.Second, nil)
			one, other := client, server
			if who == "server" {
				one, other = other, one
			}
			if packet := one.session.Goodbye(w.now); packet != nil {
				t.Errorf("it is not said over the control channel, but %x", packet)
			}
			one.talk()
			ended(t, w, other)
		})
		t.Run("static key, "+who, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.staticPair()
			one, other := client, server
			if who == "server" {
				one, other = other, one
			}
			packet := one.session.Goodbye(w.now)
			w.send(one, other.addr, packet, 0)
			ended(t, w, other)
		})
	}
	// In the clear anybody could say so: it counts for who asked for it.
	for _, asked := range []int{0, 1} {
		w := newWorld(t, 1)
		client, server := w.add("client", clientAddr, serverAddr, Config{}), w.add("server", serverAddr, clientAddr, Config{Goodbyes: asked})
		w.send(client, server.addr, client.session.Goodbye(w.now), 0)
		if asked > 0 {
			ended(t, w, server)
			continue
		}
		w.run(time.Second, nil)
		if len(server.errs) > 0 {
			t.Errorf("it ends by what anybody may send: %v", server.errs)
		}
	}
}

// staticPair makes two ends with one static key.
func (w *world) staticPair() (client, server *end) {
	static, err := keys.NewStatic(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	config := func(d keys.Direction) Config {
		out, in := static.Pair(d)
		suite := datachannel.Suite{Cipher: cipherNamed("AES-256-CBC"), Digest: digestNamed("SHA256")}
		return Config{Static: &datachannel.Key{
			Sealer: datachannel.NewSealer(suite, datachannel.StaticForm(), out),
			Opener: datachannel.NewOpener(suite, datachannel.StaticForm(), in, datachannel.NewWindow(64, datachannel.DefaultLate)),
		}}
	}
	return w.add("client", clientAddr, serverAddr, config(keys.Inverse)), w.add("server", serverAddr, clientAddr, config(keys.Normal))
}

func TestStaticKey(t *testing.T) {
	for _, loss := range []float64{0, 0.05, 0.2} {
		w := newWorld(t, 1)
		for _, p := range []*path{w.path("client", "server"), w.path("server", "client")} {
			p.lose, p.damage, p.repeat, p.late, p.lateBy = loss, loss/4, 0.1, 0.1, 40*time.Millisecond
		}
		client, server := w.staticPair()
		w.exchange(client, server)
		before := len(server.received)
		replayed := [][]byte{}
		w.path("client", "server").hook = func(p []byte) { replayed = append(replayed, bytes.Clone(p)) }
		w.exchange(client, server)
		after := len(server.received)
		server.begin() // a new circuit has the same key, and remembers what has come
		for _, p := range replayed {
			server.read([][]byte{boxed(p)}, client.addr)
		}
		if _, twice := client.missing(server); twice > 0 || after == before {
			t.Errorf("%d frames came a second time", twice)
		}
		w.close()
	}
}
