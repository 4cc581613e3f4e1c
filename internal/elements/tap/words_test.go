package tap

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// words splits a text at spaces; single quotes hold a word together.
func words(text string) element.Args {
	args := element.Args{Pos: tmesh.Pos{File: "t", Line: 1, Column: 1}}
	for i, part := range strings.Split(text, "'") {
		split := []string{part}
		if i%2 == 0 {
			split = strings.Fields(part)
		}
		for _, w := range split {
			args.Words = append(args.Words, tmesh.Word{Text: w, Pos: tmesh.Pos{File: "t", Line: 1, Column: len(args.Words) + 2}, Quoted: i%2 == 1})
		}
	}
	return args
}

func TestWords(t *testing.T) {
	p := netip.MustParsePrefix
	ovpn := func(c config) config { c.openvpn, c.nat = true, natNot; return c }
	for _, c := range []struct {
		path, text string
		want       config
	}{
		{"tme/host/tun/tap", "", config{}},
		{"tme/host/tun/tap", "inet 10.0.77.1 netmask 255.255.255.0 bcast 10.0.77.255", config{inet: p("10.0.77.1/24"), broadcast: netip.MustParseAddr("10.0.77.255")}},
		{"tme/host/tun/tap", "netmask 0xffff0000 inet 10.0.77.1", config{inet: p("10.0.77.1/16")}},
		{"tme/host/tun/tap", "inet 10.0.77.1", config{inet: p("10.0.77.1/8")}},
		{"tme/host/tun/tap", "inet 172.16.0.1", config{inet: p("172.16.0.1/16")}},
		{"tme/host/tun/tap", "inet 192.168.0.1", config{inet: p("192.168.0.1/24")}},
		{"tme/host/tun/tap", "inet6 fd00::1/64 mtu 1280 nat eth1", config{inet6: p("fd00::1/64"), mtu: 1280, nat: natBy, uplink: "eth1"}},
		{"tme/host/tun/tap", "interface tap7 hwaddr 8:0:20:1:2:3 bridge br0 netns lab up ./up.sh nat none", config{
			device: "tap7", hwaddr: ethernet.Addr{8, 0, 0x20, 1, 2, 3}, bridge: "br0", netns: "lab", up: []string{"./up.sh"}, nat: natNever}},
		{"tme/host/openvpn/tun/tap", "--dev tap", ovpn(config{})},
		{"tme/host/openvpn/tap", "--dev tap3 --dev-node /dev/tun --tun-ipv6", ovpn(config{device: "tap3", node: "/dev/tun"})},
		{"tme/host/openvpn/tap", "--dev lan --dev-type tap --lladdr 02:00:00:00:00:01 --tun-mtu 1400 1500", ovpn(config{
			device: "lan", hwaddr: ethernet.Addr{2, 0, 0, 0, 0, 1}, mtu: 1400})},
		{"tme/host/openvpn/tap", "--dev tap --ifconfig 10.0.77.1 255.255.255.0 --ifconfig-ipv6 fd00::1/64 fd00::2", ovpn(config{
			inet: p("10.0.77.1/24"), inet6: p("fd00::1/64"), remote6: netip.MustParseAddr("fd00::2")})},
		{"tme/host/openvpn/tap", `--dev tap --script-security 2 --up '/bin/up "a b" c\ d' --down /bin/down`, ovpn(config{
			up: []string{"/bin/up", "a b", "c d"}, down: []string{"/bin/down"}})},
	} {
		built, err := build(t, c.path, c.text, element.Env{})
		if err != nil {
			t.Errorf("%s %s: %v", c.path, c.text, err)
			continue
		}
		if got := built.cfg; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s:\n got %+v\nwant %+v", c.path, c.text, got, c.want)
		}
	}
}

