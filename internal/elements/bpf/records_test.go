package bpf

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// The layouts of the systems that have /dev/bpf.
var layouts = map[string]recordLayout{
	"freebsd amd64": {stamp: 16, align: 8},
	"netbsd amd64":  {stamp: 16, align: 8},
	"openbsd amd64": {stamp: 8, align: 4},
	"darwin arm64":  {stamp: 8, align: 4},
}

// record makes a record as a kernel would, without the padding behind it.
func record(l recordLayout, head int, data []byte, length int) []byte {
	b := make([]byte, head, head+len(data))
	binary.NativeEndian.PutUint32(b[l.stamp:], uint32(len(data)))
	binary.NativeEndian.PutUint32(b[l.stamp+4:], uint32(length))
	binary.NativeEndian.PutUint16(b[l.stamp+8:], uint16(head))
	return append(b, data...)
}

func padded(l recordLayout, b []byte) []byte {
	for len(b)%l.align != 0 {
		b = append(b, 0xee)
	}
	return b
}

func TestRecords(t *testing.T) {
	for name, l := range layouts {
		t.Run(name, func(t *testing.T) {
			head := l.stamp + 10
			var buf []byte
			var want [][]byte
			for n := range 40 {
				data := bytes.Repeat([]byte{byte(n)}, n)
				want = append(want, data)
				// BSDs make the header such that the payload of the packet is aligned.
				buf = append(padded(l, buf), record(l, head+n%8, data, n)...)
			}
			for n, data := range want {
				got, whole, rest, err := l.next(buf)
				if err != nil || !whole || !bytes.Equal(got, data) {
					t.Fatalf("record %d: %x whole %v, %v; want %x", n, got, whole, err, data)
				}
				buf = rest
			}
			if len(buf) != 0 {
				t.Errorf("%d bytes are left", len(buf))
			}
		})
	}
}

func TestBadRecords(t *testing.T) {
	l := recordLayout{stamp: 8, align: 4}
	good := record(l, 18, make([]byte, 20), 20)
	for _, c := range []struct {
		name string
		edit func([]byte) []byte
	}{
		{"ends in its header", func(b []byte) []byte { return b[:17] }},
		{"ends in its packet", func(b []byte) []byte { return b[:len(b)-1] }},
		{"header shorter than a header", func(b []byte) []byte { b[16], b[17] = 4, 4; return b[:18] }},
		{"header length 0", func(b []byte) []byte { b[16], b[17] = 0, 0; return b }},
		{"packet of 4 GiB", func(b []byte) []byte { copy(b[8:], "\xff\xff\xff\xff"); return b }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if data, _, rest, err := l.next(c.edit(bytes.Clone(good))); err == nil {
				t.Errorf("taken as %d bytes with %d behind", len(data), len(rest))
			}
		})
	}
	if _, whole, _, err := l.next(record(l, 18, make([]byte, 20), 21)); err != nil || whole {
		t.Error("a cut packet is taken for whole")
	}
}

func FuzzRecords(f *testing.F) {
	for _, l := range layouts {
		f.Add(uint8(l.stamp), uint8(l.align), append(padded(l, record(l, l.stamp+10, make([]byte, 61), 61)), record(l, l.stamp+12, make([]byte, 14), 1500)...))
	}
	f.Fuzz(func(t *testing.T, stamp, align uint8, buf []byte) {
		l := recordLayout{stamp: int(stamp % 32), align: 1 << (align % 4)}
		total, size := 0, len(buf)
		for len(buf) > 0 {
			data, _, rest, err := l.next(buf)
			if err != nil {
				return
			}
			if len(rest) >= len(buf) {
				t.Fatal("no headway")
			}
			total += len(data)
			buf = rest
		}
		if total > size {
			t.Fatalf("%d bytes of packets in a buffer of %d", total, size)
		}
	})
}
