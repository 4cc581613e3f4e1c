package main

import (
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 100}, 3.5}} {
		before := append([]float64(nil), c.values...)
		if got := median(c.values); got != c.want {
			t.Errorf("%v: got %v, want %v", c.values, got, c.want)
		}
		if !reflect.DeepEqual(c.values, before) {
			t.Errorf("the rounds' order was changed: %v, was %v", c.values, before)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("there is a median of nothing")
	}
	if got := newValue([]float64{9, 1, 5}); got.Median != 5 || got.Min != 1 || got.Max != 9 {
		t.Errorf("got %+v", got)
	}
}

// result is one with the values of a figure of two subjects.
func result(figure string, ours, theirs []float64) *Result {
	return &Result{Settings: Settings{Rounds: len(ours)}, Subjects: []Subject{
		{Name: "tmelink-udp", Title: "tmelink-udp", Base: "openvpn-udp", Figures: map[string]Value{figure: newValue(ours)}},
		{Name: "openvpn-udp", Title: "openvpn-udp", Base: "openvpn-udp", Figures: map[string]Value{figure: newValue(theirs)}},
	}}
}

func TestCompareMarksWhatIsBeyondTheNoise(t *testing.T) {
	for _, c := range []struct {
		name, figure string
		old, new     []float64
		want         string
	}{
		{"ranges apart, more", tcpForward, []float64{1, 1.1, 1.2}, []float64{1.3, 1.4, 1.5}, "better"},
		{"ranges apart, less", tcpForward, []float64{1.3, 1.4, 1.5}, []float64{1, 1.1, 1.2}, "WORSE"},
		{"ranges overlap", tcpForward, []float64{1, 1.1, 1.31}, []float64{1.3, 1.4, 1.5}, ""},
		{"ranges touch", tcpForward, []float64{1, 1.1, 1.3}, []float64{1.3, 1.4, 1.5}, ""},
		{"a longer ping", pingTime, []float64{0.08, 0.081}, []float64{0.09, 0.091}, "WORSE"},
		{"a shorter ping", pingTime, []float64{0.09, 0.091}, []float64{0.08, 0.081}, "better"},
		{"one round", tcpForward, []float64{1}, []float64{5}, ""},
	} {
		theirs := []float64{1, 1}
		out := compare(result(c.figure, c.old, theirs), result(c.figure, c.new, theirs))
		line := ""
		for l := range strings.Lines(out) {
			if strings.HasPrefix(l, "tmelink-udp") {
				line = strings.TrimSpace(l)
			}
		}
		if got := strings.HasSuffix(line, "better"); got != (c.want == "better") {
			t.Errorf("%s: %s", c.name, line)
		}
		if got := strings.HasSuffix(line, "WORSE"); got != (c.want == "WORSE") {
			t.Errorf("%s: %s", c.name, line)
		}
	}
}

func TestCompareTellsWhatIsMissing(t *testing.T) {
	old := result(tcpForward, []float64{2, 2}, []float64{1, 1})
	new := result(tcpBack, []float64{3, 3}, []float64{1, 1})
	new.Subjects[1].Name = "bridge"
	new.Machine.CPU = "another"
	out := compare(old, new)
	for _, want := range []string{"no longer measured", "newly measured", "only in old: openvpn-udp", "only in new: bridge", "different machines"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
}

func TestGoals(t *testing.T) {
	verdict := func(r *Result, figure string) string {
		for _, g := range r.reached() {
			if g.figure == figure && g.subject == "tmelink-udp" {
				return g.verdict() + " " + g.got()
			}
		}
		return ""
	}
	for _, c := range []struct {
		figure       string
		ours, theirs float64
		want         string
	}{
		{tcpForward, 7, 1, "met 7.00×"},
		{tcpForward, 6.99, 1, "MISSED 6.99×"},
		{pingTime, 0.09, 0.1, "met 0.900×"},
		{pingTime, 0.091, 0.1, "MISSED 0.910×"},
		{cpuTime, 1.5, 10, "met 0.150×"},
		{tcpBack, 1, 0, "not measured –"},
	} {
		if got := verdict(result(c.figure, []float64{c.ours}, []float64{c.theirs}), c.figure); got != c.want {
			t.Errorf("%s %v to %v: %s, want %s", c.figure, c.ours, c.theirs, got, c.want)
		}
	}
	if got := verdict(&Result{}, tcpForward); got != "not measured –" {
		t.Errorf("of nothing: %s", got)
	}
}

func TestHandshake(t *testing.T) {
	r := result(handshake, []float64{4, 30.04, 5}, []float64{2000})
	r.Subjects[0].Name, r.Subjects[0].Base = "tmelink-udp-gcm", "openvpn-udp"
	r.Subjects[0].Title = "ours"
	text := r.figureTable(false).text()
	if !strings.Contains(text, "handshake ms") || !strings.Contains(text, "5.0 (0.003×)") {
		t.Errorf("the table does not have it:\n%s", text)
	}
	if text := page(r, ""); !strings.Contains(text, "- **handshake**") {
		t.Errorf("the page does not explain it:\n%s", text)
	}
	for _, c := range []struct {
		ms   float64
		want string
	}{{4.26, "≤ 30.0 ms 4.3 ms met"}, {30, "≤ 30.0 ms 30.0 ms met"}, {31, "≤ 30.0 ms 31.0 ms MISSED"}} {
		r.Subjects[0].Figures[handshake] = newValue([]float64{c.ms})
		for _, g := range r.reached() {
			if got := g.wanted() + " " + g.got() + " " + g.verdict(); g.figure == handshake && got != c.want {
				t.Errorf("%v ms: got %s, want %s", c.ms, got, c.want)
			}
		}
	}
}

// TestResultOfBeforeKeys reads a result that knows of no keyed links.
func TestResultOfBeforeKeys(t *testing.T) {
	old, err := loadResult("testdata/result.json")
	if err != nil {
		t.Fatal(err)
	}
	if text := page(old, ""); strings.Contains(text, "**handshake**") {
		t.Errorf("the page explains a column that there is not:\n%s", text)
	}
	new := result(handshake, []float64{4}, []float64{2000})
	if out := compare(old, new); !strings.Contains(out, "newly measured") {
		t.Errorf("the comparison does not tell of the new figure:\n%s", out)
	}
}

func TestResultIsReadAsItWasSaved(t *testing.T) {
	r, err := loadResult("testdata/result.json")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	again, err := loadResult(path)
	if err != nil || !reflect.DeepEqual(r, again) {
		t.Errorf("got %+v, %v\nwant %+v", again, err, r)
	}
	if _, err := loadResult("result.go"); err == nil || !strings.Contains(err.Error(), "result.go is no result") {
		t.Errorf("of a file that is none: %v", err)
	}
}