func TestWordFaults(t *testing.T) {
	for _, c := range []struct {
		path, text string
		want       []string // part of each fault, in order
		column     int      // of the first
	}{
		{"tme/host/tun/tap", "inet 10.0.0", []string{"not an IPv4 address"}, 3},
		{"tme/host/tun/tap", "inet 224.0.0.1", []string{"not the address of one host"}, 3},
		{"tme/host/tun/tap", "inet 10.0.0.1 netmask 255.0.255.0", []string{"not all in front"}, 5},
		{"tme/host/tun/tap", "inet 10.0.0.1 netmask 0.0.0.0", []string{"whole world"}, 5},
		{"tme/host/tun/tap", "inet 10.0.0.1 netmask 255.255.255.0 bcast 10.0.1.255", []string{"not in the network 10.0.0.0/24"}, 7},
		{"tme/host/tun/tap", "netmask 255.0.0.0 bcast 10.255.255.255 nat eth0", []string{"netmask has no meaning without inet", "bcast has no meaning", "nat has no meaning"}, 2},
		{"tme/host/tun/tap", "inet 10.0.0.1 interface tap3 nat tap3", []string{"is the tap device itself"}, 7},
		{"tme/host/tun/tap", "inet6 fd00::1", []string{"prefix length"}, 3},
		{"tme/host/tun/tap", "inet6 ff02::1/64", []string{"not the address of one host"}, 3},
		{"tme/host/tun/tap", "inet6 fd00::1/64 mtu 1000", []string{"too small for IPv6"}, 1},
		{"tme/host/tun/tap", "mtu 67", []string{"68 to 65521"}, 3},
		{"tme/host/tun/tap", "interface a/b netns ../x", []string{"cannot be an interface's name", "cannot be a network namespace's name"}, 3},
		{"tme/host/tun/tap", "hwaddr 01:00:00:00:00:00", []string{"not the hardware address of one station"}, 3},
		{"tme/host/tun/tap", "offload yes", []string{"neither on nor off"}, 3},
		{"tme/host/tun/tap", "queues 257", []string{"1 to 256"}, 3},
		{"tme/host/tun/tap", "inett 10.0.0.1", []string{"did you mean inet"}, 2},
		{"tme/host/openvpn/tap", "", []string{"--dev is missing"}, 1},
		{"tme/host/openvpn/tap", "--dev tun0", []string{"only tap does"}, 3},
		{"tme/host/openvpn/tap", "--dev tap --dev-type tun", []string{"only tap does"}, 5},
		{"tme/host/openvpn/tap", "--dev lan", []string{"add --dev-type tap"}, 3},
		{"tme/host/openvpn/tap", "--dev tap --up /bin/up --down /bin/down", []string{"--up runs a program", "--down runs a program"}, 4},
		{"tme/host/openvpn/tap", "--dev tap --script-security 0 --up /bin/up", []string{"--script-security 0 forbids"}, 6},
		{"tme/host/openvpn/tap", "--dev tap --script-security 2 --up '/bin/up \"x'", []string{"ends inside a quotation"}, 7},
		{"tme/host/openvpn/tap", "--dev tap --ifconfig 10.0.0.1 10.0.0.2", []string{"not all in front"}, 6},
		{"tme/host/openvpn/tap", "--dev tap --route 10.0.0.0 255.0.0.0", []string{"sets no routes"}, 4},
	} {
		_, err := build(t, c.path, c.text, element.Env{})
		var faults tmesh.Faults
		faults.Add(tmesh.Pos{}, err)
		if len(faults) != len(c.want) {
			t.Errorf("%s %s: got %d faults, want %d:\n%v", c.path, c.text, len(faults), len(c.want), err)
			continue
		}
		for i, f := range faults {
			if !strings.Contains(f.Msg, c.want[i]) {
				t.Errorf("%s %s: fault %d is %q, want %q in it", c.path, c.text, i, f.Msg, c.want[i])
			}
		}
		if faults[0].Pos.Column != c.column {
			t.Errorf("%s %s: first fault at column %d, want %d", c.path, c.text, faults[0].Pos.Column, c.column)
		}
	}
}

func TestAttachTakesNoWords(t *testing.T) {
	e, err := build(t, "tme/host/tun/tap", "", element.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var fault *tmesh.Fault
	if _, err := e.Attach(words("0")); !errors.As(err, &fault) {
		t.Errorf("Attach with a word gave %v, want a fault", err)
	}
}

// build makes an element by its registered type.
func build(t testing.TB, path, text string, env element.Env) (*tap, error) {
	t.Helper()
	typ, ok := element.Lookup(path)
	if !ok {
		t.Fatalf("no element type %s", path)
	}
	e, err := typ.New(env, words(text))
	if err != nil {
		return nil, err
	}
	return e.(*tap), nil
}

func TestJudge(t *testing.T) {
	own, other, third := ethernet.Addr{2, 0, 0, 0, 0, 1}, ethernet.Addr{2, 0, 0, 0, 0, 2}, ethernet.Addr{2, 0, 0, 0, 0, 3}
	group := ethernet.Addr{0x33, 0x33, 0, 0, 0, 1}
	for _, c := range []struct {
		name             string
		dst, src         ethernet.Addr
		enslaved         bool
		wantBack, wantOn bool
	}{
		{"host to station", other, own, false, false, true},
		{"host to all", ethernet.Broadcast, own, false, false, true},
		{"packet socket to host", own, other, false, true, false},
		{"packet socket to all", ethernet.Broadcast, other, false, true, true},
		{"packet socket to group", group, other, false, true, true},
		{"packet socket to station", third, other, false, false, true},
		{"bridged to all", ethernet.Broadcast, other, true, false, true},
		{"bridged to the port's address", own, other, true, false, true},
		{"host to itself", own, own, false, false, true},
	} {
		h := &host{addr: own, enslaved: c.enslaved}
		frame := append(append(c.dst[:], c.src[:]...), 8, 0)
		if back, on := h.judge(frame); back != c.wantBack || on != c.wantOn {
			t.Errorf("%s: back %v on %v, want %v %v", c.name, back, on, c.wantBack, c.wantOn)
		}
	}
}

func FuzzSplitCommand(f *testing.F) {
	for _, s := range []string{"/bin/up", `/bin/up "a b" 'c"' d\ e`, `"`, `\`, "  ", "''", "\t x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := element.Values{Name: tmesh.Word{Text: "--up"}, Words: []tmesh.Word{{Text: s}}}
		got, err := splitCommand(v)
		if err != nil {
			return
		}
		if len(got) == 0 || got[0] == "" {
			t.Fatalf("%q gave no program", s)
		}
		total := 0
		for _, w := range got {
			total += len(w)
		}
		if total > len(s) {
			t.Fatalf("%q gave more than it holds: %q", s, got)
		}
	})
}
