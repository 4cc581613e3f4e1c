package controlchannel

import (
	"net/netip"
	"testing"
	"time"
)

// Only what belongs to a session keeps it alive.
func TestWhoIsHeard(t *testing.T) {
	for name, wr := range wrappings(t) {
		w := newWire(t, func(c, s *Config) { c.Wrapping, s.Wrapping = wr[0], wr[1] })
		reset, _, _ := w.client.Output(w.now)
		if w.server.Input(reset.Data, clientAddr, w.now) {
			t.Errorf("%s: a first packet is of a session", name)
		}
		w.settle()
		w.server.current.renegotiate(w.now) // whose packets are always wrapped
		p, _, _ := w.server.Output(w.now)
		if w.client.Input(p.Data, netip.MustParseAddrPort("203.0.113.66:6666"), w.now) {
			t.Errorf("%s: the server is heard from another address", name)
		}
		bad := append([]byte(nil), p.Data...)
		bad[len(bad)-1] ^= 1
		if w.client.Input(bad, serverAddr, w.now) {
			t.Errorf("%s: a changed packet is heard", name)
		}
		if !w.client.Input(p.Data, serverAddr, w.now) {
			t.Errorf("%s: the server is not heard", name)
		}
		if w.client.Input(p.Data, serverAddr, w.now) {
			t.Errorf("%s: the same packet is heard again", name)
		}
		for _, garbage := range [][]byte{nil, {opAck << 3}, make([]byte, 30), append([]byte{opAck<<3 | 3}, make([]byte, 40)...), append([]byte{opControl << 3, 1}, make([]byte, 40)...)} {
			if w.client.Input(garbage, serverAddr, w.now) || w.server.Input(garbage, clientAddr, w.now) {
				t.Errorf("%s: %x is heard", name, garbage)
			}
		}
	}
}

func TestAcknowledgementsOfOthers(t *testing.T) {
	w := newWire(t, nil)
	s := w.client.next
	packet := func(acked sessionID) []byte {
		return bare{}.wrap(nil, opHardServer<<3, sessionID{7}, body{acks: []uint32{0}, acked: acked}.append(nil, opHardServer), w.now)
	}
	w.client.Output(w.now)
	if w.client.Input(packet(sessionID{8}), serverAddr, w.now) || s.primary.out.empty() || s.remote != (sessionID{}) {
		t.Error("the answer to another session is taken")
	}
	if !w.client.Input(packet(s.id), serverAddr, w.now) || !s.primary.out.empty() || s.remote != (sessionID{7}) {
		t.Error("the answer to this session is not taken")
	}
}

// A client uses a new key when the server has used it, and not before.
func TestClientFollows(t *testing.T) {
	w := newWire(t, nil)
	w.settle()
	w.run(time.Minute)
	w.client.current.renegotiate(w.now)
	w.settle()
	if c, s := w.client.slots.Sending().ID, w.server.slots.Sending().ID; c != 0 || s != 1 {
		t.Fatalf("the client sends with key %d, the server with %d", c, s)
	}
	if err := w.pass(); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if id := w.client.slots.Sending().ID; id != 1 {
		t.Errorf("the client sends with key %d when it has heard the server use the next", id)
	}
	w.client.current.renegotiate(w.now)
	w.settle()
	w.run(w.client.config.HandWindow - time.Second)
	if id := w.client.slots.Sending().ID; id != 1 {
		t.Errorf("the client sends with key %d, and has heard nothing", id)
	}
	w.run(time.Second)
	if id := w.client.slots.Sending().ID; id != 2 {
		t.Errorf("the client still sends with key %d, when the negotiation would have failed by now", id)
	}
	if err := w.pass(); err != nil {
		t.Error(err)
	}
}

// An end that begins a new key at once may have left the other without the last
// acknowledgement of the one before.
func TestRenegotiationRightAfterALoss(t *testing.T) {
	w := newWire(t, nil)
	for w.client.slots.Sending() == nil {
		if p, ok, _ := w.client.Output(w.now); ok {
			if w.client.slots.Sending() == nil {
				w.server.Input(p.Data, clientAddr, w.now)
			} // else it is lost
			continue
		}
		p, ok, _ := w.server.Output(w.now)
		if !ok {
			t.Fatal("they have stopped")
		}
		w.client.Input(p.Data, serverAddr, w.now)
	}
	if w.server.current != nil {
		t.Fatal("nothing was lost")
	}
	w.client.slots.Sending().Worn.Store(true)
	w.run(10 * time.Second)
	if w.server.current == nil || w.server.current.primary.keyID != 1 || w.client.current.primary.stage != keyed || w.server.current.primary.stage != keyed {
		t.Errorf("no new key:\n%s", w.log)
	}
	if err := w.pass(); err != nil {
		t.Error(err)
	}
}
