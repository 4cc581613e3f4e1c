package ethernet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// superFrame describes a super-frame that a test builds with gVisor's encoders,
// which are no relation of the code under test.
type superFrame struct {
	vlans      int
	v6, udp    bool
	ipOptions  int // bytes, a multiple of 4; of IPv6 extension headers, of 8
	tcpOptions int // bytes, a multiple of 4
	flags      header.TCPFlags
	payload    int
	size       uint16
}

const (
	firstID  = 65534 // so that it wraps
	firstSeq = 0xfffffa00
)

func (c superFrame) build() Frame {
	src, dst := tcpip.AddrFrom4([4]byte{10, 0, 0, 1}), tcpip.AddrFrom4([4]byte{10, 0, 0, 2})
	if c.v6 {
		src, dst = tcpip.AddrFrom16([16]byte{0xfd, 15: 1}), tcpip.AddrFrom16([16]byte{0xfd, 15: 2})
	}
	f := Frame{SegmentSize: c.size, Needs: Checksum | TSO4}
	data := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	for range c.vlans {
		data = append(data, 0x81, 0, 0, 5)
	}
	proto, thl := tcpip.TransportProtocolNumber(header.TCPProtocolNumber), 20+c.tcpOptions
	if c.udp {
		proto, thl = header.UDPProtocolNumber, 8
	}
	if c.v6 {
		f.Needs = Checksum | TSO6
		data = append(data, 0x86, 0xdd)
		ip := make([]byte, 40+c.ipOptions)
		header.IPv6(ip).Encode(&header.IPv6Fields{PayloadLength: uint16(c.ipOptions + thl + c.payload),
			TransportProtocol: proto, HopLimit: 64, SrcAddr: src, DstAddr: dst})
		if c.ipOptions > 0 {
			ip[6], ip[40], ip[41] = destinationOptions, byte(proto), byte(c.ipOptions/8-1)
			ip[42], ip[43] = 1, byte(c.ipOptions-4) // PadN
		}
		data = append(data, ip...)
	} else {
		data = append(data, 8, 0)
		ip := make([]byte, 20+c.ipOptions)
		header.IPv4(ip).Encode(&header.IPv4Fields{TotalLength: uint16(len(ip) + thl + c.payload), ID: firstID,
			Flags: header.IPv4FlagDontFragment, TTL: 64, Protocol: uint8(proto), SrcAddr: src, DstAddr: dst})
		ip[0] = 0x40 | byte(len(ip)/4)
		for i := 20; i < len(ip); i++ {
			ip[i] = 1 // no operation
		}
		header.IPv4(ip).SetChecksum(^header.IPv4(ip).CalculateChecksum())
		data = append(data, ip...)
	}
	f.ChecksumStart = uint16(len(data))
	pseudo := header.PseudoHeaderChecksum(proto, src, dst, uint16(thl+c.payload))
	t := make([]byte, thl)
	if c.udp {
		f.Needs, f.ChecksumOffset = Checksum|USO, udpChecksum
		header.UDP(t).Encode(&header.UDPFields{SrcPort: 1, DstPort: 2, Length: uint16(thl + c.payload), Checksum: pseudo})
	} else {
		f.ChecksumOffset = tcpChecksum
		header.TCP(t).Encode(&header.TCPFields{SrcPort: 1, DstPort: 2, SeqNum: firstSeq, AckNum: 7,
			DataOffset: uint8(thl), Flags: c.flags, WindowSize: 100, Checksum: pseudo})
		for i := 20; i < thl; i++ {
			t[i] = 1
		}
	}
	f.Data = append(data, t...)
	for i := range c.payload {
		f.Data = append(f.Data, byte(i*7+i>>8))
	}
	return f
}

