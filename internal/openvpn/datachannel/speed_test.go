package datachannel

import (
	"bytes"
	"testing"
)

// sealed makes packets to open, and what opens them.
func sealedPackets(k kind, n, size int) (*Opener, [][]byte) {
	half := randomHalf()
	s := NewSealer(k.suite, k.form, half)
	s.Begin(epoch)
	packets := make([][]byte, n)
	for i := range packets {
		packets[i] = boxed(s.Seal(make([]byte, size+s.Overhead()+Slack), payloadOf(size)))
	}
	return NewOpener(k.suite, k.form, half, window()), packets
}

func TestNothingIsAllocated(t *testing.T) {
	for _, k := range kinds() {
		half := randomHalf()
		s := NewSealer(k.suite, k.form, half)
		dst, payload := make([]byte, 2000), payloadOf(1500)
		if n := testing.AllocsPerRun(100, func() {
			s.Begin(epoch)
			s.Seal(dst, payload)
		}); n != 0 {
			t.Errorf("%s: %v allocations to seal", k.name, n)
		}
		o, packets := sealedPackets(k, 102, 1500)
		i := 0
		if n := testing.AllocsPerRun(100, func() {
			o.Begin(epoch)
			if _, err := o.Open(packets[i]); err != nil {
				t.Fatal(err)
			}
			i++
		}); n != 0 {
			t.Errorf("%s: %v allocations to open", k.name, n)
		}
		forged := bytes.Repeat([]byte{9<<3 | 3}, 1+4+16+64+64*16+Slack)
		if n := testing.AllocsPerRun(100, func() { o.Open(forged[:len(forged)-Slack]) }); n != 0 {
			t.Errorf("%s: %v allocations to refuse", k.name, n)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, k := range kinds() {
		b.Run(k.name, func(b *testing.B) {
			s := NewSealer(k.suite, k.form, randomHalf())
			dst, payload := make([]byte, 2000), payloadOf(1500)
			b.SetBytes(1500)
			b.ReportAllocs()
			for b.Loop() {
				s.Seal(dst, payload)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, k := range kinds() {
		b.Run(k.name, func(b *testing.B) {
			o, packets := sealedPackets(k, 1, 1500)
			again := bytes.Clone(packets[0])
			b.SetBytes(1500)
			b.ReportAllocs()
			for b.Loop() {
				copy(packets[0], again) // opening changes it
				if _, _, err := o.decrypt(packets[0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWindow(b *testing.B) {
	w := window()
	w.Begin(epoch)
	b.ReportAllocs()
	var id ID
	for b.Loop() {
		id.Number++
		w.Accept(id)
	}
}
