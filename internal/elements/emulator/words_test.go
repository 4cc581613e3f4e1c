package emulator

import (
	"path/filepath"
	"strings"
	"testing"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestWords(t *testing.T) {
	long := "/" + strings.Repeat("x", 120)
	for _, test := range []struct{ text, fault string }{
		{"qemu/stream listen s", ""},
		{"qemu/stream connect /tmp/s mtu 9000", ""},
		{"qemu/stream mode 660 mtu 65535 listen s", ""},
		{"qemu/stream listen connect", ""}, // a path of that name
		{"qemu/stream", "test:1:99: the socket is missing"},
		{"qemu/stream mtu 1500", "test:1:99: the socket is missing"},
		{"qemu/stream listen", "test:1:1: listen wants PATH"},
		{"qemu/stream listen a connect b", "test:1:3: listen and connect contradict each other"},
		{"qemu/stream connect b mtu 1500 listen a", "test:1:5: listen and connect contradict each other"},
		{"qemu/stream listen a listen b", "test:1:3: listen is given twice"},
		{`qemu/stream listen ""`, "test:1:2: listen: an empty path"},
		{"qemu/stream listen " + long, "test:1:2: listen: "},
		{"qemu/stream connect " + long, "choose a shorter one"},
		{"qemu/stream connect a mode 600", "test:1:3: mode is for listen"},
		{"qemu/stream listen a mode 999", `test:1:4: mode: "999" is not an octal number`},
		{"qemu/stream listen a mode 1777", "is not an octal number"},
		{"qemu/stream listen a mtu 67", "is not a number from 68 to 65535"},
		{"qemu/stream lisen a", `unknown option "lisen"; did you mean listen?`},
		{"gvproxy/qemu connect s", ""},
		{"qemu/stream listen tcp:127.0.0.1:4711", ""},
		{"qemu/stream connect tcp:[::1]:4711 mtu 9000", ""},
		{"qemu/stream listen tcp:4711", `test:1:2: listen: "4711" is not HOST:PORT`},
		{"qemu/stream listen tcp::4711", "test:1:2: listen: the host is missing"},
		{"qemu/stream listen tcp:h:0", `"0" is not a port`},
		{"qemu/stream connect tcp:h:65536", `"65536" is not a port`},
		{"qemu/stream listen tcp:h:1 mode 600", "test:1:3: mode is for a socket with a path"},
		{"gvproxy/bess listen s mode 660", ""},
		{"gvproxy/bess connect tcp:h:1", ""}, // a path of that name
		{"gvproxy/bess", "test:1:99: the socket is missing"},
		{"gvproxy/bess listen a connect b", "test:1:3: listen and connect contradict each other"},
		{"gvproxy/vfkit listen s mode 660 mtu 9000", ""},
		{"gvproxy/vfkit connect s", ""},
		{"gvproxy/vfkit", "test:1:99: the socket is missing"},
		{"gvproxy/vfkit connect s mode 600", "test:1:3: mode is for listen"},
		{"gvproxy/vfkit listen " + long, "choose a shorter one"},
		{"stdio", ""},
		{"gvproxy/stdio mtu 9000", ""},
		{"stdio mtu 1", "is not a number from 68 to 65535"},
		{"stdio listen s", `unknown option "listen"`},
		{"qemu/dgram local a remote b", ""},
		{"qemu/dgram local a remote b mode 666 mtu 9000", ""},
		{"qemu/dgram", "test:1:99: local PATH is missing"},
		{"qemu/dgram local a", "test:1:99: remote PATH is missing"},
		{"qemu/dgram remote a", "test:1:99: local PATH is missing"},
		{"qemu/dgram local a remote ./a", "test:1:4: remote: that is the element's own socket"},
		{"qemu/dgram local a remote " + long, "test:1:4: remote: "},
		{"qemu/dgram local a remote b listen c", `unknown option "listen"`},
		{"vde/plug d", ""},
		{"vde/plug d port 5 group vde2-net mtu 9000", ""},
		{"vde/plug group 5 d port", "test:1:99: the folder of the switch is missing"},
		{"vde/plug \"port\"", ""},
		{"vde/plug", "test:1:99: the folder of the switch is missing"},
		{"vde/plug port 5", "test:1:99: the folder of the switch is missing"},
		{"vde/plug d port 0", "is not a number from 1 to 65535"},
		{"vde/plug d port 5 port 6", "port is given twice"},
		{`vde/plug d group ""`, "an empty name is no group"},
		{`vde/plug ""`, "an empty path"},
		{"vde/plug " + long[:106], "the folder of a switch has at most"},
		{"vde/plug d sock e", `unknown option "sock"`},
		{"vde/switch d", ""},
		{"vde/switch d mode 666 group 5 mtu 9000", ""},
		{"vde/switch", "test:1:99: the folder of the switch is missing"},
		{"vde/switch mode 600", "test:1:99: the folder of the switch is missing"},
		{"vde/switch d port 5", `unknown option "port"`},
		{"vde/switch d mode 8", "is not an octal number"},
		{"vde/switch " + long[:106], "the folder of a switch has at most"},
	} {
		_, err := newElement("", test.text, &nstest.Buffer{})
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%q: %v, want %q", test.text, err, test.fault)
		}
	}
}

func TestPathsAndSizes(t *testing.T) {
	for _, test := range []struct {
		text     string
		maxFrame int
		sketch   string
	}{
		{"qemu/stream listen a/s", 1522, "unix " + filepath.Join("folder", "a", "s") + ""},
		{"qemu/stream connect /a//s mtu 9000", 9022, "unix " + filepath.Clean("/a/s")},
		{"qemu/dgram local l remote r", 1522, "unix " + filepath.Join("folder", "l") + "unix " + filepath.Join("folder", "r")},
		{"qemu/stream listen tcp:127.0.0.1:4711", 1522, "tcp 127.0.0.1:4711"},
		{"gvproxy/bess listen s", 1522, "unix " + filepath.Join("folder", "s")},
		{"gvproxy/vfkit connect s mtu 9000", 9022, "unix " + filepath.Join("folder", "s")},
		{"stdio", 1522, ""},
		{"gvproxy/stdio mtu 65535", 65535, ""},
		{"vde/plug d", 1518, ""},
		{"vde/plug d mtu 9000", 9018, ""},
	} {
		e, err := newElement("folder", test.text, &nstest.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Attach(words(""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Attach(words("x")); err == nil {
			t.Errorf("%s: words on its side of a connection are taken", test.text)
		}
		if p.MaxFrame() != test.maxFrame || p.Offloads() != 0 {
			t.Errorf("%s takes frames up to %d, want %d, and %v", test.text, p.MaxFrame(), test.maxFrame, p.Offloads())
		}
		s := e.(element.Sketcher).Sketch()
		if got := s.Local + s.Remote; got != test.sketch {
			t.Errorf("%s is drawn at %q, want %q", test.text, got, test.sketch)
		}
		// Never started, it still ends.
		if err := p.WriteFrames(numbered(0, 1, 60)); err != nil {
			t.Error(err)
		}
		expectCounts(t, &p.Counters().Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 1})
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if got := e.(element.Reporter).Status(); got != "closed" {
			t.Errorf("%s is %q after Close", test.text, got)
		}
	}
}
