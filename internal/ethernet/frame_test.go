package ethernet

import (
	"encoding/binary"
	"encoding/json"
	"testing"
)

func TestParseAddr(t *testing.T) {
	for text, want := range map[string]string{
		"08:00:20:01:02:03": "08:00:20:01:02:03",
		"8:0:20:1:2:3":      "08:00:20:01:02:03",
		"08-00-20-01-02-03": "08:00:20:01:02:03",
		"0800.2001.0203":    "08:00:20:01:02:03",
		"":                  "", "8:0:20:1:2": "", "8:0:20:1:2:3:4": "", "8:0:20:1:2:333": "", "x:0:20:1:2:3": "",
		"00:00:00:00:fe:80:00:00": "", // an EUI-64
	} {
		a, err := ParseAddr(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q reads as %v, want an error", text, a)
			}
		} else if err != nil || a.String() != want {
			t.Errorf("%q reads as %v, %v; want %s", text, a, err, want)
		}
	}
}

func TestAddrInJSON(t *testing.T) {
	text, err := json.Marshal(map[string]any{"hwaddr": Addr{8, 0, 0x20, 1, 2, 3}})
	if want := `{"hwaddr":"08:00:20:01:02:03"}`; err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
}

func TestParseHeader(t *testing.T) {
	base := append([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 0x08, 0x00)
	tag := func(frame []byte, typ uint16) []byte {
		out := append([]byte(nil), frame[:12]...)
		out = binary.BigEndian.AppendUint16(out, typ)
		return append(append(out, 0, 5), frame[12:]...)
	}
	for _, test := range []struct {
		name  string
		frame []byte
		typ   uint16
		len   int
	}{
		{"plain", base, TypeIPv4, 14},
		{"802.1Q", tag(base, TypeVLAN), TypeIPv4, 18},
		{"QinQ", tag(tag(base, TypeVLAN), TypeQinQ), TypeIPv4, 22},
		{"three tags", tag(tag(tag(base, TypeVLAN), TypeVLAN), TypeQinQ), TypeVLAN, 22},
	} {
		h, err := ParseHeader(test.frame)
		if err != nil || h.Type != test.typ || h.Len != test.len || h.Dst != (Addr{1, 2, 3, 4, 5, 6}) || h.Src != (Addr{7, 8, 9, 10, 11, 12}) {
			t.Errorf("%s: %+v, %v; want type %#x, %d bytes", test.name, h, err, test.typ, test.len)
		}
		for cut := range test.len {
			if cut >= 14 && cut >= len(test.frame) {
				continue
			}
			if h, err := ParseHeader(test.frame[:cut]); err == nil && cut < 14 {
				t.Errorf("%s cut to %d bytes: %+v, want an error", test.name, cut, h)
			}
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, HeaderLen))
	f.Add(append(make([]byte, 12), 0x81, 0, 0, 1, 0x88, 0xa8, 0, 1, 8, 0))
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, err := ParseHeader(frame)
		if err == nil && (h.Len > len(frame) || h.Len < HeaderLen) {
			t.Fatalf("header of %d bytes in a frame of %d", h.Len, len(frame))
		}
	})
}
