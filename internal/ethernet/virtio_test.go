package ethernet

import (
	"encoding/binary"
	"reflect"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func virtio(flags, kind byte, size, start, offset uint16) (h [VirtioLen]byte) {
	h[0], h[1] = flags, kind
	binary.NativeEndian.PutUint16(h[4:], size)
	binary.NativeEndian.PutUint16(h[6:], start)
	binary.NativeEndian.PutUint16(h[8:], offset)
	return h
}

func TestParseVirtio(t *testing.T) {
	for _, c := range []struct {
		name  string
		head  [VirtioLen]byte
		shift int
		ok    bool
		want  Frame // without Data
	}{
		{"plain", virtio(0, 0, 0, 0, 0), 0, true, Frame{}},
		{"verified by the card", virtio(2, 0, 0, 0, 0), 0, true, Frame{}},
		{"tagged", virtio(0, 0, 0, 0, 0), VLANLen, true, Frame{}},
		{"checksum missing", virtio(1, 0, 0, 34, 6), 0, true, Frame{Needs: Checksum, ChecksumStart: 34, ChecksumOffset: 6}},
		{"checksum missing, tagged", virtio(1, 0, 0, 34, 6), VLANLen, true, Frame{Needs: Checksum, ChecksumStart: 38, ChecksumOffset: 6}},
		{"tcp4", virtio(1, virtioTCP4, 1448, 34, 16), 0, true, Frame{Needs: Checksum | TSO4, SegmentSize: 1448, ChecksumStart: 34, ChecksumOffset: 16}},
		{"tcp6 with ecn", virtio(1, virtioTCP6|virtioECN, 1428, 54, 16), 0, true, Frame{Needs: Checksum | TSO6, SegmentSize: 1428, ChecksumStart: 54, ChecksumOffset: 16}},
		{"udp", virtio(1, virtioUDP, 1472, 34, 6), 0, true, Frame{Needs: Checksum | USO, SegmentSize: 1472, ChecksumStart: 34, ChecksumOffset: 6}},
		{"super-frame without checksum", virtio(0, virtioTCP4, 1448, 0, 0), 0, false, Frame{}},
		{"super-frame without segment size", virtio(1, virtioTCP4, 0, 34, 16), 0, false, Frame{}},
		{"unknown kind", virtio(1, 3, 1448, 34, 16), 0, false, Frame{}},
		{"checksum behind the end", virtio(1, 0, 0, 99, 0), 0, false, Frame{}},
		{"checksum in the header", virtio(1, 0, 0, 13, 0), 0, false, Frame{}},
		{"numbers at their limits", virtio(1, 0, 0xffff, 0xffff, 0xffff), 0, false, Frame{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := make([]byte, 100+c.shift)
			f, ok := ParseVirtio(c.head[:], data, c.shift)
			if ok != c.ok {
				t.Fatalf("taken: %v", ok)
			}
			if !ok {
				return
			}
			f.Data = nil
			if f.Needs != c.want.Needs || f.SegmentSize != c.want.SegmentSize || f.ChecksumStart != c.want.ChecksumStart || f.ChecksumOffset != c.want.ChecksumOffset {
				t.Errorf("%+v, want %+v", f, c.want)
			}
		})
	}
}

func FuzzParseVirtio(f *testing.F) {
	f.Add([]byte("\x01\x01\x00\x00\xa8\x05\x22\x00\x10\x00"), false, make([]byte, 100))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), true, make([]byte, 18))
	f.Fuzz(func(t *testing.T, head []byte, tagged bool, data []byte) {
		shift := 0
		if tagged {
			shift = VLANLen
		}
		if len(head) != VirtioLen || len(data) < HeaderLen+shift {
			return
		}
		fr, ok := ParseVirtio(head, data, shift)
		if !ok {
			return
		}
		if fr.Needs != 0 && int(fr.ChecksumStart)+int(fr.ChecksumOffset)+2 > len(fr.Data) {
			t.Fatalf("a checksum outside of the frame: %+v", fr)
		}
		if fr.Needs&Segmentation != 0 && fr.SegmentSize == 0 {
			t.Fatal("a super-frame without segments")
		}
		// Whatever it says, cutting it stays inside the frame and makes whole frames.
		var s Segmenter
		var drops Drops
		for _, out := range s.Finish([]Frame{fr}, 0, MaxFrameLen, &drops) {
			if out.Needs != 0 || len(out.Data) < HeaderLen || len(out.Data) > MaxFrameLen {
				t.Fatalf("a frame of %d bytes that needs %v", len(out.Data), out.Needs)
			}
		}
	})
}

// What is written is what is read.
func TestPutVirtio(t *testing.T) {
	for _, c := range []superFrame{
		{payload: 3000, size: 1000, flags: header.TCPFlagAck}, {v6: true, payload: 3000, size: 1000, flags: header.TCPFlagAck | 0x80},
		{udp: true, payload: 3000, size: 1000}, {udp: true, v6: true, vlans: 1, payload: 3000, size: 1000},
		{vlans: 2, tcpOptions: 12, payload: 100, size: 40, flags: header.TCPFlagAck},
	} {
		f := c.build()
		var head [VirtioLen]byte
		f.PutVirtio(head[:])
		got, ok := ParseVirtio(head[:], f.Data, 0)
		if !ok || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v comes back as %+v", c, got)
		}
		if ecn := head[1]&virtioECN != 0; ecn != (c.flags&0x80 != 0) {
			t.Errorf("%+v: ecn %v", c, ecn)
		}
		if n := int(binary.NativeEndian.Uint16(head[2:])); n != len(f.Data)-c.payload {
			t.Errorf("%+v: hdr_len %d", c, n)
		}
	}
	head := [VirtioLen]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	(&Frame{Data: make([]byte, 60)}).PutVirtio(head[:])
	if head != [VirtioLen]byte{} {
		t.Errorf("a finished frame has the header % x", head)
	}
}
