package ethernet

import (
	"bytes"
	"testing"
)

// tagged gives a frame with a tag before its own ones.
func tagged(f *Frame, vlan uint16) Frame {
	data, out := AppendTagged([]byte("before"), f, vlan)
	out.Data = bytes.TrimPrefix(data, []byte("before"))
	return out
}

func untagged(f *Frame) Frame {
	data, out := AppendUntagged([]byte("before"), f)
	out.Data = bytes.TrimPrefix(data, []byte("before"))
	return out
}

func equal(a, b Frame) bool {
	return bytes.Equal(a.Data, b.Data) && a.Needs == b.Needs && a.SegmentSize == b.SegmentSize &&
		a.ChecksumStart == b.ChecksumStart && a.ChecksumOffset == b.ChecksumOffset
}

// A super-frame is cut into the same segments whether it gets its tag before or
// after, and loses it without a trace.
func TestSuperFramesKeepTheirWorkThroughTags(t *testing.T) {
	for _, c := range []superFrame{
		{payload: 4000, size: 1460}, {v6: true, ipOptions: 8, payload: 4000, size: 1400}, {udp: true, payload: 5000, size: 1000},
		{vlans: 1, payload: 4000, size: 1460},
	} {
		super := c.build()
		with := tagged(&super, 300)
		if got := untagged(&with); !equal(got, super) {
			t.Errorf("%+v: untagged again it differs", c)
		}
		var before, after Segmenter
		var drops Drops
		plain := before.Finish([]Frame{super}, 0, MaxFrameLen, &drops)
		cut := after.Finish([]Frame{with}, 0, MaxFrameLen, &drops)
		if len(cut) != len(plain) || drops.Total() != 0 {
			t.Fatalf("%+v: %d segments, want %d; %d drops", c, len(cut), len(plain), drops.Total())
		}
		for i := range cut {
			if want := tagged(&plain[i], 300); !equal(cut[i], want) {
				t.Errorf("%+v: segment %d is\n%x, want\n%x", c, i, cut[i].Data[:60], want.Data[:60])
			}
		}
	}
}

func TestTags(t *testing.T) {
	short := Frame{Data: make([]byte, 42)} // as a TAP gives an ARP request
	wire := Frame{Data: bytes.Repeat([]byte{7}, MinFrame)}
	for _, f := range []Frame{short, wire} {
		with := tagged(&f, MaxVLAN)
		if n, err := VLAN(with.Data); !IsTagged(with.Data) || IsTagged(f.Data) || n != MaxVLAN || err != nil || len(with.Data) != len(f.Data)+VLANLen {
			t.Errorf("tagged it is %x: VLAN %d, %v", with.Data, n, err)
		}
		if got := untagged(&with); !equal(got, f) {
			t.Errorf("untagged it is %x", got.Data)
		}
	}
	// What a wire takes stays so without its tag.
	data := append(bytes.Clone(wire.Data[:12]), 0x81, 0, 0xa0, 0)
	f := Frame{Data: append(data, bytes.Repeat([]byte{7}, MinFrame-len(data))...)}
	SetVLAN(f.Data, 5)
	if n, _ := VLAN(f.Data); n != 5 || f.Data[14] != 0xa0 {
		t.Errorf("the tag is %x", f.Data[12:16])
	}
	if got := untagged(&f).Data; len(got) != MinFrame || !bytes.Equal(got[56:], make([]byte, 4)) {
		t.Errorf("without its tag it is %x", got)
	}
	if _, err := VLAN(f.Data[:17]); err != ErrShort {
		t.Errorf("a tag that is cut off: %v", err)
	}
}

// FuzzTags takes tags off and puts them on, where the bytes allow it.
func FuzzTags(f *testing.F) {
	super := superFrame{vlans: 1, payload: 4000, size: 1460}.build()
	f.Add(super.Data, byte(super.Needs), super.ChecksumStart)
	f.Add(make([]byte, HeaderLen), byte(0), uint16(0))
	f.Add(append(make([]byte, 12), 0x81, 0, 0), byte(Checksum), uint16(14))
	f.Fuzz(func(t *testing.T, data []byte, needs byte, start uint16) {
		if len(data) < HeaderLen {
			return
		}
		in := Frame{Data: bytes.Clone(data), Needs: Offloads(needs) & (Checksum | Segmentation), ChecksumStart: start}
		if IsTagged(in.Data) {
			if _, err := VLAN(in.Data); err != nil {
				return
			}
			SetVLAN(in.Data, 9)
			if n, _ := VLAN(in.Data); n != 9 {
				t.Fatalf("VLAN %d", n)
			}
			if out := untagged(&in); len(out.Data) < len(data)-VLANLen || len(out.Data) > len(data) {
				t.Fatalf("%d bytes became %d", len(data), len(out.Data))
			}
		}
		with := tagged(&in, 9)
		back := untagged(&with)
		if pad := back.Data[min(len(in.Data), len(back.Data)):]; len(pad) > 0 && len(back.Data) == MinFrame && len(bytes.Trim(pad, "\x00")) == 0 {
			back.Data = back.Data[:len(in.Data)]
		}
		if start < 1<<16-VLANLen && !equal(back, in) {
			t.Fatalf("%x became %x", in.Data, back.Data)
		}
	})
}
