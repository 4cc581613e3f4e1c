package ethernet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// flatten puts a joined frame into one piece.
func flatten(f Frame, payload [][]byte) Frame {
	f.Data = bytes.Clone(f.Data)
	for _, p := range payload {
		f.Data = append(f.Data, p...)
	}
	return f
}

// segmentsOf cuts a super-frame.
func segmentsOf(t testing.TB, f Frame) []Frame {
	t.Helper()
	var s Segmenter
	var drops Drops
	f.Data = bytes.Clone(f.Data)
	out := s.Finish([]Frame{f}, 0, MaxFrameLen, &drops)
	if drops.Total() != 0 {
		t.Fatalf("dropped: %d", drops.Total())
	}
	return out
}

const everything = Checksum | Segmentation

var joinable = []superFrame{
	{payload: 1448 * 3, size: 1448, flags: header.TCPFlagAck},
	{payload: 1448*3 + 17, size: 1448, flags: header.TCPFlagAck | header.TCPFlagPsh},
	{payload: 1448*2 + 1, size: 1448, flags: header.TCPFlagAck | header.TCPFlagFin},
	{payload: 300, size: 100, tcpOptions: 12, flags: header.TCPFlagAck | 0x40}, // ECE
	{payload: 300, size: 100, ipOptions: 8, flags: header.TCPFlagAck},
	{payload: 64 * 1000, size: 1000, flags: header.TCPFlagAck},
	{vlans: 1, payload: 1448 * 3, size: 1448, flags: header.TCPFlagAck},
	{vlans: 2, payload: 1448 * 3, size: 1448, tcpOptions: 40, flags: header.TCPFlagAck},
	{v6: true, payload: 1428 * 5, size: 1428, flags: header.TCPFlagAck},
	{v6: true, vlans: 1, payload: 1428*5 - 1, size: 1428, tcpOptions: 12, flags: header.TCPFlagAck | header.TCPFlagPsh},
	{v6: true, ipOptions: 16, payload: 1400 * 3, size: 1400, flags: header.TCPFlagAck},
	{udp: true, payload: 64 * 64, size: 64},
	{udp: true, payload: 1472*4 + 5, size: 1472},
	{udp: true, v6: true, payload: 1452 * 4, size: 1452},
	{udp: true, v6: true, vlans: 1, ipOptions: 8, payload: 400, size: 100},
}

// What is cut and joined again is what it was, to the last byte.
func TestJoinUndoesCutting(t *testing.T) {
	for _, c := range joinable {
		original := c.build()
		segments := segmentsOf(t, original)
		var j Coalescer
		f, payload, n := j.Join(segments, everything)
		if n != len(segments) {
			t.Errorf("%+v: %d of %d frames joined", c, n, len(segments))
			continue
		}
		if len(f.Data) != len(original.Data)-c.payload {
			t.Errorf("%+v: the headers have %d bytes", c, len(f.Data))
		}
		whole := flatten(f, payload)
		if !bytes.Equal(whole.Data, original.Data) {
			t.Errorf("%+v: joined to\n%x, want\n%x", c, whole.Data[:80], original.Data[:80])
		}
		if whole.Needs != original.Needs || whole.SegmentSize != c.size || whole.ChecksumStart != original.ChecksumStart || whole.ChecksumOffset != original.ChecksumOffset {
			t.Errorf("%+v: %v, segments of %d, checksum at %d+%d", c, whole.Needs, whole.SegmentSize, whole.ChecksumStart, whole.ChecksumOffset)
		}
	}
}

// resum makes a frame's IPv4 header checksum right again.
func resum(frame []byte) {
	header.IPv4(frame[14:]).SetChecksum(0)
	header.IPv4(frame[14:]).SetChecksum(^header.IPv4(frame[14:]).CalculateChecksum())
}

// resumAll makes every checksum of an IPv4 TCP frame right again.
func resumAll(frame []byte) {
	resum(frame)
	t := frame[34:]
	binary.BigEndian.PutUint16(t[16:], 0)
	binary.BigEndian.PutUint16(t[16:], ^InternetSum(t, PseudoSum(frame[26:30], frame[30:34], 6, len(t))))
}

