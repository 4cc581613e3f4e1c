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

func TestParseRequest(t *testing.T) {
	request := func(magic, version, kind uint32, path string) []byte {
		var b []byte
		for _, n := range []uint32{magic, version, kind} {
			b = binary.NativeEndian.AppendUint32(b, n)
		}
		return append(append(b, address(path)...), "somebody"...)
	}
	for _, test := range []struct {
		request []byte
		port    int
		path    string
		fault   string
	}{
		{plugRequest(5, "/run/.p", "tmelink m/v0"), 5, "/run/.p", ""},
		{plugRequest(0, "/x", ""), 0, "/x", ""},
		{request(switchMagic, 3, 1, "/x"), 0, "/x", ""},
		{request(switchMagic, 3, 2, "/x"), 0, "", "request 2 is unknown"},
		{request(switchMagic, 3, 65536<<8, "/x"), 0, "", "no port 65536"},
		{request(switchMagic, 1, 0, "/x"), 0, "", "version 1"},
		{request(0, 3, 0, "/x"), 0, "", "no request of VDE's"},
		{request(switchMagic, 3, 0, ""), 0, "", "holds no path"},
		{request(switchMagic, 3, 0, "x"), 0, "x", "does not begin with /"},
		{plugRequest(5, "/x", "")[:121], 0, "", "121 bytes"},
	} {
		port, path, err := parseRequest(test.request)
		if port != test.port || path != test.path || (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("% x: got %d, %q, %v; want %d, %q, %q", test.request[:12], port, path, err, test.port, test.path, test.fault)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(plugRequest(5, "/run/.p", "tmelink m/v0"))
	f.Add(plugRequest(0, "", ""))
	f.Fuzz(func(t *testing.T, request []byte) {
		port, path, err := parseRequest(request)
		if err == nil && (port < 0 || port > maxPort || path[0] != '/' || len(path) > 107 || !bytes.Contains(request, []byte(path))) {
			t.Fatalf("port %d, path %q", port, path)
		}
	})
}
