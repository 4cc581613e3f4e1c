package openvpn

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

var start = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

var peerAddr = netip.MustParseAddrPort("192.0.2.1:1194")

func occ(opcode byte, body string) []byte {
	return append(append(bytes.Clone(occMagic), opcode), body...)
}

func newSession(c Config) (*Session, *ethernet.Drops) {
	drops := &ethernet.Drops{}
	c.Dropped = drops
	if c.MTU == 0 {
		c.Options = Options{MTU: 1500, Proto: UDP}
	}
	c.Unsent = &ethernet.Drops{}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s, err := NewSession(c, start)
	if err != nil {
		panic(err) // without TLS nothing can fail
	}
	return s, drops
}

func TestDecodeSortsPackets(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet []byte
		frame  bool
		reason ethernet.Reason
		asked  bool
	}{
		{"frame", make([]byte, 60), true, 0, false},
		{"shortest frame", make([]byte, 14), true, 0, false},
		{"longest frame", make([]byte, 1522), true, 0, false},
		{"runt", make([]byte, 13), false, ethernet.Runt, false},
		{"one byte", []byte{0x2a}, false, ethernet.Runt, false},
		{"oversize", make([]byte, 1523), false, ethernet.Oversize, false},
		{"ping", pingMessage, false, ethernet.Control, false},
		{"frame that begins like a ping", append(bytes.Clone(pingMessage), 0), true, 0, false},
		{"OCC request", occ(occRequest, ""), false, ethernet.Control, true},
		{"OCC reply", occ(occReply, "V4,dev-type tap\x00"), false, ethernet.Control, false},
		{"OCC load request", occ(occMTULoadRequest, "\x04\x00"), false, ethernet.Control, true},
		{"OCC load request cut short", occ(occMTULoadRequest, "\x04"), false, ethernet.Control, false},
		{"OCC load", occ(occMTULoad, strings.Repeat("x", 1000)), false, ethernet.Control, false},
		{"OCC MTU request", occ(occMTURequest, ""), false, ethernet.Control, true},
		{"OCC MTU reply", occ(occMTUReply, "\x05\xdc\x05\xdc"), false, ethernet.Control, false},
		{"OCC exit", occ(occExit, ""), false, ethernet.Control, false},
		{"OCC of a later version", occ(99, "?"), false, ethernet.Control, false},
		{"OCC without opcode", occMagic, false, ethernet.Control, false},
	} {
		s, drops := newSession(Config{})
		frames := s.Decode(nil, [][]byte{c.packet}, peerAddr, start)
		if (len(frames) == 1) != c.frame {
			t.Errorf("%s: %d frames", c.name, len(frames))
		}
		if c.frame && drops.Total() != 0 || !c.frame && (drops.Total() != 1 || drops.Count(c.reason) != 1) {
			t.Errorf("%s: dropped %d, for %v %d", c.name, drops.Total(), c.reason, drops.Count(c.reason))
		}
		if s.Asked() != c.asked {
			t.Errorf("%s: asked is %v", c.name, s.Asked())
		}
	}
}