// check looks at what became of the super-frame original, and gives the payloads.
func (c superFrame) check(t testing.TB, original []byte, out []Frame, maxFrame int) (payload []byte) {
	t.Helper()
	for i, f := range out {
		if f.Needs != 0 || f.SegmentSize != 0 || len(f.Data) > maxFrame {
			t.Fatalf("segment %d is not finished: needs %b, %d bytes of %d", i, f.Needs, len(f.Data), maxFrame)
		}
		network := HeaderLen + 4*c.vlans
		if !bytes.Equal(f.Data[:network], original[:network]) {
			t.Fatalf("segment %d has another Ethernet header: % x", i, f.Data[:network])
		}
		ip := f.Data[network:]
		var src, dst tcpip.Address
		var transport []byte
		if c.v6 {
			h := header.IPv6(ip)
			if !h.IsValid(len(ip)) || int(h.PayloadLength()) != len(ip)-40 {
				t.Fatalf("segment %d: IPv6 header is invalid: % x", i, ip[:40])
			}
			src, dst, transport = h.SourceAddress(), h.DestinationAddress(), ip[40+c.ipOptions:]
			if !bytes.Equal(ip[40:40+c.ipOptions], original[network+40:network+40+c.ipOptions]) {
				t.Fatalf("segment %d: extension header changed", i)
			}
		} else {
			h := header.IPv4(ip)
			if !h.IsValid(len(ip)) || int(h.TotalLength()) != len(ip) || !h.IsChecksumValid() || h.ID() != uint16(firstID+i) {
				t.Fatalf("segment %d: IPv4 header is invalid: % x", i, ip[:h.HeaderLength()])
			}
			src, dst, transport = h.SourceAddress(), h.DestinationAddress(), ip[h.HeaderLength():]
		}
		if c.udp {
			h := header.UDP(transport)
			data := transport[8:]
			if int(h.Length()) != len(transport) || h.Checksum() == 0 || !h.IsChecksumValid(src, dst, checksum.Checksum(data, 0)) {
				t.Fatalf("segment %d: UDP header is wrong: % x", i, transport[:8])
			}
			payload = append(payload, data...)
			continue
		}
		h := header.TCP(transport)
		data := transport[h.DataOffset():]
		if !h.IsChecksumValid(src, dst, checksum.Checksum(data, 0), uint16(len(data))) {
			t.Fatalf("segment %d: TCP checksum is wrong", i)
		}
		seq := uint32(firstSeq)
		if h.SequenceNumber() != seq+uint32(len(payload)) || h.AckNumber() != 7 || int(h.DataOffset()) != 20+c.tcpOptions {
			t.Fatalf("segment %d: sequence number %d, ack %d, header %d", i, h.SequenceNumber(), h.AckNumber(), h.DataOffset())
		}
		want := c.flags
		if i < len(out)-1 {
			want &^= header.TCPFlagFin | header.TCPFlagPsh
		}
		if i > 0 {
			want &^= flagCWR
		}
		if h.Flags() != want {
			t.Fatalf("segment %d of %d: flags %v, want %v", i, len(out), h.Flags(), want)
		}
		payload = append(payload, data...)
	}
	return payload
}

