package openvpn

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn/controlchannel"
)

// elsewhere is where the peer has not been heard before.
var elsewhere = netip.MustParseAddrPort("203.0.113.7:7")

// seal gives packets of one frame each.
func (e *end) seal(n int) (packets [][]byte) {
	for range n {
		out, _ := e.session.Encode(nil, []ethernet.Frame{e.frame(100)}, e.w.now)
		for _, p := range out {
			packets = append(packets, boxed(p))
		}
		e.session.Rest()
	}
	return packets
}

// TestRecognize: a packet of the peer is one wherever it comes from, as long as it is
// new; and it is nobody else's.
func TestRecognize(t *testing.T) {
	for name, pair := range map[string]func(w *world) (client, server *end){
		"static key": (*world).staticPair,
		"TLS": func(w *world) (client, server *end) {
			client, server = w.pair(nil)
			w.meet(client, server, time.Second)
			return client, server
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := randomWorld(t, 1)
			var control [][]byte
			w.path("client", "server").hook = func(p []byte) {
				if name == "TLS" && controlchannel.IsControl(p[0]) {
					control = append(control, bytes.Clone(p))
				}
			}
			client, server := pair(w)
			_, stranger := pair(randomWorld(t, 2))
			packet := client.seal(1)[0]
			before := bytes.Clone(packet)
			for range 2 {
				if !server.session.Recognize(packet) || !bytes.Equal(packet, before) {
					t.Error("the peer's packet is not recognized, or not as it was")
				}
			}
			if stranger.session.Recognize(packet) || client.session.Recognize(packet) {
				t.Error("it is recognized by those for whom it is not")
			}
			for i := range packet {
				forged := boxed(packet)
				forged[i] ^= 0x40
				if server.session.Recognize(forged) {
					t.Errorf("recognized with byte %d changed", i)
				}
			}
			server.read([][]byte{packet}, elsewhere)
			if server.peer != elsewhere {
				t.Error("it does not prove that its sender is the peer")
			}
			if server.session.Recognize(boxed(before)) {
				t.Error("it is recognized when it comes again")
			}
			for i, p := range control {
				if !server.session.Recognize(p) || stranger.session.Recognize(p) {
					t.Errorf("packet %d of the control channel is not recognized by the one that knows its session, or by another", i)
				}
			}
			if name == "TLS" && len(control) == 0 {
				t.Error("there was no control channel")
			}
			if server.session.Recognize(nil) {
				t.Error("nothing is recognized")
			}
			ended := server.session
			server.stop()
			if name == "TLS" && (ended.Recognize(client.seal(1)[0]) || ended.Recognize(control[0])) {
				t.Error("a session that has ended recognizes its packets")
			}
		})
	}
	w := newWorld(t, 1)
	if w.add("client", clientAddr, serverAddr, Config{}).session.Recognize(make([]byte, 100)) {
		t.Error("in the clear a packet is recognized")
	}
}

// TestRecognizeWhileReading: the goroutine of a shared port asks while the reader opens
// packets; -race looks on.
func TestRecognizeWhileReading(t *testing.T) {
	w := randomWorld(t, 1)
	client, server := w.pair(nil)
	w.meet(client, server, time.Second)
	packets := client.seal(300)
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			for _, p := range packets {
				server.session.Recognize(boxed(p))
			}
		})
	}
	opened := 0
	for _, p := range packets {
		opened += len(server.session.Decode(nil, [][]byte{boxed(p)}, client.addr, w.now))
	}
	asking.Wait()
	if opened != len(packets) {
		t.Errorf("%d of %d packets were opened", opened, len(packets))
	}
}

func FuzzRecognize(f *testing.F) {
	f.Add([]byte{0x30, 0, 0, 0, 1})
	f.Add(append([]byte{0x38}, make([]byte, 60)...))
	f.Add(make([]byte, 100))
	w := &world{t: new(testing.T), now: start, ends: map[netip.AddrPort]*end{}, paths: map[string]*path{}}
	_, fixed := w.staticPair()
	f.Cleanup(w.close)
	f.Fuzz(func(t *testing.T, packet []byte) {
		before := bytes.Clone(packet)
		if fixed.session.Recognize(packet) || !bytes.Equal(packet, before) {
			t.Errorf("%x is recognized, or changed", before)
		}
	})
}
