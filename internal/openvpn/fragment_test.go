package openvpn

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

func TestPieces(t *testing.T) {
	for _, c := range []struct{ length, most, n, size int }{
		{60, 1300, 1, 60}, {1296, 1300, 1, 1296}, {1297, 1300, 2, 652}, {1514, 1300, 2, 760}, {1518, 1301, 2, 760},
		{2592, 1300, 2, 1296}, {2593, 1300, 3, 868}, {9018, 1300, 7, 1292},
		{1514, 52, 32, 48}, {1536, 52, 32, 48}, {1537, 52, 0, 0}, {1514, 51, 0, 0}, // 32 at the most
		{9, 8, 3, 4}, {8, 8, 2, 4}, {5, 8, 2, 4}, {4, 8, 1, 4}, {4, 7, 0, 0}, {14, 0, 0, 0}, {14, -1000, 0, 0},
		{65507, 2056, 32, 2048}, {65507, 65511, 1, 65507}, {65507, 65500, 2, 32756},
	} {
		if n, size := pieces(c.length, c.most); n != c.n || size != c.size {
			t.Errorf("%d bytes in packets of %d: %d of %d, want %d of %d", c.length, c.most, n, size, c.n, c.size)
		}
	}
}

func TestLeastPacket(t *testing.T) {
	for _, c := range []struct{ mtu, overhead, want int }{{1500, 0, 52}, {100, 0, 24}, {9000, 24, 24 + 4 + 284}, {65485, 117, 117 + 4 + 2048}} {
		least := LeastPacket(c.mtu, c.overhead)
		if least != c.want {
			t.Errorf("MTU %d: %d, want %d", c.mtu, least, c.want)
		}
		if n, _ := pieces(ethernet.FrameLen(c.mtu), least-c.overhead); n < 1 || n > maxFragments {
			t.Errorf("MTU %d: %d fragments", c.mtu, n)
		}
	}
}

// cutUp gives all fragments of a payload.
func cutUp(f *fragmenter, payload []byte, most int) (all [][]byte) {
	n, size := pieces(len(payload), most)
	for cut := f.cut(payload, n, size); cut.left > 0; {
		all = append(all, cut.next(nil))
	}
	return all
}

// The header as OpenVPN's fragment.c packs it.
func TestFragmentHeader(t *testing.T) {
	f := fragmenter{sequence: 0xa4}
	payload := []byte("0123456789")
	for _, c := range []struct {
		most int
		want []string
	}{
		{14, []string{"\x00\x00\x00\x000123456789"}},
		{12, []string{
			"\x00\x00\x02\x9501234567", // kind 1, sequence 0xa5, fragment 0
			"\x00\x01\x06\x9689",       // kind 2, fragment 1, size 8/4
		}},
		{8, []string{"\x00\x00\x02\x990123", "\x00\x00\x06\x994567", "\x00\x00\x8a\x9a89"}}, // sequence 0xa6
	} {
		var got []string
		for _, p := range cutUp(&f, payload, c.most) {
			got = append(got, string(p))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("packets of %d:\n got %q\nwant %q", c.most, got, c.want)
		}
	}
	f.sequence = 0xff
	if got := cutUp(&f, payload, 12)[0]; !bytes.HasPrefix(got, []byte{0, 0, 0, 1}) {
		t.Errorf("behind sequence number 255 comes %x, want 0", got)
	}
}

func newReassembler(most int) (*reassembler, *ethernet.Drops) {
	drops := &ethernet.Drops{}
	return &reassembler{most: most, dropped: drops}, drops
}

// Whatever the order in which they come, fragments give what was cut.
func TestFragmentsComeTogether(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	r, drops := newReassembler(9200)
	var f fragmenter
	for range 5000 {
		payload := make([]byte, 14+random.IntN(9000))
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		all := cutUp(&f, payload, 296+random.IntN(3000))
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for i, p := range all {
			got := r.add(p, start)
			if i < len(all)-1 && got != nil || i == len(all)-1 && !bytes.Equal(got, payload) {
				t.Fatalf("%d bytes in %d fragments: fragment %d gives %d bytes", len(payload), len(all), i, len(got))
			}
		}
		if random.IntN(9) == 0 {
			r.rest()
		}
	}
	if drops.Total() != 0 {
		t.Errorf("%d dropped", drops.Total())
	}
}

// made is a fragment by hand.
func made(kind, sequence, number, size int, body string) []byte {
	header := uint32(kind) | uint32(sequence)<<2 | uint32(number)<<10 | uint32(size/4)<<15
	return append(binary.BigEndian.AppendUint32(nil, header), body...)
}