func TestSegments(t *testing.T) {
	const all = header.TCPFlagAck | header.TCPFlagFin | header.TCPFlagPsh | flagCWR
	for _, tt := range []struct {
		name     string
		c        superFrame
		segments int
	}{
		{"tcp4", superFrame{flags: all, payload: 4000, size: 1460}, 3},
		{"tcp4, all full", superFrame{flags: all, payload: 4380, size: 1460}, 3},
		{"tcp4, largest", superFrame{flags: all, payload: 65495, size: 1460}, 45},
		{"tcp4 with options and a tag", superFrame{flags: all, vlans: 1, ipOptions: 40, tcpOptions: 12, payload: 3000, size: 1001}, 3},
		{"tcp4, one segment", superFrame{flags: all, payload: 100, size: 1460}, 1},
		{"tcp4, no payload", superFrame{flags: all, size: 1460}, 1},
		{"tcp6", superFrame{v6: true, flags: all, payload: 4001, size: 1440}, 3},
		{"tcp6 with extension headers and two tags", superFrame{v6: true, vlans: 2, ipOptions: 16, tcpOptions: 40, flags: all, payload: 5000, size: 1300}, 4},
		{"udp4", superFrame{udp: true, payload: 5001, size: 1000}, 6},
		{"udp6", superFrame{udp: true, v6: true, payload: 3000, size: 1000}, 3},
		{"udp6 with extension headers", superFrame{udp: true, v6: true, ipOptions: 8, payload: 2999, size: 1000}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.c.build()
			original := bytes.Clone(f.Data)
			var s Segmenter
			var drops Drops
			maxFrame := FrameLen(MTU)
			out := s.Finish([]Frame{f}, 0, maxFrame, &drops)
			if len(out) != tt.segments || drops.Total() != 0 {
				t.Fatalf("%d segments and %d drops, want %d and none", len(out), drops.Total(), tt.segments)
			}
			payload := tt.c.check(t, original, out, maxFrame)
			if !bytes.Equal(payload, original[len(original)-tt.c.payload:]) {
				t.Error("the segments' payloads are not the super-frame's")
			}
			for i, f := range out[:len(out)-1] {
				if n := len(f.Data) - len(out[0].Data); n != 0 {
					t.Errorf("segment %d is %d bytes longer than the first", i, n)
				}
			}
		})
	}
}

func TestFinishLeavesWhatPasses(t *testing.T) {
	plain := Frame{Data: make([]byte, 60)}
	super := superFrame{payload: 4000, size: 1460}.build()
	super6 := superFrame{v6: true, payload: 4000, size: 1440}.build()
	partial := Frame{Data: superFrame{payload: 10, size: 1}.build().Data, Needs: Checksum, ChecksumStart: 34, ChecksumOffset: 16}
	for _, tt := range []struct {
		name  string
		batch []Frame
		takes Offloads
	}{
		{"plain", []Frame{plain, plain}, 0},
		{"checksum", []Frame{plain, partial}, Checksum},
		{"super-frames", []Frame{super, super6, partial}, Checksum | TSO4 | TSO6},
		{"nothing", nil, 0},
	} {
		var s Segmenter
		var drops Drops
		out := s.Finish(tt.batch, tt.takes, 1514, &drops)
		if len(out) != len(tt.batch) || len(out) > 0 && &out[0] != &tt.batch[0] || drops.Total() != 0 {
			t.Errorf("%s: the batch did not come back as it was", tt.name)
		}
	}
}

func TestFinishCompletesChecksums(t *testing.T) {
	c := superFrame{flags: header.TCPFlagAck | header.TCPFlagPsh, payload: 333, size: 1}
	f := c.build()
	f.Needs, f.SegmentSize = Checksum, 0
	original := bytes.Clone(f.Data)
	before := Frame{Data: make([]byte, 60)}
	var s Segmenter
	var drops Drops
	out := s.Finish([]Frame{before, f, before}, 0, 1514, &drops)
	if len(out) != 3 || len(out[0].Data) != 60 || len(out[2].Data) != 60 {
		t.Fatalf("%d frames came back, want 3 in their order", len(out))
	}
	if payload := c.check(t, original, out[1:2], 1514); len(payload) != 333 {
		t.Errorf("%d bytes of payload, want 333", len(payload))
	}
}

// A UDP checksum that comes out as zero must be sent as all ones (RFC 768).
func TestFinishNeverSendsNoChecksum(t *testing.T) {
	c := superFrame{udp: true, payload: 2, size: 100}
	f := c.build()
	f.Needs, f.SegmentSize = Checksum, 0
	payload := f.Data[len(f.Data)-2:]
	payload[0], payload[1] = 0, 0
	sum := InternetSum(f.Data[f.ChecksumStart:], 0)
	binary.BigEndian.PutUint16(payload, ^sum) // now the sum of all is 0xffff
	original := bytes.Clone(f.Data)
	var s Segmenter
	var drops Drops
	out := s.Finish([]Frame{f}, 0, 1514, &drops)
	c.check(t, original, out, 1514)
	if got := binary.BigEndian.Uint16(out[0].Data[40:]); got != 0xffff {
		t.Errorf("checksum %#04x, want 0xffff", got)
	}
}

