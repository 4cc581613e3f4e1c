package rawudp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestHubWords(t *testing.T) {
	many := strings.Repeat(" 10.0.0.1:5", maxPeers+1)
	for _, test := range []struct{ text, fault string }{
		{"hub --local 0.0.0.0:4711", ""},
		{"hub --local :4711 10.0.0.2:4711 [fd00::1]:5 pdp11:4711", ""},
		{"hub --local :4711 10.0.0.2:4711 learn on age 60 mtu 9000", ""},
		{"hub", "test:1:99: --local ADDR:PORT is missing"},
		{"hub learn on", "--local ADDR:PORT is missing"},
		{"hub --local 4711", "test:1:2: --local: \"4711\" is no address and port"},
		{"hub --local :0", "is no address and port"},
		{"hub --local :4711 peer", "test:1:3: --local: \"peer\" is no address and port"},
		{"hub --local :4711 :4712", "has no host"},
		{"hub --local :4711 learn off", "nobody can use a hub"},
		{"hub --local :4711 10.0.0.1:5 age 60", "test:1:4: age is for learned peers"},
		{"hub --local :4711 age 0", "not a number from 1 to 86400"},
		{"hub --local :4711" + many, "at most 256 peers"},
	} {
		_, err := newElement(test.text, &nstest.Buffer{})
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%q: %v, want %q", test.text, err, test.fault)
		}
	}
}

// station is a peer of a hub.
type station struct {
	*net.UDPConn
	hub  *net.UDPAddr
	came chan []byte
}