func TestHostileFragments(t *testing.T) {
	const more, last = fragmentMore, fragmentLast
	type step struct {
		packet []byte
		want   string
		later  time.Duration
	}
	for name, c := range map[string]struct {
		steps []step
		drops map[ethernet.Reason]uint64
	}{
		"in order":       {steps: []step{{packet: made(more, 7, 0, 0, "abcd")}, {packet: made(last, 7, 1, 4, "ef"), want: "abcdef"}}},
		"the last first": {steps: []step{{packet: made(last, 7, 1, 4, "ef")}, {packet: made(more, 7, 0, 0, "abcd"), want: "abcdef"}}},
		"one alone":      {steps: []step{{packet: made(last, 7, 0, 8, "ef"), want: "ef"}}},
		"bits that nobody uses": {steps: []step{
			{packet: made(fragmentWhole, 0, 0, 0xfffc, "ef"), want: "ef"}, {packet: made(more, 7, 0, 0xfffc, "abcd")}, {packet: made(last, 7, 1, 4, "ef"), want: "abcdef"},
		}},
		"a repeated one": {
			steps: []step{{packet: made(more, 7, 0, 0, "abcd")}, {packet: made(more, 7, 0, 0, "ABCD")}, {packet: made(last, 7, 1, 4, "ef"), want: "abcdef"}},
			drops: map[ethernet.Reason]uint64{ethernet.Replayed: 1},
		},
		"all again": { // like OpenVPN: in the clear nobody can know
			steps: []step{
				{packet: made(more, 7, 0, 0, "abcd")}, {packet: made(last, 7, 1, 4, "ef"), want: "abcdef"},
				{packet: made(more, 7, 0, 0, "abcd")}, {packet: made(last, 7, 1, 4, "ef"), want: "abcdef"},
			},
		},
		"an overlap: another size": {
			steps: []step{{packet: made(more, 7, 0, 0, "abcd")}, {packet: made(last, 7, 1, 8, "ef")}, {packet: made(more, 7, 0, 0, "01234567"), want: "01234567ef"}},
			drops: map[ethernet.Reason]uint64{ethernet.Incomplete: 1},
		},
		"beyond the last": {
			steps: []step{{packet: made(last, 7, 1, 4, "ef")}, {packet: made(more, 7, 2, 0, "abcd")}, {packet: made(more, 7, 0, 0, "0123")}},
			drops: map[ethernet.Reason]uint64{ethernet.Incomplete: 1},
		},
		"the last before another": {
			steps: []step{{packet: made(more, 7, 2, 0, "abcd")}, {packet: made(last, 7, 1, 4, "ef")}, {packet: made(more, 7, 0, 0, "0123"), want: "0123ef"}},
			drops: map[ethernet.Reason]uint64{ethernet.Incomplete: 1},
		},
		"two last ones": {
			steps: []step{{packet: made(last, 7, 1, 4, "ef")}, {packet: made(last, 7, 2, 4, "gh")}, {packet: made(more, 7, 0, 0, "0123")}, {packet: made(more, 7, 1, 0, "4567"), want: "01234567gh"}},
			drops: map[ethernet.Reason]uint64{ethernet.Incomplete: 1},
		},
		"too late": {
			steps: []step{
				{packet: made(more, 7, 0, 0, "abcd")}, {packet: made(last, 7, 1, 4, "ef"), later: fragmentLife},
				{packet: made(more, 7, 0, 0, "0123"), later: fragmentLife - 1, want: "0123ef"},
			},
			drops: map[ethernet.Reason]uint64{ethernet.Incomplete: 1},
		},
		"a number that comes again": {
			steps: []step{
				{packet: made(more, 7, 0, 0, "abcd")}, {packet: made(more, 7+24, 0, 0, "0123")}, {packet: made(last, 7, 1, 4, "ef"), want: "abcdef"},
				{packet: made(more, 7, 0, 0, "abcd")}, {packet: made(more, 7+25, 0, 0, "0123")}, {packet: made(last, 7, 1, 4, "ef")},
				{packet: made(last, 7+25, 1, 4, "ef")},
			},
			drops: map[ethernet.Reason]uint64{ethernet.Incomplete: 4},
		},
		"round and round": {
			steps: []step{
				{packet: made(more, 250, 0, 0, "abcd")}, {packet: made(more, 3, 0, 0, "0123")},
				{packet: made(last, 250, 1, 4, "ef"), want: "abcdef"}, {packet: made(last, 3, 1, 4, "ef"), want: "0123ef"},
			},
		},
		"no header":                    {steps: []step{{packet: []byte{0, 0, 0}}}, drops: map[ethernet.Reason]uint64{ethernet.Runt: 1}},
		"a header alone":               {steps: []step{{packet: make([]byte, 4)}}, drops: map[ethernet.Reason]uint64{ethernet.Runt: 1}},
		"of a kind that is none":       {steps: []step{{packet: made(3, 0, 0, 0, "abcd")}}, drops: map[ethernet.Reason]uint64{ethernet.Malformed: 1}},
		"a whole one with a sequence":  {steps: []step{{packet: made(fragmentWhole, 1, 0, 0, "abcd")}}, drops: map[ethernet.Reason]uint64{ethernet.Malformed: 1}},
		"a whole one with a number":    {steps: []step{{packet: made(fragmentWhole, 0, 1, 0, "abcd")}}, drops: map[ethernet.Reason]uint64{ethernet.Malformed: 1}},
		"a size that cannot be told":   {steps: []step{{packet: made(more, 7, 0, 0, "abcde")}}, drops: map[ethernet.Reason]uint64{ethernet.Malformed: 1}},
		"more behind the 32nd":         {steps: []step{{packet: made(more, 7, 31, 0, "abcd")}}, drops: map[ethernet.Reason]uint64{ethernet.Malformed: 1}},
		"a last one that is too long":  {steps: []step{{packet: made(last, 7, 1, 4, "abcde")}}, drops: map[ethernet.Reason]uint64{ethernet.Malformed: 1}},
		"a last one without size":      {steps: []step{{packet: made(last, 7, 1, 0, "a")}}, drops: map[ethernet.Reason]uint64{ethernet.Malformed: 1}},
		"more than there is place for": {steps: []step{{packet: made(last, 7, 31, 4, "abcd")}, {packet: made(last, 8, 1, 0xfffc, "a")}}, drops: map[ethernet.Reason]uint64{ethernet.Oversize: 2}},
	} {
		r, drops := newReassembler(100)
		now := start
		for i, s := range c.steps {
			now = now.Add(s.later)
			if got := string(r.add(s.packet, now)); got != s.want {
				t.Errorf("%s: step %d gives %q, want %q", name, i, got, s.want)
			}
		}
		for reason := range ethernet.NumReasons {
			if got := drops.Count(reason); got != c.drops[reason] {
				t.Errorf("%s: %d dropped for %v, want %d", name, got, reason, c.drops[reason])
			}
		}
	}
}

