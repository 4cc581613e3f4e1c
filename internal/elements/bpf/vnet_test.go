package bpf

import (
	"bytes"
	"encoding/binary"
	"testing"

	"tmelink/internal/ethernet"
)

func vnet(flags, kind byte, size, start, offset uint16) (h [vnetLen]byte) {
	h[0], h[1] = flags, kind
	binary.NativeEndian.PutUint16(h[4:], size)
	binary.NativeEndian.PutUint16(h[6:], start)
	binary.NativeEndian.PutUint16(h[8:], offset)
	return h
}

func TestFinish(t *testing.T) {
	for _, c := range []struct {
		name string
		vnet [vnetLen]byte
		tag  uint32
		ok   bool
		want ethernet.Frame // without Data
	}{
		{"plain", vnet(0, 0, 0, 0, 0), 0, true, ethernet.Frame{}},
		{"verified by the card", vnet(2, 0, 0, 0, 0), 0, true, ethernet.Frame{}},
		{"tagged", vnet(0, 0, 0, 0, 0), 0x81000005, true, ethernet.Frame{}},
		{"checksum missing", vnet(1, 0, 0, 34, 6), 0, true, ethernet.Frame{Needs: ethernet.Checksum, ChecksumStart: 34, ChecksumOffset: 6}},
		{"checksum missing, tagged", vnet(1, 0, 0, 34, 6), 0x81000005, true, ethernet.Frame{Needs: ethernet.Checksum, ChecksumStart: 38, ChecksumOffset: 6}},
		{"tcp4", vnet(1, vnetTCP4, 1448, 34, 16), 0, true, ethernet.Frame{Needs: ethernet.Checksum | ethernet.TSO4, SegmentSize: 1448, ChecksumStart: 34, ChecksumOffset: 16}},
		{"tcp6 with ecn", vnet(1, vnetTCP6|vnetECN, 1428, 54, 16), 0, true, ethernet.Frame{Needs: ethernet.Checksum | ethernet.TSO6, SegmentSize: 1428, ChecksumStart: 54, ChecksumOffset: 16}},
		{"udp", vnet(1, vnetUDP, 1472, 34, 6), 0, true, ethernet.Frame{Needs: ethernet.Checksum | ethernet.USO, SegmentSize: 1472, ChecksumStart: 34, ChecksumOffset: 6}},
		{"super-frame without checksum", vnet(0, vnetTCP4, 1448, 0, 0), 0, false, ethernet.Frame{}},
		{"super-frame without segment size", vnet(1, vnetTCP4, 0, 34, 16), 0, false, ethernet.Frame{}},
		{"unknown kind", vnet(1, 3, 1448, 34, 16), 0, false, ethernet.Frame{}},
		{"checksum behind the end", vnet(1, 0, 0, 99, 0), 0, false, ethernet.Frame{}},
		{"checksum in the header", vnet(1, 0, 0, 13, 0), 0, false, ethernet.Frame{}},
		{"numbers at their limits", vnet(1, 0, 0xffff, 0xffff, 0xffff), 0, false, ethernet.Frame{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			buf := make([]byte, ethernet.VLANLen+100)
			for i := range buf[ethernet.VLANLen:] {
				buf[ethernet.VLANLen+i] = byte(i)
			}
			plain := bytes.Clone(buf[ethernet.VLANLen:])
			f, ok := finish(c.vnet, c.tag, buf)
			if ok != c.ok {
				t.Fatalf("taken: %v", ok)
			}
			if !ok {
				return
			}
			want := plain
			if c.tag != 0 {
				want = append(binary.BigEndian.AppendUint32(bytes.Clone(plain[:12]), c.tag), plain[12:]...)
			}
			if !bytes.Equal(f.Data, want) {
				t.Errorf("frame\n%x, want\n%x", f.Data, want)
			}
			f.Data = nil
			if f.Needs != c.want.Needs || f.SegmentSize != c.want.SegmentSize || f.ChecksumStart != c.want.ChecksumStart || f.ChecksumOffset != c.want.ChecksumOffset {
				t.Errorf("%+v, want %+v", f, c.want)
			}
		})
	}
}

func FuzzFinish(f *testing.F) {
	f.Add([]byte("\x01\x01\x00\x00\xa8\x05\x22\x00\x10\x00"), uint32(0), make([]byte, 100))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint32(0x81000001), make([]byte, 18))
	f.Fuzz(func(t *testing.T, head []byte, tag uint32, buf []byte) {
		if len(head) != vnetLen || len(buf) < ethernet.VLANLen+ethernet.HeaderLen {
			return
		}
		fr, ok := finish([vnetLen]byte(head), tag, buf)
		if !ok {
			return
		}
		if fr.Needs != 0 && int(fr.ChecksumStart)+int(fr.ChecksumOffset)+2 > len(fr.Data) {
			t.Fatalf("a checksum outside of the frame: %+v", fr)
		}
		if fr.Needs&ethernet.Segmentation != 0 && fr.SegmentSize == 0 {
			t.Fatal("a super-frame without segments")
		}
	})
}
