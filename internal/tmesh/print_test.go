package tmesh

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPrint(t *testing.T) {
	sources := Sources{
		"a.tme": []byte("\uFEFFfirst\r\n\tsecond\tline\r\n\x1b[2J\xffbad\u202e\n" + strings.Repeat("0123456789", 30) + "\nlast"),
		"b.tme": nil,
	}
	tail := strings.Repeat("0123456789", 10)
	for _, c := range []struct {
		pos  Pos
		want string
	}{
		{Pos{}, "oh\n"},
		{Pos{File: "a.tme"}, "a.tme: oh\n"},
		{Pos{"c.tme", 1, 1}, "c.tme:1:1: oh\n"},
		{Pos{"b.tme", 1, 1}, "b.tme:1:1: oh\n    \n    ^\n"},
		{Pos{"b.tme", 2, 1}, "b.tme:2:1: oh\n"},
		{Pos{"a.tme", 1, 1}, "a.tme:1:1: oh\n    first\n    ^\n"},
		{Pos{"a.tme", 1, 6}, "a.tme:1:6: oh\n    first\n         ^\n"},
		{Pos{"a.tme", 1, 99}, "a.tme:1:99: oh\n    first\n         ^\n"},
		{Pos{"a.tme", 1, 0}, "a.tme:1:0: oh\n    first\n    ^\n"},
		{Pos{"a.tme", 2, 9}, "a.tme:2:9: oh\n    \tsecond\tline\n    \t      \t^\n"},
		{Pos{"a.tme", 3, 6}, "a.tme:3:6: oh\n    ?[2J?bad?\n         ^\n"},
		{Pos{"a.tme", 4, 100}, "a.tme:4:100: oh\n    " + tail + " …\n    " + strings.Repeat(" ", 99) + "^\n"},
		{Pos{"a.tme", 4, 151}, "a.tme:4:151: oh\n    … " + tail + " …\n    " + strings.Repeat(" ", 52) + "^\n"},
		{Pos{"a.tme", 4, 301}, "a.tme:4:301: oh\n    … " + tail[:50] + "\n    " + strings.Repeat(" ", 52) + "^\n"},
		{Pos{"a.tme", 5, 1}, "a.tme:5:1: oh\n    last\n    ^\n"},
	} {
		var out strings.Builder
		Faults{Faultf(c.pos, "oh")}.Print(&out, sources)
		if out.String() != c.want {
			t.Errorf("%+v\n got %q\nwant %q", c.pos, out.String(), c.want)
		}
	}
	// Out of order, too.
	var out strings.Builder
	Faults{Faultf(Pos{"a.tme", 5, 1}, "x"), Faultf(Pos{"a.tme", 1, 2}, "y")}.Print(&out, sources)
	if want := "a.tme:5:1: x\n    last\n    ^\na.tme:1:2: y\n    first\n     ^\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestFaultsAdd(t *testing.T) {
	here, there := Pos{"a", 1, 1}, Pos{"a", 2, 2}
	var fs Faults
	fs.Add(here, nil)
	fs.Add(here, errors.New("plain"))
	fs.Add(here, fmt.Errorf("open: %w", Faultf(there, "placed")))
	fs.Add(here, errors.Join(Faultf(there, "joined"), errors.New("beside")))
	fs.Add(here, Faults{Faultf(there, "several"), Faultf(there, "several")})
	want := "a:1:1: plain\na:2:2: placed\na:2:2: joined\na:1:1: beside\na:2:2: several\na:2:2: several"
	if fs.Error() != want {
		t.Errorf("got\n%s", fs)
	}
	fs.Sort()
	want = "a:1:1: plain\na:1:1: beside\na:2:2: placed\na:2:2: joined\na:2:2: several"
	if fs.Error() != want {
		t.Errorf("sorted\n%s", fs)
	}
}

// Whatever the line and the place, what is printed has one caret, no control
// character but tabs, and a bounded length.
func FuzzPrint(f *testing.F) {
	f.Add([]byte("le0 at\tsbus0\r\n"), 1, 8)
	f.Add([]byte("\uFEFF\x1b[2J\xff\n\n"), 3, -1)
	f.Fuzz(func(t *testing.T, text []byte, line, column int) {
		var out bytes.Buffer
		Faults{Faultf(Pos{"x", line, column}, "oh")}.Print(&out, Sources{"x": text})
		shown := out.String()
		if utf8.RuneCountInString(shown) > 400 || !utf8.ValidString(shown) || strings.ContainsAny(shown, "\x1b\r\x00") {
			t.Errorf("%q", shown)
		}
		if n := strings.Count(shown, "\n"); n != 1 && n != 3 {
			t.Errorf("%d lines: %q", n, shown)
		}
	})
}
