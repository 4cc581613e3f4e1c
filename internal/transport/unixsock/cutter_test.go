package unixsock

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"tmelink/internal/ethernet"
)

// appendFrame appends a frame with its length.
func appendFrame(b, frame []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(frame))), frame...)
}

func stream(frames []ethernet.Frame) (b []byte) {
	for _, f := range frames {
		b = appendFrame(b, f.Data)
	}
	return b
}

// feed gives a cutter bytes as often as it has room, and takes what it cuts.
func feed(c *cutter, data []byte, take func(frame []byte)) error {
	for {
		n := copy(c.space(), data)
		c.filled(n)
		data = data[n:]
		for {
			frames, err := c.cut()
			for _, f := range frames {
				take(f.Data)
			}
			if err != nil {
				return err
			}
			if len(frames) == 0 {
				break
			}
		}
		c.rest()
		if len(data) == 0 {
			return nil
		}
	}
}

func TestCutAtEveryByte(t *testing.T) {
	frames := append(numbered(0, 2, 60), append(numbered(2, 2, 14), numbered(4, 1, 61)...)...)
	all := stream(frames)
	for i := range len(all) + 1 {
		for j := i; j <= len(all); j += 7 {
			c := cutter{maxFrame: 1522, drops: new(ethernet.Drops)}
			var got []byte
			for _, part := range [][]byte{all[:i], all[i:j], all[j:]} {
				if err := feed(&c, part, func(f []byte) { got = appendFrame(got, f) }); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, all) {
				t.Fatalf("cut at %d and %d it reads otherwise", i, j)
			}
			if c.buf != nil || c.drops.Total() != 0 {
				t.Fatalf("cut at %d and %d: a buffer is kept, or %d are dropped", i, j, c.drops.Total())
			}
		}
	}
}

func TestLengthsOfAStream(t *testing.T) {
	long := make([]byte, ethernet.MaxFrameLen)
	good := numbered(1, 1, 60)[0].Data
	for _, test := range []struct {
		name   string
		stream []byte
		frames int
		fault  string
		reason ethernet.Reason
		drops  uint64
	}{
		{"none", []byte{0, 0, 0, 0}, 0, "a frame of 0 bytes", 0, 0},
		{"text", []byte("GET / HTTP/1.1\r\n"), 0, "a frame of 1195725856 bytes", 0, 0},
		{"all ones", []byte{255, 255, 255, 255}, 0, "a frame of 4294967295 bytes", 0, 0},
		{"one too many", binary.BigEndian.AppendUint32(nil, ethernet.MaxFrameLen+1), 0, "a frame of 65558 bytes", 0, 0},
		{"bad behind good", append(appendFrame(nil, good), 0, 0, 0, 0), 1, "a frame of 0 bytes", 0, 0},
		{"unfinished length", []byte{0, 0, 0}, 0, "", 0, 0},
		{"short", appendFrame(appendFrame(nil, good[:13]), good), 1, "", ethernet.Runt, 1},
		{"one byte", appendFrame(appendFrame(nil, good[:1]), good), 1, "", ethernet.Runt, 1},
		{"shortest", appendFrame(nil, good[:14]), 1, "", 0, 0},
		{"longest", appendFrame(appendFrame(nil, long[:1522]), good), 2, "", 0, 0},
		{"long", appendFrame(appendFrame(nil, long[:1523]), good), 1, "", ethernet.Oversize, 1},
		{"very long", appendFrame(appendFrame(appendFrame(nil, long), long), good), 1, "", ethernet.Oversize, 2},
	} {
		c := cutter{maxFrame: 1522, drops: new(ethernet.Drops)}
		n := 0
		err := feed(&c, test.stream, func([]byte) { n++ })
		if n != test.frames || (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: %d frames and %v, want %d and %q", test.name, n, err, test.frames, test.fault)
		}
		if c.drops.Total() != test.drops || c.drops.Count(test.reason) != test.drops {
			t.Errorf("%s: %d dropped, want %d for %v", test.name, c.drops.Total(), test.drops, test.reason)
		}
	}
}

// A frame that comes in single bytes is moved once, not with each of them.
func TestSlowFrameIsMovedOnce(t *testing.T) {
	c := cutter{maxFrame: ethernet.MaxFrameLen, drops: new(ethernet.Drops)}
	feed(&c, append(appendFrame(nil, make([]byte, 60)), 0, 0, 0xff, 0xff), func([]byte) {})
	for range 1000 {
		before := c.end
		copy(c.space(), []byte{1})
		if c.start != 0 || c.end != 4 && c.end != before {
			t.Fatalf("what waits is at %d to %d after it was at its place", c.start, c.end)
		}
		c.filled(1)
	}
}

