package bpf

import (
	"log/slog"
	"strings"
	"testing"

	"tmelink/internal/element"
	"tmelink/internal/nstest"
	"tmelink/internal/tmesh"
)

func buildNetns(text string, log *nstest.Buffer) (*Netns, error) {
	args := element.Args{Pos: tmesh.Pos{File: "test", Line: 1, Column: 99}}
	for i, w := range strings.Fields(text) {
		args.Words = append(args.Words, tmesh.Word{Text: w, Pos: tmesh.Pos{File: "test", Line: 1, Column: i + 1}})
	}
	e, err := newNetns(element.Env{Machine: "m", Name: "ns0", Log: slog.New(slog.NewTextHandler(log, nil))}, args)
	if err != nil {
		return nil, err
	}
	return e.(*Netns), nil
}

func TestNetnsWords(t *testing.T) {
	for _, test := range []struct{ text, fault string }{
		{"lab", ""},
		{"interface", ""}, // a namespace of that name
		{"lab interface e5 inet 10.0.0.1/24 inet fd00::1/64 hwaddr 2:0:0:0:0:5 mtu 9000", ""},
		{"", "test:1:99: the network namespace is missing"},
		{"a/b", "test:1:1: \"a/b\" cannot be a network namespace's name"},
		{"..", "cannot be a network namespace's name"},
		{"lab inet 10.0.0.1", "test:1:3: inet: \"10.0.0.1\" is not the address of a host"},
		{"lab inet 0.0.0.0/0", "is not the address of a host"},
		{"lab hwaddr ff:ff:ff:ff:ff:ff", "is not the hardware address of one station"},
		{"lab mtu 1279 inet fd00::1/64", "too small for IPv6"},
		{"lab interfase e5", "did you mean interface?"},
	} {
		e, err := buildNetns(test.text, &nstest.Buffer{})
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%q: %v, want %q", test.text, err, test.fault)
		}
		if err == nil {
			if err := e.Close(); err != nil {
				t.Errorf("%q, never started: %v", test.text, err)
			}
		}
	}
}