func TestFinishDrops(t *testing.T) {
	good := superFrame{payload: 4000, size: 1460}
	spoil := func(c superFrame, change func(*Frame)) Frame {
		f := c.build()
		change(&f)
		return f
	}
	six := superFrame{v6: true, ipOptions: 8, payload: 4000, size: 1400}
	for _, tt := range []struct {
		name   string
		f      Frame
		reason Reason
	}{
		{"runt", Frame{Data: make([]byte, 13)}, Runt},
		{"super-runt", Frame{Data: make([]byte, 5), Needs: TSO4, SegmentSize: 9}, Runt},
		{"empty", Frame{}, Runt},
		{"long", Frame{Data: make([]byte, 1515)}, Oversize},
		{"too long for anything", Frame{Data: make([]byte, MaxFrameLen+1), Needs: TSO4, SegmentSize: 1000}, Oversize},
		{"segments too long", superFrame{payload: 4000, size: 1461}.build(), Oversize},
		{"checksum behind the end", Frame{Data: make([]byte, 60), Needs: Checksum, ChecksumStart: 50, ChecksumOffset: 16}, Malformed},
		{"checksum in the Ethernet header", Frame{Data: make([]byte, 60), Needs: Checksum, ChecksumStart: 0, ChecksumOffset: 6}, Malformed},
		{"no segment size", spoil(good, func(f *Frame) { f.SegmentSize = 0 }), Malformed},
		{"too many segments", spoil(good, func(f *Frame) { f.SegmentSize = 1 }), Malformed},
		{"other kind of IP", spoil(good, func(f *Frame) { f.Needs = TSO6 }), Malformed},
		{"other transport", spoil(good, func(f *Frame) { f.Needs = USO }), Malformed},
		{"two kinds", spoil(good, func(f *Frame) { f.Needs = TSO4 | TSO6 }), Malformed},
		{"checksum elsewhere", spoil(good, func(f *Frame) { f.ChecksumStart++ }), Malformed},
		{"not IP", spoil(good, func(f *Frame) { f.Data[12] = 0x86 }), Malformed},
		{"cut off", spoil(good, func(f *Frame) { f.Data = f.Data[:len(f.Data)-1] }), Malformed},
		{"short IP header", spoil(good, func(f *Frame) { f.Data[14] = 0x44 }), Malformed},
		{"long TCP header", spoil(superFrame{payload: 0, size: 1}, func(f *Frame) { f.Data[46] = 0xf0 }), Malformed},
		{"short TCP header", spoil(good, func(f *Frame) { f.Data[46] = 0x40 }), Malformed},
		{"fragment", spoil(good, func(f *Frame) { f.Data[20] = 0x20 }), Malformed},
		{"extension header behind the end", spoil(six, func(f *Frame) { f.Data[55] = 255; f.Data = f.Data[:len(f.Data):len(f.Data)] }), Malformed},
		{"IPv6 fragment", spoil(six, func(f *Frame) { f.Data[20] = 44 }), Malformed},
		{"routing header in use", spoil(six, func(f *Frame) { f.Data[20], f.Data[57] = routing, 1 }), Malformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good := Frame{Data: make([]byte, 60)}
			var s Segmenter
			var drops Drops
			out := s.Finish([]Frame{good, tt.f, good}, 0, 1514, &drops)
			if len(out) != 2 || drops.Count(tt.reason) != 1 || drops.Total() != 1 {
				t.Errorf("%d of 2 good frames came back; %d drops, %d as %s", len(out), drops.Total(), drops.Count(tt.reason), tt.reason)
			}
		})
	}
}

