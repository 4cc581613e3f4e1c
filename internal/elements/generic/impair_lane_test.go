package generic

import (
	"bytes"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

const ms = time.Millisecond

func testLane(m impairments, seed uint64) (*lane, *ethernet.Drops) {
	l, drops := new(lane), new(ethernet.Drops)
	l.init(m, seed, 0, drops)
	return l, drops
}

// sized makes a frame of a length with a number.
func sized(length int, id uint32) ethernet.Frame {
	f := frame(host(1), host(2), id)
	f.Data = append(f.Data, make([]byte, length)...)[:length]
	return f
}

// arrival is a frame and when it came out.
type arrival struct {
	at   time.Duration
	data []byte
}

// drain goes from one due time to the next until the lane is empty.
func drain(t *testing.T, l *lane) (all []arrival) {
	t.Helper()
	for now := time.Duration(0); ; {
		b, due, open := l.take(now)
		if !open {
			t.Fatal("closed")
		}
		if b == nil {
			if due == never {
				return all
			}
			if due <= now {
				t.Fatalf("nothing at %v, but due at %v", now, due)
			}
			now = due
			continue
		}
		for _, f := range b.frames() {
			all = append(all, arrival{now, bytes.Clone(f.Data)})
		}
		b.release()
	}
}

// show gives each frame's number and time in milliseconds: "1@20 2@21".
func show(all []arrival) string {
	var words []string
	for _, a := range all {
		words = append(words, fmt.Sprintf("%d@%v", number(ethernet.Frame{Data: a.data}), float64(a.at)/float64(ms)))
	}
	return strings.Join(words, " ")
}

func TestLaneTimes(t *testing.T) {
	type in struct {
		at     time.Duration
		length int
	}
	three := []in{{0, 100}, {10 * ms, 100}, {10 * ms, 60}}
	for _, c := range []struct {
		what string
		m    impairments
		in   []in
		want string
	}{
		{"nothing", impairments{limit: 9}, three, "1@0 2@10 3@10"},
		{"delay", impairments{limit: 9, delay: 20 * ms}, three, "1@20 2@30 3@30"},
		{"100 bytes at 80 kbit/s take 10 ms", impairments{limit: 9, rate: 80000}, three, "1@10 2@20 3@26"},
		{"a pause is not saved up", impairments{limit: 9, rate: 80000}, []in{{0, 100}, {50 * ms, 100}, {50 * ms, 100}}, "1@10 2@60 3@70"},
		{"rate, then delay", impairments{limit: 9, rate: 80000, delay: 20 * ms}, three, "1@30 2@40 3@46"},
		{"all twice", impairments{limit: 9, rate: 80000, duplicate: 1}, three, "1@10 1@20 2@30 2@40 3@46 3@52"},
		{"all overtake", impairments{limit: 9, rate: 80000, delay: 20 * ms, reorder: 1}, three, "1@10 2@20 3@26"},
		{"all lost", impairments{limit: 9, loss: 1, duplicate: 1}, three, ""},
		{"two held", impairments{limit: 2, delay: 20 * ms}, three, "1@20 2@30"},
	} {
		l, _ := testLane(c.m, 1)
		for i, f := range c.in {
			l.put([]ethernet.Frame{sized(f.length, uint32(i+1))}, f.at)
		}
		if got := show(drain(t, l)); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
		if l.ordered.held != nil || l.ahead.held != nil {
			t.Errorf("%s: an empty lane holds memory", c.what)
		}
	}
}

// Jitter keeps the order; what reorder picks comes at once, and nothing else is
// delayed by it.
func TestLaneOrder(t *testing.T) {
	m := impairments{limit: 1000, delay: 20 * ms, jitter: 20 * ms}
	run := func(m impairments) (*lane, []arrival) {
		l, _ := testLane(m, 5)
		for i := range 500 {
			l.put([]ethernet.Frame{sized(60, uint32(i))}, time.Duration(i)*ms)
		}
		return l, drain(t, l)
	}
	_, all := run(m)
	for i, a := range all {
		if n := number(ethernet.Frame{Data: a.data}); n != uint32(i) {
			t.Fatalf("frame %d arrives in place of %d", n, i)
		}
		if under := a.at - time.Duration(i)*ms; under < 0 || under > 40*ms {
			t.Errorf("frame %d is under way for %v", i, under)
		}
	}
	m.reorder = 0.1
	l, mixed := run(m)
	var ahead uint64
	var last, lastAt = -1, time.Duration(0)
	for _, a := range mixed {
		n := int(number(ethernet.Frame{Data: a.data}))
		switch {
		case a.at < lastAt:
			t.Fatalf("frame %d comes back in time", n)
		case a.at == time.Duration(n)*ms:
			ahead++
		case n < last:
			t.Errorf("frame %d behind %d, and neither overtakes", n, last)
		default:
			last = n
		}
		lastAt = a.at
	}
	if len(mixed) != 500 || ahead < 30 || ahead > 80 || ahead < l.counts.overtaking {
		t.Errorf("%d frames arrived, %d of them at once, %d counted as overtaking", len(mixed), ahead, l.counts.overtaking)
	}
}

// The rate is kept to the nanosecond over many frames, also where one takes no
// whole number of nanoseconds.
func TestLaneRate(t *testing.T) {
	for _, rate := range []int64{1000, 56000, 10e6, 999_999_937, 100e9} {
		l, drops := testLane(impairments{limit: maxLimit, rate: rate}, 1)
		const frames = 10000
		var batch []ethernet.Frame
		length := 0
		for i := range frames {
			f := sized(60+i%1455, uint32(i))
			length += len(f.Data)
			batch = append(batch, f)
		}
		l.put(batch, time.Second)
		if drops.Total() != 0 {
			t.Fatal("frames are lost")
		}
		want := time.Second + time.Duration(float64(length)*8/float64(rate)*1e9)
		if off := l.free - want; off < -time.Microsecond || off > time.Microsecond {
			t.Errorf("at %d bit/s the last of %d bytes is sent at %v, want %v", rate, length, l.free, want)
		}
		l.close()
	}
}

func TestLaneIsBounded(t *testing.T) {
	l, drops := testLane(impairments{limit: 40, delay: time.Second}, 1)
	for i := range uint32(100) {
		l.put([]ethernet.Frame{sized(60, i)}, 0)
	}
	if n := drops.Count(ethernet.QueueFull); n != 60 || l.ordered.len() != 40 {
		t.Errorf("%d dropped, %d held", n, l.ordered.len())
	}
	if b, _, _ := l.take(time.Second); len(b.list) != 40 {
		t.Errorf("%d frames came", len(b.list))
	}
	// In bytes: one of 60000 fits into 40 times 2048, a second does not, a small one does.
	l.put([]ethernet.Frame{sized(60000, 1), sized(60000, 2), sized(60, 3)}, time.Second)
	if got := show(drain(t, l)); got != "1@2000 3@2000" {
		t.Errorf("arrived: %s", got)
	}
	// The longest frame fits into the smallest lane.
	l, drops = testLane(impairments{limit: 1}, 1)
	l.put([]ethernet.Frame{sized(ethernet.MaxFrameLen, 1), sized(60, 2)}, 0)
	if got := show(drain(t, l)); got != "1@0" || drops.Count(ethernet.QueueFull) != 1 {
		t.Errorf("arrived: %s", got)
	}
}

// What waits a long time behind a steady flow takes no more memory than the limit
// and as much again.
func TestLaneMemoryIsBounded(t *testing.T) {
	l, _ := testLane(impairments{limit: 100, delay: 99 * ms}, 1)
	for i := range 20000 {
		now := time.Duration(i) * ms
		l.put([]ethernet.Frame{sized(1514, uint32(i))}, now)
		if b, _, _ := l.take(now); b != nil {
			b.release()
		}
		if h := l.ordered.held; h != nil && (len(h.data) > 2*100*1514 || len(h.moments) > 202) {
			t.Fatalf("%d bytes and %d moments for 100 frames", len(h.data), len(h.moments))
		}
	}
}

func TestLaneTakesInBatches(t *testing.T) {
	l, _ := testLane(impairments{limit: 1000}, 1)
	for i := range uint32(600) {
		l.put([]ethernet.Frame{sized(60, i)}, 0)
	}
	var got []int
	for {
		b, _, _ := l.take(0)
		if b == nil {
			break
		}
		got = append(got, len(b.list))
		b.release()
	}
	if !slices.Equal(got, []int{256, 256, 88}) {
		t.Errorf("batches of %v", got)
	}
}

func TestLaneCorruptsOneBit(t *testing.T) {
	l, drops := testLane(impairments{limit: 1000, corrupt: 1, duplicate: 1}, 9)
	original := sized(100, 7)
	given := bytes.Clone(original.Data)
	for range 300 {
		l.put([]ethernet.Frame{original}, 0)
	}
	if !bytes.Equal(given, original.Data) {
		t.Error("the writer's bytes are changed")
	}
	places := map[int]bool{}
	for _, a := range drain(t, l) {
		flipped := 0
		for i := range a.data {
			if d := a.data[i] ^ given[i]; d != 0 {
				flipped += bits.OnesCount8(d)
				places[i] = true
			}
		}
		if flipped != 1 {
			t.Fatalf("%d bits flipped", flipped)
		}
	}
	if !places[0] && !places[99] || len(places) < 90 {
		t.Errorf("flipped in %d of 100 bytes", len(places))
	}
	if l.counts.corrupted != 600 || l.counts.duplicated != 300 || drops.Total() != 0 {
		t.Errorf("counted: %+v", l.counts)
	}
}

// The same seed and frames give the same bytes at the same times.
func TestLaneIsRepeated(t *testing.T) {
	m := every
	m.rate = 10e6
	run := func(seed uint64) (string, string) {
		l, _ := testLane(m, seed)
		for i := range 800 {
			l.put([]ethernet.Frame{sized(60+i%1400, uint32(i))}, time.Duration(i)*ms)
		}
		text := ""
		for _, a := range drain(t, l) {
			text += fmt.Sprintf("%v %x\n", a.at, a.data)
		}
		return text, l.status()
	}
	first, counts := run(42)
	if again, countsAgain := run(42); again != first || countsAgain != counts {
		t.Errorf("another run: %s and %s", counts, countsAgain)
	}
	if other, _ := run(43); other == first {
		t.Error("another seed does the same")
	}
}

// Lines against a plain list.
func TestLine(t *testing.T) {
	var l line
	var want [][]byte
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20000 {
		if len(want) == 0 || r.IntN(100) < 60-i/2000%2*20 { // it grows and shrinks
			data := bytes.Repeat([]byte{byte(i)}, 1+r.IntN(60)*r.IntN(60))
			if got := l.add(data, time.Duration(i)); !bytes.Equal(got, data) {
				t.Fatal("the copy is another")
			}
			want = append(want, data)
		} else {
			b := buffers.Take()
			l.take(b)
			if !bytes.Equal(b.frames()[0].Data, want[0]) {
				t.Fatalf("after %d steps another frame comes out", i)
			}
			b.release()
			want = want[1:]
		}
		total := 0
		for _, w := range want {
			total += len(w)
		}
		if l.len() != len(want) || l.bytes() != total || (l.next() == never) != (len(want) == 0) {
			t.Fatalf("after %d steps: %d frames and %d bytes, want %d and %d", i, l.len(), l.bytes(), len(want), total)
		}
	}
}