// A frame that differs from the one before in anything but what segmentation
// counts up begins anew.
func TestFramesThatStayApart(t *testing.T) {
	set := func(at int, value byte) func(f *Frame) {
		return func(f *Frame) { f.Data[at] = value; resumAll(f.Data) }
	}
	for name, change := range map[string]func(second *Frame){
		"destination":                set(5, 9),
		"source":                     set(11, 9),
		"type of service, ECN":       set(15, 3),
		"identification":             set(19, 77),
		"don't fragment":             set(20, 0),
		"more fragments":             set(20, 0x60),
		"fragment offset":            set(21, 1),
		"time to live":               set(22, 63),
		"protocol":                   set(23, 17),
		"source address":             set(29, 9),
		"destination address":        set(33, 9),
		"source port":                set(35, 9),
		"destination port":           set(37, 9),
		"sequence number":            set(41, 9),
		"acknowledgment number":      set(45, 9),
		"reserved bits":              set(46, 0x51),
		"SYN":                        set(47, 0x12),
		"RST":                        set(47, 0x14),
		"URG":                        set(47, 0x30),
		"CWR":                        set(47, 0x90),
		"ECE":                        set(47, 0x50),
		"no ACK":                     set(47, 0),
		"window":                     set(49, 9),
		"urgent pointer":             set(53, 9),
		"the payload's first bit":    func(f *Frame) { f.Data[54] ^= 0x80 },
		"the checksum":               func(f *Frame) { f.Data[50] ^= 1 },
		"the IP header's checksum":   func(f *Frame) { f.Data[24] ^= 1 },
		"IP length":                  func(f *Frame) { f.Data[17]--; resum(f.Data) },
		"padding":                    func(f *Frame) { f.Data = append(f.Data, 0, 0) },
		"a longer payload":           func(f *Frame) { f.Data = append(f.Data, 1, 2); f.Data[17] += 2; resumAll(f.Data) },
		"nothing but headers":        func(f *Frame) { f.Data = f.Data[:54]; f.Data[16], f.Data[17] = 0, 40; resumAll(f.Data) },
		"cut in the TCP header":      func(f *Frame) { f.Data = f.Data[:50] },
		"cut in the IP header":       func(f *Frame) { f.Data = f.Data[:30] },
		"cut in the Ethernet header": func(f *Frame) { f.Data = f.Data[:13] },
		"an unfinished checksum":     func(f *Frame) { f.Needs, f.ChecksumStart, f.ChecksumOffset = Checksum, 34, 16 },
		"a super-frame":              func(f *Frame) { f.Needs, f.SegmentSize, f.ChecksumStart, f.ChecksumOffset = Checksum|TSO4, 10, 34, 16 },
	} {
		segments := segmentsOf(t, superFrame{payload: 300, size: 100, flags: header.TCPFlagAck}.build())
		change(&segments[1])
		var j Coalescer
		if f, payload, n := j.Join(segments, everything); n != 1 || payload != nil || &f.Data[0] != &segments[0].Data[0] {
			t.Errorf("another %s: %d frames joined", name, n)
		}
		if _, _, n := j.Join(segments[1:], everything); n > 2 || len(segments[1:]) < n {
			t.Errorf("another %s: %d frames joined from the second on", name, n)
		}
	}
}

func TestWhatEndsARun(t *testing.T) {
	build := func(c superFrame) []Frame { return segmentsOf(t, c.build()) }
	var j Coalescer
	push := build(superFrame{payload: 500, size: 100, flags: header.TCPFlagAck})
	push[2].Data[47] |= 8
	resumAll(push[2].Data)
	if _, _, n := j.Join(push, everything); n != 3 {
		t.Errorf("a pushed segment ends a run of %d, want 3", n)
	}
	short := append(build(superFrame{udp: true, payload: 250, size: 100}), build(superFrame{udp: true, payload: 250, size: 100})...)
	for i := range short { // one flow, identifications in a row
		binary.BigEndian.PutUint16(short[i].Data[18:], uint16(i))
		resum(short[i].Data)
	}
	if _, _, n := j.Join(short, everything); n != 3 {
		t.Errorf("a short datagram ends a run of %d, want 3", n)
	}
	many := build(superFrame{udp: true, payload: 20 * 200, size: 20})
	if _, _, n := j.Join(many, everything); n != maxJoined {
		t.Errorf("%d joined, want %d", n, maxJoined)
	}
	long := build(superFrame{payload: 65000, size: 1448, flags: header.TCPFlagAck})
	next := build(superFrame{payload: 65000, size: 1448, flags: header.TCPFlagAck})
	for i := range next {
		binary.BigEndian.PutUint16(next[i].Data[18:], uint16(firstID+len(long)+i))
		binary.BigEndian.PutUint32(next[i].Data[38:], uint32(firstSeq)+uint32(65000+1448*i))
		resumAll(next[i].Data)
	}
	full := append(long[:44:44], next...)
	for i := range full { // as if the short last one were not
		binary.BigEndian.PutUint16(full[i].Data[18:], uint16(i))
		binary.BigEndian.PutUint32(full[i].Data[38:], uint32(1448*i))
		resumAll(full[i].Data)
	}
	f, payload, n := j.Join(full, everything)
	if whole := flatten(f, payload); n != 45 || len(whole.Data) > 14+65535 {
		t.Errorf("%d segments joined to %d bytes", n, len(whole.Data))
	}
}

func TestJoinKeepsToWhatIsTaken(t *testing.T) {
	for _, c := range joinable {
		f := c.build()
		segments := segmentsOf(t, f)
		kind := f.Needs & Segmentation
		var j Coalescer
		for _, takes := range []Offloads{0, Checksum, kind, everything &^ kind} {
			if _, _, n := j.Join(segments, takes); n != 1 {
				t.Errorf("%+v: %d joined for a port that takes %v", c, n, takes)
			}
		}
	}
}

