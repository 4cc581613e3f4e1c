package main

import (
	"strings"
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct{ patterns, want string }{
		{"openvpn-udp,tmelink-udp", "tmelink-udp openvpn-udp"},
		{"*-udp-static,*-tcp-gcm", "tmelink-udp-static openvpn-udp-static tmelink-tcp-gcm openvpn-tcp-gcm"},
		{"tmelink+openvpn", "tmelink+openvpn"},
		{"openvpn-*", "openvpn-udp openvpn-tcp openvpn-udp-gcm openvpn-udp-chacha openvpn-udp-static openvpn-tcp-gcm openvpn-udp-real"},
	} {
		chosen, err := choose(strings.Split(c.patterns, ","))
		var names []string
		for _, contender := range chosen {
			names = append(names, contender.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.patterns, got, err, c.want)
		}
	}
	if all, err := choose(nil); err != nil || len(all) != len(contenders) {
		t.Errorf("without names: %d subjects, %v", len(all), err)
	}
	if _, err := choose([]string{"openvpm-udp"}); err == nil || !strings.Contains(err.Error(), "openvpm-udp") {
		t.Errorf("a name that is none: %v", err)
	}
}

// TestContenders looks whether what goals and ratios are made of is there.
func TestContenders(t *testing.T) {
	r := &Result{}
	for _, c := range contenders {
		if r.subject(c.Name) != nil {
			t.Errorf("%s is there twice", c.Name)
		}
		r.Subjects = append(r.Subjects, c.Subject)
	}
	for _, c := range contenders {
		if r.subject(c.Base) == nil {
			t.Errorf("%s is compared with %q, which there is not", c.Name, c.Base)
		}
	}
	for _, g := range goals {
		if r.subject(g.subject) == nil || g.base != "" && r.subject(g.base) == nil {
			t.Errorf("the goal %q is about subjects which there are not", g.what)
		}
	}
}

func TestCounter(t *testing.T) {
	for _, c := range []struct {
		name       string
		numbers    []uint64
		lost, late uint64
	}{
		{"all in order", []uint64{7, 8, 9}, 0, 0},
		{"one lost", []uint64{7, 9}, 1, 0},
		{"two changed places", []uint64{7, 9, 8, 10}, 0, 1},
		{"one from before the first", []uint64{7, 6, 8}, 0, 1},
		{"one twice", []uint64{7, 7, 8}, 0, 1},
		{"none", nil, 0, 0},
	} {
		var counter counter
		for _, n := range c.numbers {
			counter.add(n)
		}
		got := counter.counted(2 * time.Second)
		if got.Received != uint64(len(c.numbers)) || got.Lost != c.lost || got.Late != c.late || got.Seconds != 2 {
			t.Errorf("%s: got %+v, want %d lost and %d late", c.name, got, c.lost, c.late)
		}
	}
}

func TestOutputCountsCollections(t *testing.T) {
	var o output
	// The runtime writes a line in pieces; the log's lines come whole.
	for _, piece := range []string{"gc ", "1", " @0.01s\n", "time=1 gc 7\n", "gc 2 @1s\ngc 3 @2s\n", "a gc\n", "gcc 1\n"} {
		o.Write([]byte(piece))
	}
	if got := o.gcs(); got != 3 {
		t.Errorf("counted %d collections, want 3", got)
	}
	o.Write([]byte(strings.Repeat("x", 2*outputKept) + "end"))
	if got := o.String(); len(got) != outputKept || !strings.HasSuffix(got, "end") {
		t.Errorf("kept %d bytes, want the last %d", len(got), outputKept)
	}
}

func TestLeft(t *testing.T) {
	for _, c := range []struct {
		passed    time.Duration
		done, all int
		want      string
	}{
		{0, 0, 45, ""},
		{20 * time.Second, 1, 4, " (about 61 s left)"},
		{200 * time.Second, 10, 40, " (about 10 min left)"},
	} {
		if got := left(c.passed, c.done, c.all); got != c.want {
			t.Errorf("%d of %d in %v: %q, want %q", c.done, c.all, c.passed, got, c.want)
		}
	}
}

func TestMissing(t *testing.T) {
	if got := missing([]string{"sh", "no-such-program"}); got != "not installed: no-such-program" {
		t.Errorf("got %q", got)
	}
	if got := missing([]string{"sh"}); got != "" {
		t.Errorf("got %q", got)
	}
}