func TestAnswers(t *testing.T) {
	s, _ := newSession(Config{})
	s.Decode(nil, [][]byte{make([]byte, 1000), occ(occRequest, "")}, peerAddr, start)
	s.Encode(nil, []ethernet.Frame{{Data: make([]byte, 1200)}, {Data: make([]byte, 70)}}, start)
	packet, _ := s.Message(start)
	if want := occ(occReply, "V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto UDPv4\x00"); !bytes.Equal(packet, want) {
		t.Errorf("reply %q, want %q", packet, want)
	}
	now := start.Add(time.Second)
	s.Decode(nil, [][]byte{occ(occMTURequest, "")}, peerAddr, now)
	packet, _ = s.Message(now)
	if want := occ(occMTUReply, string(binary.BigEndian.AppendUint16([]byte{0x03, 0xe8}, 1200))); !bytes.Equal(packet, want) {
		t.Errorf("MTU reply %x, want %x", packet, want)
	}
	for _, size := range []int{0, 17, 24, 25, 1540, 1800, 65535} {
		now = now.Add(time.Second)
		s.Decode(nil, [][]byte{occ(occMTULoadRequest, string(binary.BigEndian.AppendUint16(nil, uint16(size))))}, peerAddr, now)
		packet, _ = s.Message(now)
		if want := min(max(size-8, 17), 1792); len(packet) != want || !isOCC(packet) || packet[16] != occMTULoad {
			t.Errorf("load of %d: %d bytes, want %d", size, len(packet), want)
		}
	}
	if packet, again := s.Message(now); packet != nil || again != 0 {
		t.Errorf("nothing is asked, but %x, %v", packet, again)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	s, _ := newSession(Config{})
	answers := 0
	for ms := range 1000 {
		now := start.Add(time.Duration(ms) * time.Millisecond)
		s.Decode(nil, [][]byte{occ(occRequest, "")}, peerAddr, now)
		packet, again := s.Message(now)
		if packet != nil {
			answers++
		} else if again <= 0 || again > answerEvery {
			t.Fatalf("asked, unanswered, and again in %v", again)
		}
	}
	if answers != 10 {
		t.Errorf("%d answers in a second, want 10", answers)
	}
}

func TestPingComesOnlyAfterSilence(t *testing.T) {
	s, _ := newSession(Config{Timers: Timers{Ping: 10 * time.Second}})
	if p, again := s.Message(start); !isPing(p) || again != 10*time.Second {
		t.Fatalf("the first ping is due at once: %x, %v", p, again)
	}
	if p, again := s.Message(at(4)); p != nil || again != 6*time.Second {
		t.Fatalf("after 4 s: %x, %v", p, again)
	}
	s.Encode(nil, []ethernet.Frame{{Data: make([]byte, 60)}}, at(8))
	if p, again := s.Message(at(10)); p != nil || again != 8*time.Second {
		t.Fatalf("2 s after a frame: %x, %v", p, again)
	}
	s.Decode(nil, [][]byte{pingMessage}, peerAddr, at(17)) // hearing is not sending
	if p, _ := s.Message(at(18)); !isPing(p) {
		t.Fatal("no ping after 10 s without a frame")
	}
	s.Decode(nil, [][]byte{occ(occRequest, "")}, peerAddr, at(20))
	if p, again := s.Message(at(20)); !isOCC(p) || again != 10*time.Second {
		t.Fatalf("an answer counts as sent: %x, %v", p, again)
	}
}

func TestNothingIsSentUnasked(t *testing.T) {
	s, _ := newSession(Config{Timers: Timers{Silence: time.Second}})
	s.Decode(nil, [][]byte{pingMessage, occ(occReply, "V4\x00"), occ(occExit, ""), make([]byte, 60)}, peerAddr, start)
	if p, again := s.Message(start.Add(time.Hour)); p != nil || again != 0 {
		t.Errorf("%x, %v", p, again)
	}
}

func TestSessionAllocatesNothing(t *testing.T) {
	s, _ := newSession(Config{Timers: Timers{Ping: time.Second, Silence: time.Second, Inactive: time.Second, InactiveBytes: 1 << 20}})
	packets := numbered(64, 1500)
	packets[7] = pingMessage
	frames := make([]ethernet.Frame, 0, 64)
	out := make([][]byte, 0, 64)
	now := start
	if n := testing.AllocsPerRun(100, func() {
		now = now.Add(time.Millisecond)
		frames = s.Decode(frames[:0], packets, peerAddr, now)
		out, _ = s.Encode(out[:0], frames, now)
		s.Message(now)
		s.Over(true, now)
	}); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func FuzzDecode(f *testing.F) {
	for opcode := range byte(8) {
		f.Add(occ(opcode, "\x05\xdc\x05\xdc"))
	}
	f.Add(pingMessage)
	f.Add(occMagic)
	f.Add(make([]byte, 1523))
	f.Fuzz(func(t *testing.T, packet []byte) {
		s, drops := newSession(Config{Timers: Timers{Ping: time.Second}})
		frames := s.Decode(nil, [][]byte{packet}, peerAddr, start)
		if uint64(len(frames))+drops.Total() != 1 {
			t.Fatalf("%d frames and %d drops of one packet", len(frames), drops.Total())
		}
		for _, frame := range frames {
			if len(frame.Data) < ethernet.HeaderLen || len(frame.Data) > 1522 || !bytes.Equal(frame.Data, packet) {
				t.Fatalf("frame of %d bytes", len(frame.Data))
			}
		}
		message, _ := s.Message(start)
		if len(message) == 0 || len(message) > MaxPacket(1500) {
			t.Fatalf("message of %d bytes", len(message))
		}
		if again := s.Decode(nil, [][]byte{message}, peerAddr, start); len(again) != 0 {
			t.Fatal("a message of ours would be taken for a frame")
		}
	})
}
