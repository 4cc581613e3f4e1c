package emulator

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

func TestPlugRequest(t *testing.T) {
	b := plugRequest(5, "/run/.p", "tmelink m/v0")
	order := binary.NativeEndian
	if order.Uint32(b) != 0xfeedface || order.Uint32(b[4:]) != 3 || order.Uint32(b[8:]) != 5<<8 || order.Uint16(b[12:]) != 1 {
		t.Errorf("it begins with % x", b[:14])
	}
	if path := string(bytes.TrimRight(b[14:122], "\x00")); path != "/run/.p" || string(b[122:]) != "tmelink m/v0" {
		t.Errorf("path %q, description %q", path, b[122:])
	}
	for _, description := range []string{strings.Repeat("x", 200), strings.Repeat("é", 100)} {
		got := string(plugRequest(0, "/x", description)[122:])
		if len(got) > 127 || len(got) < 126 || !strings.HasPrefix(description, got) || !strings.HasSuffix(got, description[len(description)-len("x"):]) {
			t.Errorf("description of %d bytes: %q", len(got), got)
		}
	}
}

func TestPlugAnswer(t *testing.T) {
	answer := func(family uint16, path string) []byte {
		b := make([]byte, 110)
		binary.NativeEndian.PutUint16(b, family)
		copy(b[2:], path)
		return b
	}
	for _, test := range []struct {
		answer      []byte
		path, fault string
	}{
		{answer(1, "/run/vde/001.7"), "/run/vde/001.7", ""},
		{answer(1, strings.Repeat("x", 107)), strings.Repeat("x", 107), ""},
		{answer(1, strings.Repeat("x", 108)), "", "holds no path"},
		{answer(1, ""), "", "holds no path"},
		{answer(2, "/x"), "", "family 2"},
		{answer(1, "/x")[:109], "", "109 bytes"},
		{nil, "", "0 bytes"},
	} {
		path, err := plugAnswer(test.answer)
		if path != test.path || (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("got %q, %v; want %q, %q", path, err, test.path, test.fault)
		}
	}
}

func FuzzPlugAnswer(f *testing.F) {
	f.Add(make([]byte, 110))
	f.Add([]byte("\x01\x00/run/x"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		path, err := plugAnswer(answer)
		if (err == nil) != (path != "") || len(path) > 107 || strings.Contains(path, "\x00") {
			t.Fatalf("path %q, %v", path, err)
		}
	})
}
