package keys

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestStaticFileOfOpenVPN(t *testing.T) {
	text := testFile(t, "static.key")
	key, err := ParseStatic(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := key.Marshal(); !bytes.Equal(got, text) {
		t.Errorf("written again it is\n%s, was\n%s", got, text)
	}
}

func TestStaticHalves(t *testing.T) {
	key, err := NewStatic(counting(staticSize))
	if err != nil {
		t.Fatal(err)
	}
	out, in := key.Pair(Normal)
	// Cipher and HMAC key of the first half, then of the second: struct key2.
	for _, c := range []struct {
		name  string
		bytes [64]byte
		first byte
	}{{"out cipher", out.Cipher, 1}, {"out HMAC", out.HMAC, 65}, {"in cipher", in.Cipher, 129}, {"in HMAC", in.HMAC, 193}} {
		for i, b := range c.bytes {
			if b != c.first+byte(i) {
				t.Fatalf("%s begins with % x, want %d and upwards", c.name, c.bytes[:4], c.first)
			}
		}
	}
	for _, c := range []struct {
		d       Direction
		out, in int
	}{{Both, 0, 0}, {Normal, 0, 1}, {Inverse, 1, 0}} {
		if out, in := key.Pair(c.d); out != &key.Halves[c.out] || in != &key.Halves[c.in] {
			t.Errorf("direction %d does not send with half %d and receive with half %d", c.d, c.out, c.in)
		}
	}
}

func TestParseStaticToleratesWhatOpenVPNDoes(t *testing.T) {
	text := string(testFile(t, "static.key"))
	lines := strings.SplitAfter(text, "\n")
	for name, other := range map[string]string{
		"no comments":             strings.Join(lines[3:], ""),
		"Windows lines":           strings.ReplaceAll(text, "\n", "\r\n"),
		"no end of the last line": strings.TrimSpace(text),
		"upper case":              strings.ReplaceAll(strings.ToUpper(text), strings.ToUpper(staticLabel), staticLabel),
		"empty lines":             strings.ReplaceAll(text, "\n", "\n\n"),
		"indented":                strings.ReplaceAll(text, "\n", "\n\t "),
		"one long line":           staticHead + "\n" + strings.ReplaceAll(strings.Join(lines[4:20], ""), "\n", " ") + "\n" + staticFoot,
		"text around":             "; of host a, -- begin\n-----BEGIN\n" + text + "-----BEGIN anything\nmore\n",
		"a second key":            text + strings.ReplaceAll(text, "0", "1"),
	} {
		key, err := ParseStatic([]byte(other))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := string(key.Marshal()); got != text {
			t.Errorf("%s: another key came out", name)
		}
	}
}

func TestParseStaticRefuses(t *testing.T) {
	text := string(testFile(t, "static.key"))
	lines := strings.SplitAfter(text, "\n")
	without := func(from, to int) string { return strings.Join(lines[:from], "") + strings.Join(lines[to:], "") }
	for _, c := range []struct{ name, text, want string }{
		{"no end", strings.Join(lines[:20], ""), "no line"},
		{"another end", strings.Replace(text, "-----END", "-----FIN", 1), "line 21 of the static key should be"},
		{"half a key", without(4, 12), "256 hexadecimal digits of 512"},
		{"a digit lost", strings.Replace(text, lines[4], lines[4][1:], 1), "511 hexadecimal digits of 512"},
		{"no digits", without(4, 20), "0 hexadecimal digits of 512"},
		{"a digit more", strings.Replace(text, staticFoot, "0\n"+staticFoot, 1), "line 21 of the static key goes beyond the 256 bytes"},
		{"a comment inside", strings.Replace(text, lines[6], "# ab\n"+lines[6], 1), "line 7 of the static key has something that is no hexadecimal digit"},
		{"not ASCII", strings.Replace(text, lines[6], "\xff\xfe"+lines[6], 1), "line 7 of the static key has something"},
		{"zeros", "-----BEGIN OpenVPN Static key V1-----\n" + strings.Repeat("0", 256) + strings.Repeat("1", 256) + "\n" + staticFoot, "half 0 of the static key is zeros"},
		{"zeros behind", "-----BEGIN OpenVPN Static key V1-----\n" + strings.Repeat("1", 256) + strings.Repeat("0", 256) + "\n" + staticFoot, "half 1 of the static key is zeros"},
	} {
		_, err := ParseStatic([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q in it", c.name, err, c.want)
			continue
		}
		for _, line := range lines[4:20] {
			if strings.Contains(err.Error(), strings.TrimSpace(line)[:8]) {
				t.Errorf("%s: the error shows a piece of the key: %v", c.name, err)
			}
		}
	}
}

func TestStaticXorAndWipe(t *testing.T) {
	a, errA := NewStatic(counting(staticSize))
	b, errB := NewStatic(strings.NewReader(strings.Repeat("\x0f", staticSize)))
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	a.Xor(b)
	for i, got := range a.append(nil) {
		if want := byte(i+1) ^ 0x0f; got != want {
			t.Fatalf("byte %d is %#x, want %#x", i, got, want)
		}
	}
	if !bytes.Equal(b.append(nil), bytes.Repeat([]byte{0x0f}, staticSize)) {
		t.Error("the other key has changed")
	}
	a.Wipe()
	if *a != (Static{}) {
		t.Error("something is left of a wiped key")
	}
}

func TestKeysNeedRandomness(t *testing.T) {
	server, err := NewServerV2(counting(halfSize))
	if err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(io.Reader) error{
		"static":  func(r io.Reader) error { _, err := NewStatic(r); return err },
		"server":  func(r io.Reader) error { _, err := NewServerV2(r); return err },
		"client":  func(r io.Reader) error { _, err := NewClientV2(r, server, UserMetadata(nil)); return err },
		"serials": func(r io.Reader) error { _, _, err := NewCertificate(r, "a", now, 1); return err },
	} {
		if err := make(counting(7)); err == nil {
			t.Errorf("%s: 7 bytes of randomness are enough", name)
		}
	}
}
