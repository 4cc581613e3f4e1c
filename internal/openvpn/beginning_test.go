package openvpn

import "testing"

// The protocols that other programs speak on such a port, by their first bytes.
var others = map[string]string{
	"HTTP":         "GET / HTTP/1.1\r\n",
	"HTTP/2":       "PRI * HTTP/2.0\r\n",
	"TLS 1.2":      "\x16\x03\x01\x02\x00\x01",
	"TLS 1.0":      "\x16\x03\x00\x00\x90\x01",
	"SSH":          "SSH-2.0-OpenSSH\r\n",
	"PROXY":        "PROXY TCP4 ",
	"PROXY v2":     "\r\n\r\n\x00\r\nQUIT\n",
	"nothing":      "\x00\x00\x38",
	"RDP":          "\x03\x00\x00\x13",
	"0xffff bytes": "\xff\xff\x38",
}

func TestBeginningsAreTold(t *testing.T) {
	plain := Beginning{MaxPacket: MaxPacket(1500)} // 1800 bytes
	client, server := Beginning{ByClient: true}, Beginning{ByServer: true}
	for _, c := range []struct {
		name string
		b    Beginning
		head string
		want Verdict
	}{
		{"least of a client", client, "\x00\x0e\x38", Own},
		{"too short", client, "\x00\x0d\x38", Foreign},
		{"most", client, "\x00\xff\x38", Own},
		{"too long", client, "\x01\x00\x38", Foreign},
		{"least of tls-crypt-v2", client, "\x01\x50\x50", Own},
		{"too short for it", client, "\x01\x4f\x50", Foreign},
		{"most of tls-crypt-v2", client, "\x04\xfe\x50", Own},
		{"too long for it", client, "\x04\xff\x50", Foreign},
		{"lengths do not go with each other's opcodes", client, "\x00\x40\x50", Foreign},
		{"nor the other way", client, "\x01\x80\x38", Foreign},
		{"a key id other than 0", client, "\x00\x0e\x39", Foreign},
		{"a server where a client should be", client, "\x00\x0e\x40", Foreign},
		{"a server", server, "\x00\x1a\x40", Own},
		{"a client where a server should be", server, "\x00\x0e\x38", Foreign},
		{"one byte", plain, "\x00\x01", Own},
		{"the longest", plain, "\x07\x08", Own},
		{"longer", plain, "\x07\x09", Foreign},
		{"half a length", plain, "\x07", Undecided},
		{"half of one too long", plain, "\x08", Foreign},
		{"more than is needed", plain, "\x00\x3c\xff\xff\xff\xff", Own},
		{"more than is needed of a client", client, "\x00\x0e\x38\x01\x02\x03", Own},
	} {
		if got := c.b.Judge([]byte(c.head)); got != c.want {
			t.Errorf("%s: %x is judged %v, want %v", c.name, c.head, got, c.want)
		}
	}
	for _, b := range []Beginning{plain, client, server} {
		if got := b.Judge(nil); got != Undecided {
			t.Errorf("%+v: nothing is judged %v", b, got)
		}
		for name, text := range others {
			if name == "RDP" && b == plain {
				continue // its first length, 768, is good
			}
			if got := b.Judge([]byte(text)); got != Foreign {
				t.Errorf("%+v: %s is judged %v", b, name, got)
			}
		}
	}
	if client.Silent() || !server.Silent() || !plain.Silent() {
		t.Error("only a TLS client is sure to speak first")
	}
}

// TestBeginningsAreToldEarly: what no byte more could change is told at once.
func TestBeginningsAreToldEarly(t *testing.T) {
	for head, b := range map[string]Beginning{
		"G":        {ByClient: true},
		"\x16":     {MaxPacket: MaxPacket(1500)},
		"\x05":     {ByClient: true},
		"\x01":     {ByServer: true},
		"\x00\x00": {MaxPacket: MaxPacket(1500)},
		"\x00\x0d": {ByClient: true},
	} {
		if got := b.Judge([]byte(head)); got != Foreign {
			t.Errorf("%+v: %x is judged %v", b, head, got)
		}
	}
}

// TestWholeTLSHelloLength: at such an MTU a TLS hello could be a frame.
func TestWholeTLSHelloLength(t *testing.T) {
	for mtu, want := range map[int]Verdict{1500: Foreign, 5434: Foreign, 5435: Own} {
		if got := (Beginning{MaxPacket: MaxPacket(mtu)}).Judge([]byte("\x16\x03\x01")); got != want {
			t.Errorf("MTU %d: %v, want %v", mtu, got, want)
		}
	}
}

func FuzzBeginning(f *testing.F) {
	for _, text := range others {
		f.Add([]byte(text), 1800)
	}
	f.Add([]byte("\x00\x0e\x38"), 1800)
	f.Add([]byte("\x04\xfe\x50"), 65535)
	f.Add([]byte("\x00\x1a\x40"), 300)
	f.Fuzz(func(t *testing.T, data []byte, most int) {
		for _, b := range []Beginning{{ByClient: true}, {ByServer: true}, {MaxPacket: 1 + (most&0x7fffffff)%65535}} {
			last := Undecided
			for n := range len(data) + 1 {
				v := b.Judge(data[:n])
				if last != Undecided && v != last {
					t.Fatalf("%+v: %x was judged %v, and with one byte more %v", b, data[:n], last, v)
				}
				if n >= HeadLen && v == Undecided {
					t.Fatalf("%+v: %x does not suffice", b, data[:n])
				}
				last = v
			}
			if last != Own {
				continue
			}
			// A stream without TLS must then take it.
			s := NewStream(65535)
			if !b.ByClient && !b.ByServer {
				s = NewStream(b.MaxPacket)
			}
			if _, err := s.Cut(copy(s.Space(), data), nil); err != nil && len(data) <= HeadLen {
				t.Fatalf("%+v: %x is taken for OpenVPN's, and then: %v", b, data, err)
			}
		}
	})
}
