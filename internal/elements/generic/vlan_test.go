package generic

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// joined makes a switch of its words, and a port of each connection's.
func joined(t testing.TB, env element.Env, text string, connections ...string) (*Switch, []*port) {
	t.Helper()
	e, err := New(env, words(text))
	if err != nil {
		t.Fatal(err)
	}
	var ports []*port
	for i, own := range connections {
		args := words(own)
		args.Peer = fmt.Sprintf("p%d", i)
		p, err := e.Attach(args)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, p.(*port))
	}
	return e.(*Switch), ports
}

// tagged puts tags, 16 bits each, before a frame's EtherType, the first outermost.
func tagged(f ethernet.Frame, tags ...uint16) ethernet.Frame {
	data := bytes.Clone(f.Data[:12])
	for _, tag := range tags {
		data = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(data, ethernet.TypeVLAN), tag)
	}
	f.Data = append(data, f.Data[12:]...)
	return f
}

// expectTagged compares what waits at each port with text as expect does; a frame's
// number stands behind its tag, if it has one: "1 | 10:1".
func expectTagged(t *testing.T, ports []*port, want string) {
	t.Helper()
	var got []string
	for _, p := range ports {
		var frames []string
		for _, f := range queued(t, p) {
			text := ""
			for ethernet.IsTagged(f.Data) {
				text += fmt.Sprintf("%x:", binary.BigEndian.Uint16(f.Data[14:]))
				f.Data = f.Data[ethernet.VLANLen:]
			}
			frames = append(frames, text+fmt.Sprint(number(f)))
		}
		got = append(got, strings.Join(frames, " "))
	}
	if g := strings.Join(got, "|"); g != strings.ReplaceAll(strings.ReplaceAll(want, " |", "|"), "| ", "|") {
		t.Errorf("queued are %q, want %q", g, want)
	}
}

func TestVLANs(t *testing.T) {
	_, p := joined(t, quiet, "", "vlan 10", "vlan 10", "vlan 20", "trunk 10,20-29 native 5", "trunk", "")
	a, b, c := host(1), host(2), host(3)
	step := func(port int, want string, frames ...ethernet.Frame) {
		t.Helper()
		p[port].forward(frames, 0)
		expectTagged(t, p, want)
	}
	all := ethernet.Broadcast
	step(0, "|1||a:1|a:1|", frame(all, a, 1))                       // access: out with a tag at trunks only
	step(2, "|||14:2|14:2|", frame(all, c, 2))                      //
	step(0, "|||||", tagged(frame(all, a, 3), 20))                  // another VLAN's tag is no way into it
	step(0, "|4||a:4|a:4|", tagged(frame(all, a, 4), 10))           // its own VLAN's is taken
	step(1, "5|||a00a:5|a00a:5|", tagged(frame(all, b, 5), 0xa000)) // a priority alone: the port's VLAN
	step(3, "||||5:6|", frame(all, host(4), 6))                     // native
	step(3, "||||5:7|", tagged(frame(all, host(4), 7), 5))          // native with its tag
	step(3, "9|9|||600a:9|", tagged(frame(all, host(4), 9), 0x600a))
	step(3, "|||||", tagged(frame(all, host(4), 10), 30))                          // a VLAN that the trunk does not carry
	step(4, "|||11||", tagged(frame(all, host(5), 11), 5))                         // out by the native VLAN
	step(4, "|||||12", tagged(frame(all, host(5), 12), 1))                         // words that name no VLAN mean the first
	step(4, "|||||", frame(all, host(5), 13))                                      // no native VLAN: no frames without tag
	step(5, "||||1:14|", frame(all, host(6), 14))                                  //
	step(3, "15|||||", tagged(frame(a, host(4), 15), 10))                          // a is known in VLAN 10 …
	step(3, "||16||14:16|", tagged(frame(a, host(4), 16), 20))                     // … and in no other
	step(0, "|||a:17||", frame(host(4), a, 17))                                    // host 4 is known in 5, 10 and 20
	step(2, "|||14:18||", frame(host(4), c, 18))                                   //
	step(4, "|||||", tagged(frame(host(4), host(5), 19), 4095))                    // reserved
	step(4, "|||||", ethernet.Frame{Data: tagged(frame(all, c, 0), 10).Data[:17]}) // cut off
	if got := fmt.Sprint(p[0].counters.Write.Count(ethernet.OtherVLAN), p[3].counters.Write.Count(ethernet.OtherVLAN),
		p[4].counters.Write.Count(ethernet.OtherVLAN), p[4].counters.Write.Count(ethernet.Malformed)); got != "1 1 2 1" {
		t.Errorf("drops are %s", got)
	}
}

