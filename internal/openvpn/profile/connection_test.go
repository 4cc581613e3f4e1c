package profile

import (
	"strings"
	"testing"

	"tmelink/internal/tmesh"
)

func TestParseConnection(t *testing.T) {
	at := tmesh.Pos{File: "t", Line: 7, Column: 3}
	block, faults := ParseConnection(at, "remote a 443 tcp-client\n\n# by way of\nhttp-proxy p \"31 28\"\n")
	if faults != nil {
		t.Fatal(faults)
	}
	d := Connection(block)
	if got, want := strings.Join(d.Values, "|"), "--remote|a|443|tcp-client|--http-proxy|p|31 28"; d.Name != "connection" || got != want {
		t.Errorf("%s %q, want %q", d.Name, got, want)
	}
	words := d.Words()
	if got, want := words[5].Pos.String(), "t:10:1"; words[5].Text != "--http-proxy" || got != want || !words[5].Quoted {
		t.Errorf("%+v, want it quoted at %s", words[5], want)
	}
	for text, want := range map[string]string{
		"":                       "t:7:3: a <connection> has exactly one remote, and this one has 0",
		"remote a\nremote b":     "t:7:3: a <connection> has exactly one remote, and this one has 2",
		"remote a\n<connection>": "t:8:1: <connection> is not closed",
		"remote \"a":             "t:7:",
	} {
		_, faults := ParseConnection(at, text)
		if len(faults) == 0 || !strings.HasPrefix(faults[0].Error(), want) {
			t.Errorf("%q: %v, want %s", text, faults, want)
		}
	}
}

func TestCommon(t *testing.T) {
	p, faults := Parse("f", []byte("<connection>\nremote a\nfloat\nlport 1\n</connection>\n<connection>\nremote b\nproto udp\nfloat\n</connection>\n"))
	if faults != nil {
		t.Fatal(faults)
	}
	common, rest, faults := Common(p.Connections, func(name string) bool { return name == "remote" || name == "proto" })
	if got, want := lay(common), "float\nlport|1\n"; got != want {
		t.Errorf("common %q, want %q", got, want)
	}
	if got, want := lay(rest[0])+lay(rest[1]), "remote|a\nremote|b\nproto|udp\n"; got != want {
		t.Errorf("rest %q, want %q", got, want)
	}
	if len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), "f:4:1: lport is not the same in every <connection>") {
		t.Errorf("faults %v", faults)
	}
}