func TestFinishKeepsItsStorage(t *testing.T) {
	super := superFrame{payload: 60000, size: 1460}.build()
	partial := superFrame{payload: 100, size: 1}.build()
	partial.Needs = Checksum
	batch := []Frame{super, partial, super}
	var s Segmenter
	var drops Drops
	if n := testing.AllocsPerRun(20, func() { s.Finish(batch, 0, 1514, &drops) }); n != 0 {
		t.Errorf("%v allocations for each batch, want none", n)
	}
}

// FuzzFinish checks two things of arbitrary frames and arbitrary super-frames:
// the first do no harm, and the second come out whole.
func FuzzFinish(f *testing.F) {
	s := superFrame{payload: 4000, size: 1460}.build()
	f.Add(s.Data, byte(s.Needs), s.SegmentSize, s.ChecksumStart, s.ChecksumOffset, byte(0), uint16(1514))
	s = superFrame{v6: true, ipOptions: 8, udp: true, payload: 4000, size: 1000}.build()
	f.Add(s.Data, byte(s.Needs), s.SegmentSize, s.ChecksumStart, s.ChecksumOffset, byte(1), uint16(1514))
	f.Fuzz(func(t *testing.T, data []byte, needs byte, size, start, offset uint16, takes byte, maxFrame uint16) {
		var s Segmenter
		var drops Drops
		in := Frame{Data: bytes.Clone(data), Needs: Offloads(needs) & (Checksum | Segmentation), SegmentSize: size, ChecksumStart: start, ChecksumOffset: offset}
		out := s.Finish([]Frame{in}, Offloads(takes), int(maxFrame), &drops)
		if (len(out) == 0) != (drops.Total() == 1) {
			t.Fatalf("%d frames and %d drops", len(out), drops.Total())
		}
		for _, f := range out {
			if !Offloads(takes).Takes(&f) || len(f.Data) < HeaderLen || f.Needs&Segmentation == 0 && len(f.Data) > int(maxFrame) {
				t.Fatalf("a frame of %d bytes that needs %b does not fit the port", len(f.Data), f.Needs)
			}
		}
		c := superFrame{vlans: int(needs) % 3, v6: needs&4 != 0, udp: needs&8 != 0, ipOptions: int(takes) % 5 * 8,
			tcpOptions: int(takes>>4) % 11 * 4, flags: header.TCPFlags(takes), payload: int(start) % 9000, size: max(200, size%9000)}
		super := c.build()
		original := bytes.Clone(super.Data)
		drops = Drops{}
		out = s.Finish([]Frame{super}, 0, 10000, &drops)
		if drops.Total() != 0 {
			t.Fatalf("%+v was dropped", c)
		}
		if !bytes.Equal(c.check(t, original, out, 10000), original[len(original)-c.payload:]) {
			t.Fatalf("%+v: the payload changed", c)
		}
	})
}

func BenchmarkFinish(b *testing.B) {
	batch := []Frame{superFrame{payload: 64000, size: 1460}.build()}
	var s Segmenter
	var drops Drops
	b.SetBytes(int64(len(batch[0].Data)))
	b.ReportAllocs()
	for b.Loop() {
		s.Finish(batch, 0, 1514, &drops)
	}
}

func TestLongest(t *testing.T) {
	plain := Frame{Data: make([]byte, 60)}
	super := superFrame{payload: 4000, size: 1460}.build()
	short := superFrame{payload: 10, size: 1460}.build()
	for _, c := range []struct {
		batch []Frame
		want  int
	}{{nil, 0}, {[]Frame{plain}, 60}, {[]Frame{plain, super}, 1514}, {[]Frame{short}, 64}, {[]Frame{super, {Data: make([]byte, 9014)}, plain}, 9014}} {
		if got := Longest(c.batch); got != c.want {
			t.Errorf("%d, want %d", got, c.want)
		}
	}
}