// Whoever is in one VLAN gets nothing into another by a second tag.
func TestTagsDoNotHop(t *testing.T) {
	_, p := joined(t, quiet, "", "vlan 10", "vlan 10", "trunk 20 native 10", "trunk")
	p[0].forward([]ethernet.Frame{tagged(frame(ethernet.Broadcast, host(1), 1), 10, 20), tagged(frame(ethernet.Broadcast, host(1), 2), 0, 20)}, 0)
	expectTagged(t, p, "|||a:14:1 a:14:2")
	for _, q := range p[1:3] {
		if n := q.counters.Read.Count(ethernet.OtherVLAN); n != 2 {
			t.Errorf("%d frames counted, want 2", n)
		}
	}
}

// Without a word about VLANs, tags are bytes like others, and a station is one.
func TestTransparent(t *testing.T) {
	_, p := joined(t, quiet, "", "", "", "")
	a, b := host(1), host(2)
	p[0].forward([]ethernet.Frame{tagged(frame(ethernet.Broadcast, a, 1), 10), tagged(frame(b, a, 2), 0, 4095), frame(b, a, 3)}, 0)
	expectTagged(t, p, "|a:1 0:fff:2 3|a:1 0:fff:2 3")
	p[1].forward([]ethernet.Frame{tagged(frame(a, b, 4), 20)}, 0)
	expectTagged(t, p, "14:4||")
}

// Two switches joined by trunks are one for each VLAN.
func TestTrunkBetweenSwitches(t *testing.T) {
	_, p := joined(t, quiet, "", "vlan 10", "vlan 20", "trunk 10,20")
	_, q := joined(t, quiet, "", "vlan 20", "vlan 10", "trunk native 20")
	carry := func(from, to *port) {
		t.Helper()
		to.forward(queued(t, from), 0)
	}
	p[0].forward([]ethernet.Frame{frame(ethernet.Broadcast, host(1), 1)}, 0)
	carry(p[2], q[2])
	expectTagged(t, q, "|1|")
	q[1].forward([]ethernet.Frame{frame(host(1), host(2), 2)}, 0)
	carry(q[2], p[2])
	expectTagged(t, p, "2||")
	q[0].forward([]ethernet.Frame{frame(ethernet.Broadcast, host(3), 3)}, 0)
	carry(q[2], p[2]) // without tag, which p's trunk has no VLAN for
	expectTagged(t, p, "||")
}

func TestVLANWords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"vlan 10", "vlan 10"},
		{"vlan 4094", "vlan 4094"},
		{"trunk", "trunk"},
		{"trunk 10,20,30-40 native 5", "trunk 10,20,30-40 native 5"},
		{"native 5 trunk 4094,1-3,2-4", "trunk 1-4,4094 native 5"},
		{"trunk native 7", "trunk native 7"},
		{"", "vlan 1"},
		{"vlan 0", `test:1:2: vlan: "0" is not a number from 1 to 4094`},
		{"vlan 4095", `test:1:2: vlan: "4095" is not a number from 1 to 4094`},
		{"trunk 10,", `test:1:2: trunk: "" is neither a VLAN from 1 to 4094 nor a range of them: write them as in 10,20,30-40, without blanks`},
		{"trunk 20-10", `test:1:2: trunk: "20-10" is neither`},
		{"trunk 1-4095", `test:1:2: trunk: "1-4095" is neither`},
		{"trunk 10 20", `test:1:3: unknown option "20"`},
		{"vlan 10 trunk", "test:1:3: trunk: a port with vlan is no trunk: leave one of them out, or give the trunk native 10"},
		{"native 5", "test:1:2: native: only a trunk has a native VLAN: give trunk as well, or vlan in place of native"},
		{"vlan 5 native 5", "test:1:4: native: only a trunk has a native VLAN"},
	} {
		s := newSwitch(quiet.Log, defaults)
		p, err := s.Attach(words(c.text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%q: %v, want %q", c.text, err, c.want)
			}
			continue
		}
		conf := p.(*port).conf
		if got := conf.describe(true); got != c.want {
			t.Errorf("%q is %q, want %q", c.text, got, c.want)
		}
	}
}