func TestBatchIsBounded(t *testing.T) {
	c := cutter{maxFrame: 1522, drops: new(ethernet.Drops)}
	copy(c.space(), stream(numbered(0, 600, 14)))
	c.filled(600 * 18)
	var sizes []int
	for {
		frames, err := c.cut()
		if err != nil {
			t.Fatal(err)
		}
		if len(frames) == 0 {
			break
		}
		sizes = append(sizes, len(frames))
	}
	if !slices.Equal(sizes, []int{256, 256, 88}) {
		t.Errorf("batches of %v", sizes)
	}
}

// Each kind of length is read as it was written, up to the longest that it holds.
func TestPrefixes(t *testing.T) {
	for _, test := range []struct {
		prefix Prefix
		wire   []byte
	}{
		{Big32, []byte{0, 0, 0x05, 0xea}},
		{Big16, []byte{0x05, 0xea}},
		{Little16, []byte{0xea, 0x05}},
	} {
		wire := make([]byte, test.prefix.len())
		test.prefix.put(wire, 1514)
		if !bytes.Equal(wire, test.wire) || test.prefix.get(wire) != 1514 {
			t.Errorf("%v: 1514 is written as % x, want % x, and read as %d", test.prefix, wire, test.wire, test.prefix.get(wire))
		}
		most := test.prefix.MaxFrame()
		if test.prefix.put(wire, most); int(test.prefix.get(wire)) != most {
			t.Errorf("%v: %d is read as %d", test.prefix, most, test.prefix.get(wire))
		}
		c := cutter{prefix: test.prefix, maxFrame: most, drops: new(ethernet.Drops)}
		longest := make([]byte, most)
		n := 0
		if err := feed(&c, append(wire, longest...), func(f []byte) { n += len(f) }); err != nil || n != most {
			t.Errorf("%v: of a frame of %d bytes come %d, %v", test.prefix, most, n, err)
		}
		err := feed(&c, make([]byte, test.prefix.len()), func([]byte) {})
		if err == nil || !strings.Contains(err.Error(), "does not put a "+test.prefix.String()) {
			t.Errorf("%v: a length of 0 gives %v", test.prefix, err)
		}
	}
}

// FuzzCutter compares the cutter with a plain reading of the whole stream,
// however the stream is broken into pieces.
func FuzzCutter(f *testing.F) {
	f.Add(stream(numbered(0, 3, 60)), uint16(7), uint8(0))
	f.Add([]byte{0, 0, 0, 0}, uint16(1), uint8(1))
	f.Add(append(appendFrame(nil, make([]byte, 13)), 0xff, 0xff, 0xff, 0xff), uint16(3), uint8(0))
	f.Add(appendFrame(appendFrame(nil, make([]byte, 2000)), make([]byte, 14)), uint16(500), uint8(2))
	f.Add(append([]byte{14, 0}, make([]byte, 16)...), uint16(5), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, piece uint16, kind uint8) {
		const most = 1522
		var want []byte
		bad, drops := false, uint64(0)
		prefix, size := Prefix(kind%3), int64(2)
		if prefix == Big32 {
			size = 4
		}
		for rest := data; int64(len(rest)) >= size; {
			var n int64
			for i := range size {
				if prefix == Little16 {
					n |= int64(rest[i]) << (8 * i)
				} else {
					n = n<<8 | int64(rest[i])
				}
			}
			if bad = n == 0 || n > ethernet.MaxFrameLen; bad || int64(len(rest)) < size+n {
				break
			}
			if n < 14 || n > most {
				drops++
			} else {
				want = appendFrame(want, rest[size:size+n])
			}
			rest = rest[size+n:]
		}
		c := cutter{prefix: prefix, maxFrame: most, drops: new(ethernet.Drops)}
		var got []byte
		var err error
		for rest := data; len(rest) > 0 && err == nil; {
			n := min(len(rest), int(piece)+1)
			err = feed(&c, rest[:n], func(f []byte) { got = appendFrame(got, f) })
			rest = rest[n:]
		}
		if !bytes.Equal(got, want) || bad != (err != nil) || c.drops.Total() != drops {
			t.Fatalf("%d bytes of frames, %v, %d dropped; want %d, %v, %d", len(got), err, c.drops.Total(), len(want), bad, drops)
		}
	})
}
