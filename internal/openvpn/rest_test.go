package openvpn

import (
	"bytes"
	"testing"
)

func TestStreamAtRestHoldsNoBuffer(t *testing.T) {
	packets := numbered(3, 300)
	data := AppendStream(nil, packets)
	for begun := range 302 { // bytes of the third packet that come before a rest
		s := NewStream(1768)
		s.Rest() // before all
		first := copy(s.Space(), data[:2*302+begun])
		s.Rest() // the space is not used yet: it goes, and comes again
		if s.buf != nil {
			t.Fatal("a stream that has nothing holds a buffer")
		}
		copy(s.Space(), data[:first])
		got, err := s.Cut(first, nil)
		if err != nil || len(got) != 2 || !bytes.Equal(got[0], packets[0]) || !bytes.Equal(got[1], packets[1]) {
			t.Fatalf("%d packets, %v", len(got), err)
		}
		s.Space()
		for range 3 { // nothing came
			s.Rest()
		}
		if holds := s.buf != nil; holds != (begun > 0) {
			t.Fatalf("%d bytes have come of a packet, and it holds a buffer: %v", begun, holds)
		}
		// Other streams use the memory meanwhile.
		other := NewStream(1768)
		n := copy(other.Space(), bytes.Repeat([]byte{0xee}, 5000))
		if n != 5000 {
			t.Fatal("a stream has space for", n)
		}
		if begun > 0 && other.buf == s.buf {
			t.Fatal("two streams have one buffer")
		}
		n = copy(s.Space(), data[first:])
		got, err = s.Cut(n, nil)
		if err != nil || len(got) != 1 || !bytes.Equal(got[0], packets[2]) {
			t.Fatalf("after a rest with %d bytes of a packet: %d packets, %v", begun, len(got), err)
		}
		s.Space()
		s.Rest()
		if s.buf != nil {
			t.Fatal("it holds a buffer for nothing")
		}
		other.Rest()
	}
}

func TestStreamsShareBuffers(t *testing.T) {
	a, b := NewStream(1768), NewStream(1768)
	data := AppendStream(nil, numbered(4, 1000))
	var got [][]byte
	use := func(s *Stream) {
		n := copy(s.Space(), data)
		got, _ = s.Cut(n, got[:0])
		if len(got) != 4 {
			t.Fatalf("%d packets", len(got))
		}
		s.Space()
		s.Rest()
	}
	use(a)
	if n := testing.AllocsPerRun(100, func() { use(a); use(b) }); n != 0 {
		t.Errorf("%v allocations for streams that are used in turn", n)
	}
}