// Packets that must not be fragmented may all have one identification.
func TestOneIdentification(t *testing.T) {
	segments := segmentsOf(t, superFrame{payload: 500, size: 100, flags: header.TCPFlagAck}.build())
	for i := range segments {
		binary.BigEndian.PutUint16(segments[i].Data[18:], 0)
		resum(segments[i].Data)
	}
	var j Coalescer
	if _, _, n := j.Join(segments, everything); n != 5 {
		t.Errorf("%d joined", n)
	}
	for i := range segments {
		segments[i].Data[20] = 0 // may be fragmented
		resum(segments[i].Data)
	}
	if _, _, n := j.Join(segments, everything); n != 1 {
		t.Errorf("%d joined that may be fragmented", n)
	}
}

// Frames whose checksums the kernel has still to add are joined without them.
func TestUnfinishedFramesAreJoined(t *testing.T) {
	original := superFrame{udp: true, payload: 64 * 10, size: 64}.build()
	segments := segmentsOf(t, original)
	for i := range segments {
		s := &segments[i]
		s.Needs, s.ChecksumStart, s.ChecksumOffset = Checksum, original.ChecksumStart, original.ChecksumOffset
		u := s.Data[s.ChecksumStart:]
		binary.BigEndian.PutUint16(u[6:], PseudoSum(s.Data[26:30], s.Data[30:34], 17, len(u)))
	}
	var j Coalescer
	f, payload, n := j.Join(segments, everything)
	if whole := flatten(f, payload); n != 10 || !bytes.Equal(whole.Data, original.Data) {
		t.Errorf("%d joined", n)
	}
}

func TestJoinAllocatesNothing(t *testing.T) {
	segments := segmentsOf(t, joinable[1].build())
	var j Coalescer
	j.Join(segments, everything)
	if n := testing.AllocsPerRun(100, func() { j.Join(segments, everything) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// fuzzFrames cuts fuzz data into frames, each behind its length.
func fuzzFrames(data []byte) (batch []Frame) {
	for len(data) >= 2 && len(batch) < 100 {
		n := min(int(binary.BigEndian.Uint16(data)), len(data)-2)
		batch = append(batch, Frame{Data: bytes.Clone(data[2 : 2+n])})
		data = data[2+n:]
	}
	return batch
}

// Whatever frames come: what is joined is cut into the same frames again.
func FuzzJoin(f *testing.F) {
	for _, c := range joinable {
		var data []byte
		for _, s := range segmentsOf(f, c.build()) {
			data = append(binary.BigEndian.AppendUint16(data, uint16(len(s.Data))), s.Data...)
		}
		f.Add(data, byte(everything))
	}
	f.Fuzz(func(t *testing.T, data []byte, takes byte) {
		batch := fuzzFrames(data)
		var j Coalescer
		for len(batch) > 0 {
			before := make([][]byte, len(batch))
			for i := range batch {
				before[i] = bytes.Clone(batch[i].Data)
			}
			joined, payload, n := j.Join(batch, Offloads(takes)&everything)
			if n < 1 || n > len(batch) {
				t.Fatalf("%d of %d joined", n, len(batch))
			}
			for i := range batch {
				if !bytes.Equal(batch[i].Data, before[i]) {
					t.Fatalf("frame %d was changed", i)
				}
			}
			if n == 1 {
				if payload != nil || len(batch[0].Data) != len(joined.Data) {
					t.Fatal("a single frame is not itself")
				}
			} else {
				compareCut(t, flatten(joined, payload), before[:n])
			}
			batch = batch[n:]
		}
	})
}

func compareCut(t *testing.T, whole Frame, want [][]byte) {
	out := segmentsOf(t, whole)
	if len(out) != len(want) {
		t.Fatalf("%d frames become %d", len(want), len(out))
	}
	for i := range out {
		got := out[i].Data
		if h, _ := ParseHeader(got); h.Type == TypeIPv4 && got[h.Len+6]&0x40 != 0 {
			// The identification, and so the header's checksum, may differ.
			for _, b := range [][]byte{got, want[i]} {
				copy(b[h.Len+4:h.Len+6], "id")
				copy(b[h.Len+10:h.Len+12], "cs")
			}
		}
		if !bytes.Equal(got, want[i]) {
			t.Fatalf("frame %d was\n%x, becomes\n%x", i, want[i], got)
		}
	}
}

func BenchmarkJoin(b *testing.B) {
	for name, c := range map[string]superFrame{
		"TCP4":   {payload: 44 * 1448, size: 1448, tcpOptions: 12, flags: header.TCPFlagAck},
		"UDP-64": {udp: true, payload: 64 * 64, size: 64},
	} {
		b.Run(name, func(b *testing.B) {
			original := c.build()
			segments := segmentsOf(b, original)
			var j Coalescer
			b.SetBytes(int64(len(original.Data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, n := j.Join(segments, everything); n != len(segments) {
					b.Fatal(n)
				}
			}
		})
	}
}