func TestWordsAreShown(t *testing.T) {
	s, _ := joined(t, quiet, "", "vlan 10", "trunk 10,20", "vlan 10", "")
	if got, want := s.Status(), "4 ports, 0 stations; vlan 10: p0 p2; trunk 10,20: p1; vlan 1: p3"; got != want {
		t.Errorf("status is %q, want %q", got, want)
	}
	if got := fmt.Sprintf("%q", s.Sketch().Detail); got != `["vlan 10: p0 p2" "trunk 10,20: p1" "vlan 1: p3"]` {
		t.Errorf("drawn is %s", got)
	}
	s, _ = joined(t, quiet, "", "", "")
	if got := s.Status(); got != "2 ports, 0 stations" || s.Sketch().Detail != nil {
		t.Errorf("status is %q, drawn is %q", got, s.Sketch().Detail)
	}
	s.newPort("p1", portConfig{})
	s.newPort("p1", portConfig{})
	if ports := *s.ports.Load(); ports[2].name != "p1 (2)" || ports[3].name != "p1 (3)" {
		t.Errorf("ports are %q and %q", ports[2].name, ports[3].name)
	}
}

func FuzzVLANSet(f *testing.F) {
	f.Add("10,20,30-40")
	f.Add("1-4094")
	f.Add("-")
	f.Fuzz(func(t *testing.T, text string) {
		var c portConfig
		args := words("trunk " + text)
		if len(args.Words) != 2 || args.Parse(c.options()) != nil || args.Words[1].Text == "native" {
			return
		}
		written := c.describe(true)
		var again portConfig
		if err := words(written).Parse(again.options()); err != nil || *again.trunk != *c.trunk {
			t.Fatalf("%q became %q: %v", text, written, err)
		}
	})
}

// FuzzVLANs sends arbitrary frames through access ports and trunks: what an access
// port gives has no tag, and what a trunk gives has one of its own.
func FuzzVLANs(f *testing.F) {
	f.Add(tagged(frame(group, host(1), 1), 10).Data, byte(0))
	f.Add(tagged(frame(group, host(1), 1), 0, 20).Data, byte(2))
	f.Add(frame(group, host(1), 1).Data, byte(3))
	s, p := joined(f, quiet, "", "vlan 10", "vlan 20", "trunk 10,20 native 5", "trunk 5-15")
	f.Fuzz(func(t *testing.T, data []byte, from byte) {
		if len(data) < ethernet.HeaderLen || len(data) > ethernet.MaxFrameLen {
			return
		}
		p[int(from)%len(p)].forward([]ethernet.Frame{{Data: bytes.Clone(data)}}, s.now())
		for i, q := range p {
			for _, f := range queued(t, q) {
				vlan := q.vlans.untagged
				if ethernet.IsTagged(f.Data) {
					vlan, _ = ethernet.VLAN(f.Data)
				}
				if vlan == 0 || !q.vlans.carries(vlan) || i < 2 && ethernet.IsTagged(f.Data) {
					t.Fatalf("port %d gives %x", i, f.Data)
				}
			}
		}
	})
}

// A batch with super-frames goes to ports that want it in different forms.
func TestSuperFramesGetTags(t *testing.T) {
	_, p := joined(t, quiet, "", "vlan 10", "vlan 10", "trunk")
	super := ethernet.Frame{Data: make([]byte, 60000), Needs: ethernet.TSO4 | ethernet.Checksum, SegmentSize: 1448, ChecksumStart: 34, ChecksumOffset: 16}
	copy(super.Data, frame(ethernet.Broadcast, host(1), 0).Data[:12])
	p[0].forward([]ethernet.Frame{super, frame(ethernet.Broadcast, host(1), 7)}, time.Second)
	for i, tag := range map[int]int{1: 0, 2: ethernet.VLANLen} {
		frames, err := p[i].ReadFrames()
		if err != nil || len(frames) != 2 {
			t.Fatalf("port %d: %d frames, %v", i, len(frames), err)
		}
		f := frames[0]
		if len(f.Data) != 60000+tag || f.Needs != super.Needs || f.SegmentSize != 1448 || int(f.ChecksumStart) != 34+tag || f.ChecksumOffset != 16 {
			t.Errorf("port %d: the super-frame came as %d bytes, %+v", i, len(f.Data), ethernet.Frame{Needs: f.Needs, ChecksumStart: f.ChecksumStart})
		}
	}
}