func newStation(t testing.TB, hub string) *station {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &station{UDPConn: conn, came: make(chan []byte, 10000)}
	if hub != "" {
		s.hub, _ = net.ResolveUDPAddr("udp4", hub)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for b := make([]byte, 70000); ; {
			n, _, err := conn.ReadFromUDP(b)
			if err != nil {
				return
			}
			s.came <- bytes.Clone(b[:n])
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return s
}

func (s *station) send(t testing.TB, data []byte) {
	t.Helper()
	if _, err := s.WriteToUDP(data, s.hub); err != nil {
		t.Fatal(err)
	}
}

// TestHubPeerOfAnyPort has a peer send each frame from another port, as a GXemul does,
// and be sent to at its own.
func TestHubPeerOfAnyPort(t *testing.T) {
	clean(t)
	gxemul := newStation(t, hubAt)
	h := start(t, "hub --local "+hubAt+" "+gxemul.LocalAddr().String()+" 127.0.0.2:5 127.0.0.2:6 anyport")
	for i := range 3 {
		f := frame(byte(i), 100)
		newStation(t, hubAt).send(t, f)
		expect(t, h.came, f)
	}
	back := frame(7, 100)
	send(t, h.Port, back)
	expect(t, gxemul.came, back)
	select {
	case f := <-gxemul.came:
		t.Errorf("a frame has come back to who sent it: %x", f)
	default:
	}
	two, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, gxemul.hub)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if _, err := two.Write(frame(9, 100)); err != nil {
		t.Fatal(err)
	}
	if !nstest.Eventually(10*time.Second, func() bool { return h.element.(*Hub).counters.Read.Count(ethernet.Stranger) == 1 }) {
		t.Error("who of two peers of one host it is cannot be known, and it is not a stranger")
	}
}

const hubAt = "127.0.0.1:24711"

func TestHub(t *testing.T) {
	clean(t)
	for _, learn := range []bool{false, true} {
		stations := []*station{newStation(t, hubAt), newStation(t, hubAt), newStation(t, hubAt)}
		text := "hub --local " + hubAt
		if !learn {
			for _, s := range stations {
				text += " " + s.LocalAddr().String()
			}
		}
		h := start(t, text)
		if learn {
			for i, s := range stations { // each makes itself known
				s.send(t, frame(byte(i), 60))
				expect(t, h.came, frame(byte(i), 60))
				for _, other := range stations[:i] {
					expect(t, other.came, frame(byte(i), 60))
				}
			}
		}
		other, err := h.element.Attach(element.Args{})
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range stations {
			f := frame(byte(i), 100+i)
			s.send(t, f)
			expect(t, h.came, f)
			for k, r := range stations {
				if k != i {
					expect(t, r.came, f)
				}
			}
			if frames, err := other.ReadFrames(); err != nil || len(frames) != 1 {
				t.Errorf("the second connection: %v, %v", frames, err)
			}
		}
		send(t, h, frame(9, 20))
		for _, s := range stations {
			expect(t, s.came, frame(9, 20))
			if len(s.came) > 0 {
				t.Error("more came than was sent, or came back")
			}
		}
		if got := h.element.(element.Reporter).Status(); !strings.Contains(got, "3 peers (127.0.0.1:") || !strings.Contains(got, "0 frames to and 0 from them dropped") {
			t.Error(got)
		}
		h.element.Close()
	}
}

// Two hubs that know each other, and strangers.
func TestHubBounds(t *testing.T) {
	clean(t)
	const other = "127.0.0.1:24712"
	a, b := start(t, "hub --local "+hubAt+" "+other), start(t, "hub --local "+other+" "+hubAt)
	send(t, a, frame(1, 1522))
	expect(t, b.came, frame(1, 1522))
	stranger := newStation(t, hubAt)
	peer := newStation(t, "")
	peer.hub = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 24711}
	for range 3 {
		stranger.send(t, frame(2, 60))
	}
	for _, length := range []int{0, 13, 1523, 60000} {
		peer.send(t, make([]byte, length))
	}
	none(t, a.came, func() { send(t, b, frame(3, 60)) }, frame(3, 60))
	drops := &a.element.(*Hub).counters.Read
	expectDrops(t, drops, map[ethernet.Reason]uint64{ethernet.Stranger: 3, ethernet.Runt: 2, ethernet.Oversize: 2})
	if n := strings.Count(a.log.String(), "that is no frame"); n != 1 {
		t.Errorf("it is told %d times of datagrams that are no frames", n)
	}
	e, err := newElement("hub --local "+hubAt, &nstest.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "open a hub at udp "+hubAt) {
		t.Errorf("start: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// A hub that nobody is connected to serves its peers.
func TestHubAlone(t *testing.T) {
	clean(t)
	e, err := newElement("hub --local "+hubAt, &nstest.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a, b := newStation(t, hubAt), newStation(t, hubAt)
	a.send(t, frame(1, 60))
	if !nstest.Eventually(10*time.Second, func() bool { return strings.Contains(e.(element.Reporter).Status(), "1 peers") }) {
		t.Fatal("a is not learned")
	}
	b.send(t, frame(2, 60))
	expect(t, a.came, frame(2, 60))
	a.send(t, frame(1, 60))
	expect(t, b.came, frame(1, 60))
}

func TestPeersAge(t *testing.T) {
	at := func(n int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("10.0.%d.%d:5", n/256, n%256)) }
	p := newPeers([]netip.AddrPort{at(0)}, false, 10*time.Second)
	for n := 1; n < maxPeers; n++ {
		if !p.learn(at(n), time.Duration(n)*time.Millisecond) {
			t.Fatalf("no room for peer %d", n)
		}
	}
	if p.learn(at(5000), time.Second) || p.heard(at(5000), time.Second) != nil {
		t.Error("there is room for one more")
	}
	if p.heard(at(7), 9*time.Second) == nil || p.heard(at(0), 9*time.Second) == nil {
		t.Error("a peer is forgotten too early")
	}
	if got := p.list(15 * time.Second); len(got) != 2 || got[0] != at(0) || got[1] != at(7) {
		t.Errorf("after 15 s there are %v", got)
	}
	if !p.learn(at(5000), 15*time.Second) || len(*p.known.Load()) != 3 {
		t.Error("those that were forgotten take room")
	}
	if got := p.list(time.Hour); len(got) != 1 || got[0] != at(0) {
		t.Errorf("after an hour there are %v", got)
	}
	calls := 0
	if err := p.each(15*time.Second, func(*peer) error { calls++; return net.ErrClosed }); err != net.ErrClosed || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
