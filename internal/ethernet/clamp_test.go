package ethernet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// syn is a SYN with TCP options, finished or with an unfinished checksum.
func syn(c superFrame, options []byte, finished bool) Frame {
	c.flags, c.tcpOptions = header.TCPFlagSyn, len(options)
	f := c.build()
	copy(f.Data[len(f.Data)-len(options)-c.payload:], options)
	f.Needs, f.SegmentSize = Checksum, 0
	if finished {
		var s Segmenter
		var drops Drops
		return s.Finish([]Frame{f}, 0, MaxFrameLen, &drops)[0]
	}
	return f
}

// validTCP says whether the frame's TCP checksum is right, by gVisor's reckoning.
func validTCP(c superFrame, f *Frame) bool {
	ip := f.Data[HeaderLen+4*c.vlans:]
	if c.v6 {
		h := header.IPv6(ip)
		t := header.TCP(ip[40+c.ipOptions:])
		return t.IsChecksumValid(h.SourceAddress(), h.DestinationAddress(), checksum.Checksum(t[t.DataOffset():], 0), uint16(len(t)-int(t.DataOffset())))
	}
	h := header.IPv4(ip)
	t := header.TCP(ip[h.HeaderLength():])
	return t.IsChecksumValid(h.SourceAddress(), h.DestinationAddress(), checksum.Checksum(t[t.DataOffset():], 0), uint16(len(t)-int(t.DataOffset())))
}

func TestClampMSS(t *testing.T) {
	mss := func(n uint16) []byte { return []byte{2, 4, byte(n >> 8), byte(n)} }
	for _, c := range []struct {
		name    string
		frame   superFrame
		options []byte
		limit   int
		want    []byte
	}{
		{"IPv4", superFrame{}, mss(1460), 1464, mss(1410)}, // 1492 less 28 of the outer headers, as OpenVPN
		{"IPv4, tagged", superFrame{vlans: 1}, mss(1460), 1464, mss(1406)},
		{"IPv4, tagged twice", superFrame{vlans: 2}, mss(1460), 1464, mss(1402)},
		{"IPv4 with options", superFrame{ipOptions: 8}, mss(1460), 1464, mss(1410)},
		{"IPv6", superFrame{v6: true}, mss(1440), 1464, mss(1390)},
		{"IPv6 with an extension header", superFrame{v6: true, ipOptions: 8}, mss(1440), 1464, mss(1390)},
		{"with a payload", superFrame{payload: 33}, mss(1460), 1464, mss(1410)},
		{"lower already", superFrame{}, mss(536), 1464, mss(536)},
		{"equal", superFrame{}, mss(1410), 1464, mss(1410)},
		{"behind others, at an odd place", superFrame{}, append([]byte{1}, append(mss(1460), 1, 1, 0)...), 1464, append([]byte{1}, append(mss(1410), 1, 1, 0)...)},
		{"behind a time stamp", superFrame{}, append([]byte{8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}, mss(1460)...), 1464, append([]byte{8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}, mss(1410)...)},
		{"behind the end", superFrame{}, append([]byte{0, 0, 0, 0}, mss(1460)...), 1464, append([]byte{0, 0, 0, 0}, mss(1460)...)},
		{"of a wrong length", superFrame{}, []byte{2, 3, 255, 1}, 1464, []byte{2, 3, 255, 1}},
		{"that reaches out", superFrame{}, []byte{1, 1, 2, 4}, 1464, []byte{1, 1, 2, 4}},
		{"of length 0", superFrame{}, []byte{3, 0, 2, 4}, 1464, []byte{3, 0, 2, 4}},
		{"none", superFrame{}, nil, 1464, nil},
		{"a tiny limit", superFrame{}, mss(1460), 10, mss(1)},
	} {
		for _, finished := range []bool{false, true} {
			f := syn(c.frame, c.options, finished)
			before := bytes.Clone(f.Data)
			if !MayOpenTCP(f.Data) {
				t.Errorf("%s: not seen", c.name)
			}
			ClampMSS(&f, c.limit)
			at := len(f.Data) - c.frame.payload - len(c.options)
			if got := f.Data[at : at+len(c.want)]; !bytes.Equal(got, c.want) {
				t.Errorf("%s: options % x, want % x", c.name, got, c.want)
			}
			if finished && !validTCP(c.frame, &f) {
				t.Errorf("%s: the checksum is wrong", c.name)
			}
			if !finished {
				copy(f.Data[at:], c.options)
				if !bytes.Equal(f.Data, before) {
					t.Errorf("%s: more than the options has changed", c.name)
				}
			}
		}
	}
}

func TestClampLeavesOtherFrames(t *testing.T) {
	f := syn(superFrame{}, []byte{2, 4, 5, 0xb4}, true)
	for name, change := range map[string]func(data []byte) []byte{
		"no SYN":            func(d []byte) []byte { d[47] = 0x10; return d },
		"UDP":               func(d []byte) []byte { d[23] = 17; return d },
		"a later fragment":  func(d []byte) []byte { d[21] = 1; return d },
		"ARP":               func(d []byte) []byte { d[13] = 6; return d },
		"cut":               func(d []byte) []byte { return d[:40] },
		"cut in options":    func(d []byte) []byte { return d[:56] },
		"cut in the header": func(d []byte) []byte { return d[:10] },
		"empty":             func(d []byte) []byte { return nil },
		"a wrong IP header": func(d []byte) []byte { d[14] = 0x41; return d },
	} {
		g := Frame{Data: change(bytes.Clone(f.Data))}
		before := bytes.Clone(g.Data)
		ClampMSS(&g, 1000)
		if !bytes.Equal(g.Data, before) {
			t.Errorf("%s: changed", name)
		}
	}
}

func FuzzClampMSS(f *testing.F) {
	for _, c := range []superFrame{{}, {vlans: 1}, {v6: true}, {ipOptions: 8}, {v6: true, ipOptions: 8}} {
		s := syn(c, []byte{2, 4, 5, 0xb4, 1, 1, 1, 0}, true)
		f.Add(s.Data, 1464)
	}
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		limit %= 1 << 17
		g := Frame{Data: bytes.Clone(data)}
		ClampMSS(&g, limit)
		if !MayOpenTCP(data) && !bytes.Equal(data, g.Data) {
			t.Fatal("changed, and not seen")
		}
		changed := 0
		for i := range data {
			if data[i] != g.Data[i] {
				changed++
			}
		}
		// Each option two bytes, and the checksum: at most nine options fit.
		if len(g.Data) != len(data) || changed > 2+2*10 {
			t.Fatalf("%d bytes changed", changed)
		}
		if changed > 0 && len(data) > 54 && binary.BigEndian.Uint16(data[12:]) == TypeIPv4 && data[14] == 0x45 {
			l := int(binary.BigEndian.Uint16(data[16:]))
			before, after := data[34:], g.Data[34:]
			if l == len(data)-14 && InternetSum(before, 0) != 0xffff && InternetSum(before, 0) != 0 {
				// What the checksum makes of the whole stays what it was.
				if a, b := InternetSum(before, 0), InternetSum(after, 0); a != b {
					t.Fatalf("the sum was %x, is %x", a, b)
				}
			}
		}
	})
}

func BenchmarkClampMSS(b *testing.B) {
	f := segmentsOf(b, superFrame{payload: 1448, size: 1448, tcpOptions: 12, flags: header.TCPFlagAck}.build())[0]
	for b.Loop() {
		ClampMSS(&f, 1464)
	}
}
