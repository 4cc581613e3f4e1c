package ethernet

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// sumAgrees compares InternetSum with one that goes byte by byte.
func sumAgrees(t *testing.T, name string, b []byte, initials ...uint16) {
	t.Helper()
	all := uint64(0)
	for i, v := range b {
		if i%2 == 0 {
			all += uint64(v) << 8
		} else {
			all += uint64(v)
		}
	}
	for _, initial := range initials {
		want := all + uint64(initial)
		for want > 0xffff {
			want = want>>16 + want&0xffff
		}
		if got := InternetSum(b, initial); uint64(got) != want {
			t.Fatalf("%d %s from %#x: %#x, want %#x", len(b), name, initial, got, want)
		}
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

// withAndWithoutVectors runs a test of InternetSum both ways that it can go.
func withAndWithoutVectors(t *testing.T, test func(t *testing.T)) {
	t.Run("vectors", test)
	defer func(n int) { vectorMin = n }(vectorMin)
	vectorMin = math.MaxInt
	t.Run("words", test)
}

func TestInternetSumOfEveryLength(t *testing.T) {
	const longest, alignments = 600, 64
	withAndWithoutVectors(t, func(t *testing.T) {
		for name, data := range sumData(longest + alignments) {
			for at := range alignments {
				for n := range longest + 1 {
					sumAgrees(t, name, data[at:at+n], 0, 1, 0xffff)
				}
			}
		}
	})
}

// What is long has the sum of its pieces, each of a length that is tested above.
func TestInternetSumOfPieces(t *testing.T) {
	const piece = 200
	withAndWithoutVectors(t, func(t *testing.T) {
		for name, data := range sumData(1<<18 + 100) {
			for _, size := range []int{1 << 16, 1 << 17, 1 << 18} {
				for n := size - 35; n <= size+35; n += 7 {
					b := data[n%64:][:n]
					for _, initial := range []uint16{0, 1, 0xffff} {
						want := initial
						for at := 0; at < n; at += piece {
							want = InternetSum(b[at:min(at+piece, n)], want)
						}
						if got := InternetSum(b, initial); got != want {
							t.Fatalf("%d %s from %#x: %#x, want %#x", n, name, initial, got, want)
						}
					}
				}
			}
		}
	})
}

// sumData gives n bytes that are likely to go wrong, and n that are not.
func sumData(n int) map[string][]byte {
	return map[string][]byte{
		"random bytes": randomBytes(n),
		"ones":         bytes.Repeat([]byte{0xff}, n),
		"zeros":        make([]byte, n),
	}
}

func FuzzInternetSum(f *testing.F) {
	f.Add([]byte{}, uint16(0), byte(0))
	f.Add([]byte{0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7}, uint16(0), byte(0)) // RFC 1071, 3
	f.Add(bytes.Repeat([]byte{0xff}, 600), uint16(0xffff), byte(1))
	f.Add(randomBytes(1500), uint16(1), byte(33))
	f.Fuzz(func(t *testing.T, b []byte, initial uint16, at byte) {
		sumAgrees(t, "bytes", b[min(int(at), len(b)):], initial)
	})
}

func BenchmarkInternetSum(b *testing.B) {
	for _, n := range []int{20, 64, 256, 1460, 65535} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := randomBytes(n)
			b.SetBytes(int64(n))
			for b.Loop() {
				InternetSum(data, 0)
			}
		})
	}
}