// However much comes, 25 payloads wait and no more; what was lent goes back.
func TestReassemblyIsBounded(t *testing.T) {
	r, _ := newReassembler(1800)
	random := rand.New(rand.NewPCG(1, 1))
	body := string(make([]byte, 64))
	for i := range 100_000 {
		kind := 1 + random.IntN(2)
		r.add(made(kind, random.IntN(256), random.IntN(31), 64, body), start)
		if i%50 == 0 {
			r.rest()
		}
		if len(r.lent) > 1 {
			t.Fatalf("%d buffers are lent for 50 fragments", len(r.lent))
		}
	}
	if r.rest(); len(r.lent) != 0 || r.room != nil {
		t.Error("it keeps what was lent")
	}
	// Payloads of one batch do not share memory.
	r.add(made(fragmentMore, 1, 0, 0, body), start)
	first := r.add(made(fragmentLast, 1, 1, 64, "first"), start)
	r.add(made(fragmentMore, 1, 0, 0, body), start)
	if second := r.add(made(fragmentLast, 1, 1, 64, "other"), start); !bytes.HasSuffix(first, []byte("first")) || !bytes.HasSuffix(second, []byte("other")) {
		t.Errorf("%q, %q", first, second)
	}
}

// FuzzFragments lets somebody send what he likes: each packet gives one payload, is
// counted as dropped, or waits, in bounded memory.
func FuzzFragments(f *testing.F) {
	packets := func(all ...[]byte) (data []byte) {
		for _, p := range all {
			data = append(append(data, byte(len(p)), 0), p...)
		}
		return data
	}
	f.Add(packets(made(1, 7, 0, 0, "abcd"), made(2, 7, 1, 4, "ef")))
	f.Add(packets(made(2, 7, 1, 4, "ef"), made(1, 7, 2, 0, "abcd"), made(1, 7, 0, 0, "abcdefgh"), made(2, 7, 0, 4, "x")))
	f.Add(packets(made(0, 0, 0, 0, "abcd"), made(3, 9, 9, 9, "abcd"), []byte{1}, nil))
	f.Add(packets(made(1, 1, 30, 0, "abcd"), made(2, 40, 31, 4, "abcd"), made(1, 250, 0, 0, "abcd"), made(2, 1, 31, 4, "abcd")))
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 300
		r, drops := newReassembler(most)
		now := start
		for len(data) >= 2 {
			n := min(int(data[0]), len(data)-2)
			now = now.Add(time.Duration(data[1]) * 100 * time.Millisecond)
			p := data[2:][:n]
			data = data[2+n:]
			before, incomplete, given := drops.Total(), drops.Count(ethernet.Incomplete), bytes.Clone(p)
			got := r.add(p, now)
			dropped := drops.Total() - before - (drops.Count(ethernet.Incomplete) - incomplete)
			if dropped > 1 || got != nil && dropped != 0 || len(got) > max(most, len(p)) || !bytes.Equal(given, p) {
				t.Fatalf("of %x come %d bytes and %d drops", p, len(got), dropped)
			}
			if got != nil && (len(got) == 0 || !bytes.Contains(got, p[fragmentHeader:])) {
				t.Fatalf("%x does not contain %x", got, p)
			}
			waiting := 0
			for i := range r.waiting {
				a := &r.waiting[i]
				if len(a.bytes) > most || a.begun && (a.have == 0 || a.complete() || a.len > most) {
					t.Fatalf("%+v waits", *a)
				}
				waiting += len(a.bytes)
			}
			if waiting > assemblies*most || len(r.lent) > 1 {
				t.Fatalf("%d bytes are kept, %d buffers lent", waiting, len(r.lent))
			}
			r.rest()
		}
	})
}
