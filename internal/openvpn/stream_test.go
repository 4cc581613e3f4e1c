package openvpn

import (
	"bytes"
	"testing"
)

// cut feeds data into a stream in pieces of at most piece bytes and gives copies of the packets.
func cut(t testing.TB, s *Stream, data []byte, piece func() int) (packets [][]byte, err error) {
	t.Helper()
	var got [][]byte
	for len(data) > 0 {
		space := s.Space()
		if len(space) == 0 {
			t.Fatal("a stream without space")
		}
		n := copy(space[:min(len(space), max(1, piece()))], data)
		data = data[n:]
		got, err = s.Cut(n, got[:0])
		for _, p := range got {
			packets = append(packets, bytes.Clone(p))
		}
		if err != nil {
			return packets, err
		}
	}
	return packets, nil
}

func numbered(n, size int) [][]byte {
	packets := make([][]byte, n)
	for i := range packets {
		packets[i] = bytes.Repeat([]byte{byte(i)}, size)
	}
	return packets
}

func TestStreamHoldsHoweverItIsCut(t *testing.T) {
	packets := append(numbered(100, 60), numbered(20, 1768)...)
	packets = append(packets, []byte{7})
	data := AppendStream(nil, packets)
	for _, piece := range []int{1, 2, 3, 61, 62, 63, 1000, len(data)} {
		got, err := cut(t, NewStream(1768), data, func() int { return piece })
		if err != nil {
			t.Fatalf("pieces of %d: %v", piece, err)
		}
		if len(got) != len(packets) {
			t.Fatalf("pieces of %d: %d packets, want %d", piece, len(got), len(packets))
		}
		for i := range got {
			if !bytes.Equal(got[i], packets[i]) {
				t.Fatalf("pieces of %d: packet %d differs", piece, i)
			}
		}
	}
}

func TestStreamGivesManyPacketsOfOneSegment(t *testing.T) {
	s := NewStream(1768)
	n := copy(s.Space(), AppendStream(nil, numbered(100, 60)))
	got, err := s.Cut(n, nil)
	if err != nil || len(got) != 100 {
		t.Fatalf("%d packets, %v; want 100 of one segment", len(got), err)
	}
}

func TestStreamRefusesForeignLengths(t *testing.T) {
	good := AppendStream(nil, numbered(1, 1768))
	for name, bad := range map[string]string{
		"nothing":    "\x00\x00",
		"too long":   "\x06\xe9",
		"HTTP":       "GET / HTTP/1.0\r\n",
		"TLS":        "\x16\x03\x01",
		"over 32767": "\xff\xff",
	} {
		got, err := cut(t, NewStream(1768), append(bytes.Clone(good), bad...), func() int { return 1 })
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if len(got) != 1 {
			t.Errorf("%s: %d packets before it, want 1", name, len(got))
		}
	}
}

func TestStreamGoesOnFromItsHead(t *testing.T) {
	packets := numbered(3, 60)
	data := AppendStream(nil, packets)
	for n := 1; n <= HeadLen; n++ {
		s := NewStream(1768)
		s.Begin(data[:n])
		s.Rest() // nothing came yet: the head must stay
		got, err := cut(t, s, data[n:], func() int { return 20 })
		if err != nil || len(got) != 3 || !bytes.Equal(AppendStream(nil, got), data) {
			t.Errorf("a head of %d bytes: %d packets, %v", n, len(got), err)
		}
	}
}

func TestStreamAllocatesNothing(t *testing.T) {
	s, data := NewStream(1768), AppendStream(nil, numbered(64, 1500))
	packets := make([][]byte, 0, 256)
	var out []byte
	batch := numbered(64, 1500)
	allocs := testing.AllocsPerRun(100, func() {
		for rest := data; len(rest) > 0; {
			n := copy(s.Space(), rest[:min(len(rest), 1000)])
			rest = rest[n:]
			var err error
			if packets, err = s.Cut(n, packets[:0]); err != nil {
				t.Fatal(err)
			}
		}
		out = AppendStream(out[:0], batch)
	})
	if allocs != 0 {
		t.Errorf("%v allocations for 64 packets", allocs)
	}
}

func FuzzStream(f *testing.F) {
	f.Add(AppendStream(nil, numbered(3, 60)), []byte{1, 2, 3})
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"), []byte{5})
	f.Add([]byte{0, 0, 0}, []byte{0})
	f.Add(AppendStream(nil, numbered(2, 2000)), []byte{255, 1})
	f.Fuzz(func(t *testing.T, data, pieces []byte) {
		const limit = 300
		whole, wholeErr := cut(t, NewStream(limit), data, func() int { return len(data) })
		i := 0
		parts, partsErr := cut(t, NewStream(limit), data, func() int {
			if len(pieces) == 0 {
				return 1
			}
			i++
			return int(pieces[i%len(pieces)])
		})
		if (wholeErr == nil) != (partsErr == nil) || len(whole) != len(parts) {
			t.Fatalf("whole %d packets and %v, in parts %d and %v", len(whole), wholeErr, len(parts), partsErr)
		}
		for i := range whole {
			if !bytes.Equal(whole[i], parts[i]) {
				t.Fatalf("packet %d depends on the cut", i)
			}
			if len(whole[i]) < 1 || len(whole[i]) > limit {
				t.Fatalf("packet of %d bytes", len(whole[i]))
			}
		}
		if again := AppendStream(nil, whole); !bytes.HasPrefix(data, again) {
			t.Fatal("the packets do not make up the stream")
		}
	})
}

func BenchmarkStream(b *testing.B) {
	s, data := NewStream(1768), AppendStream(nil, numbered(64, 1500))
	packets := make([][]byte, 0, 256)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		n := copy(s.Space(), data)
		var err error
		if packets, err = s.Cut(n, packets[:0]); err != nil || len(packets) != 64 {
			b.Fatal(len(packets), err)
		}
	}
}
