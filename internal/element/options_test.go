package element

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tmelink/internal/tmesh"
)

// words makes an argument list of a line, each word at its column of line 1.
func words(line string) Args {
	a := Args{Pos: tmesh.Pos{File: "x.tme", Line: 1, Column: 1}}
	for column := 0; column < len(line); {
		if line[column] == ' ' {
			column++
			continue
		}
		end := column
		for end < len(line) && line[end] != ' ' {
			end++
		}
		a.Words = append(a.Words, tmesh.Word{Text: line[column:end], Pos: tmesh.Pos{File: "x.tme", Line: 1, Column: column + 1}})
		column = end
	}
	return a
}

func TestParse(t *testing.T) {
	var got []string
	take := func(v Values) error {
		text := v.Name.Text
		for _, w := range v.Words {
			text += " " + w.Text
		}
		got = append(got, text)
		return nil
	}
	options := []Option{
		{Name: "--remote", Values: "HOST [PORT] [PROTO]", Repeat: true, Set: take},
		{Name: "--local", Values: "HOST", Set: take},
		{Name: "--float", Set: take},
		{Name: "--port", Values: "N", Set: func(v Values) error { _, err := v.Port(0); return err }},
		{Name: "--odd", Values: "N", Set: func(Values) error { return errors.New("is odd") }},
		{Name: "--verb", Values: "N"},
		{Name: "--env", Values: "[WORD…]", Set: take},
		{Name: "--tls", Refused: "not carried out: use something else"},
	}
	for _, test := range []struct{ in, want, fault string }{
		{"--local A --remote B 1195 --float", "--local A|--remote B 1195|--float", ""},
		{"--remote B --local A", "--remote B|--local A", ""},
		{"--remote B --remote C 1 udp", "--remote B|--remote C 1 udp", ""},
		{"--remote B 1 udp extra", "--remote B 1 udp", `x.tme:1:18: unknown option "extra"`},
		{"--local", "", "x.tme:1:1: --local wants HOST"},
		{"--local --float", "--float", "x.tme:1:1: --local wants HOST"},
		{"--flaot --local A", "--local A", `x.tme:1:1: unknown option "--flaot"; did you mean --float?`},
		{"--local A --local B", "--local A", "x.tme:1:11: --local is given twice, first at line 1"},
		{"--port 0", "", `x.tme:1:8: --port: "0" is not a number from 1 to 65535`},
		{"--odd 3", "", "x.tme:1:7: --odd: is odd"},
		{"--tls", "", "x.tme:1:1: --tls: not carried out: use something else"},
		{"--env a b c --float", "--env a b c|--float", ""},
		{"--bad 1 2 --worse", "", "x.tme:1:1: unknown option \"--bad\"\nx.tme:1:11: unknown option \"--worse\""},
	} {
		got = nil
		fault := ""
		if err := words(test.in).Parse(options); err != nil {
			fault = err.Error()
		}
		if strings.Join(got, "|") != test.want {
			t.Errorf("%q gave %q, want %q", test.in, got, test.want)
		}
		if fault != test.fault {
			t.Errorf("%q: fault %q, want %q", test.in, fault, test.fault)
		}
	}
}

func TestParseTellsOptionsWithoutEffect(t *testing.T) {
	var none []tmesh.Word
	args := words("--verb 3 --local A")
	args.NoEffect = &none
	if err := args.Parse([]Option{{Name: "--verb", Values: "N"}, {Name: "--local", Values: "A", Set: func(Values) error { return nil }}}); err != nil {
		t.Fatal(err)
	}
	if len(none) != 1 || none[0].Text != "--verb" {
		t.Errorf("without effect: %v, want --verb alone", none)
	}
}

func TestValues(t *testing.T) {
	ask := func(text string, read func(Values) (any, error)) string {
		v := Values{Name: tmesh.Word{Text: "x"}, Words: words(text).Words}
		got, err := read(v)
		if err != nil {
			return "fault"
		}
		return fmt.Sprint(got)
	}
	netmask := func(v Values) (any, error) { return v.Netmask(0) }
	addr := func(v Values) (any, error) { return v.HardwareAddr(0) }
	name := func(v Values) (any, error) { return v.InterfaceName(0) }
	prefix := func(v Values) (any, error) { return v.Prefix6(0) }
	seconds := func(v Values) (any, error) { return v.Seconds(0) }
	for _, test := range []struct {
		text string
		read func(Values) (any, error)
		want string
	}{
		{"255.255.255.0", netmask, "24"},
		{"0.0.0.0", netmask, "0"},
		{"0xffff0000", netmask, "16"},
		{"255.0.255.0", netmask, "fault"},
		{"24", netmask, "fault"},
		{"8:0:20:1:2:3", addr, "08:00:20:01:02:03"},
		{"02:00:00:00:00:01", addr, "02:00:00:00:00:01"},
		{"ff:ff:ff:ff:ff:ff", addr, "fault"},
		{"0:0:0:0:0:0", addr, "fault"},
		{"8:0:20:1:2:3:4", addr, "fault"},
		{"tap0", name, "tap0"},
		{"0123456789abcdef", name, "fault"},
		{"a/b", name, "fault"},
		{"fd00::1/64", prefix, "fd00::1/64"},
		{"fd00::1", prefix, "fault"},
		{"10.0.0.1/24", prefix, "fault"},
		{"60", seconds, "1m0s"},
		{"-1", seconds, "fault"},
		{"010", seconds, "10s"},
		{"0x10", seconds, "16s"},
		{"0b11", seconds, "fault"},
		{"1_0", seconds, "fault"},
	} {
		if got := ask(test.text, test.read); got != test.want {
			t.Errorf("%q reads as %s, want %s", test.text, got, test.want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"tme/host/tun/tap", "tme/host/bsd/bpf", "--remote", "inet"}
	for word, want := range map[string]string{
		"tme/host/tun/tpa": "; did you mean tme/host/tun/tap?",
		"--remoet":         "; did you mean --remote?",
		"iinet":            "; did you mean inet?",
		"nothing-near":     "",
		"":                 "",
	} {
		if got := DidYouMean(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestClaimsConflict(t *testing.T) {
	const alone = "give one of them another port"
	udp := func(local string, peers ...string) Claim {
		return Claim{Proto: "udp", Local: local, Port: 1194, Shared: &Sharing{Peers: peers}}
	}
	marked := udp("10.0.0.1", "b")
	marked.Shared.Terms = "--mark 7"
	for _, test := range []struct {
		a, b Claim
		want string // a part of it
	}{
		{Claim{Proto: "udp", Local: "10.0.0.1", Port: 1194}, Claim{Proto: "udp", Local: "10.0.0.1", Port: 1194}, alone},
		{Claim{Proto: "udp", Local: "10.0.0.1", Port: 1194}, Claim{Proto: "udp", Local: "10.0.0.2", Port: 1194}, ""},
		{Claim{Proto: "udp", Local: "10.0.0.1", Port: 1194}, Claim{Proto: "tcp", Local: "10.0.0.1", Port: 1194}, ""},
		{Claim{Proto: "udp", Local: "10.0.0.1", Port: 1194}, Claim{Proto: "udp", Local: "10.0.0.1", Port: 1195}, ""},
		{Claim{Proto: "udp", Local: "0.0.0.0", Port: 1194}, Claim{Proto: "udp", Local: "10.0.0.1", Port: 1194}, alone},
		{Claim{Proto: "udp", Local: "eth0", Port: 1194}, Claim{Proto: "udp", Local: "eth0", Port: 1194}, alone},
		{Claim{Proto: "udp", Local: "::1", Port: 1194}, Claim{Proto: "udp", Local: "0:0:0:0:0:0:0:1", Port: 1194}, alone},
		{Claim{Proto: "udp", Local: "0.0.0.0", Port: 1194}, Claim{Proto: "udp", Local: "::1", Port: 1194}, ""},

		{udp("10.0.0.1", "a"), udp("10.0.0.1", "b"), ""},
		{udp("eth0", "a"), udp("eth0"), ""},
		{udp("::1", "a"), udp("0:0:0:0:0:0:0:1", "b", "c"), ""},
		{udp("10.0.0.1"), udp("10.0.0.1"), "anybody"},
		{udp("10.0.0.1", "a", "b"), udp("10.0.0.1", "c", "b"), "both have b"},
		{udp("10.0.0.1", "a"), marked, "--mark 7"},
		{udp("10.0.0.1", "a"), Claim{Proto: "udp", Local: "10.0.0.1", Port: 1194}, alone},
		{udp("10.0.0.1", "a"), udp("0.0.0.0", "b"), alone},
		{udp("10.0.0.1", "a"), udp("10.0.0.2", "a"), ""},
	} {
		for _, got := range []string{test.a.Conflict(test.b), test.b.Conflict(test.a)} {
			if !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("%v and %v: %q, want %q", test.a, test.b, got, test.want)
			}
		}
	}
}

func TestPeersThatAreWrittenAlike(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{PeerName("::1", 1), PeerName("0:0::1", 1), true},
		{PeerName("::ffff:10.0.0.1", 1), PeerName("10.0.0.1", 1), true},
		{PeerName("10.0.0.1", 1), PeerName("10.0.0.1", 2), false},
		{PeerName("b", 0), PeerName("b", 1), false},
		{PeerName("b", 1), PeerName("c", 1), false},
	} {
		if got := test.a == test.b; got != test.same {
			t.Errorf("%s and %s: %v", test.a, test.b, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("--remote HOST 1 --local A x")
	f.Add("--port 99999 --port -1 --env a b --verb")
	f.Add("inet 1.2.3.4 netmask 0xffffff00 inet6 fd00::1/64 hwaddr 8:0:20:1:2:3 interface tap0")
	f.Fuzz(func(t *testing.T, line string) {
		args := words(line)
		var none []tmesh.Word
		args.NoEffect = &none
		calls := 0
		each := func(read func(Values)) func(Values) error {
			return func(v Values) error {
				calls++
				read(v)
				return nil
			}
		}
		err := args.Parse([]Option{
			{Name: "--remote", Values: "HOST [PORT] [PROTO]", Repeat: true, Set: each(func(v Values) { v.Port(1) })},
			{Name: "--port", Values: "N", Set: each(func(v Values) { v.Port(0); v.Seconds(0) })},
			{Name: "--env", Values: "[WORD…]", Repeat: true, Set: each(func(v Values) {})},
			{Name: "--verb", Values: "N"},
			{Name: "inet", Values: "ADDR", Set: each(func(v Values) { v.Addr4(0); v.Addr(0) })},
			{Name: "netmask", Values: "MASK", Set: each(func(v Values) { v.Netmask(0) })},
			{Name: "inet6", Values: "ADDR/LEN", Set: each(func(v Values) { v.Prefix6(0) })},
			{Name: "hwaddr", Values: "MAC", Set: each(func(v Values) { v.HardwareAddr(0) })},
			{Name: "interface", Values: "NAME", Set: each(func(v Values) { v.InterfaceName(0) })},
		})
		if err == nil && len(args.Words) > 0 && calls+len(none) == 0 {
			t.Fatalf("%q was neither taken nor complained of", line)
		}
	})
}
