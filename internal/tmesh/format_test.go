package tmesh

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Descriptions beside their canonical form.
func TestFormatFiles(t *testing.T) {
	for file, text := range inputs(t, "format") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, faults := Parse(file, text)
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			formatted := Format(f)
			expect(t, strings.TrimSuffix(file, ".tme")+".out", formatted)
			sameMeaning(t, text, f)
		})
	}
}

// sameMeaning checks that a file's canonical form is one, and says what the
// file says.
func sameMeaning(t *testing.T, text []byte, f *File) {
	t.Helper()
	formatted := Format(f)
	again, faults := Parse(f.Name, formatted)
	if len(faults) > 0 {
		t.Fatalf("%q\nformatted %q\nhas faults: %v", text, formatted, faults)
	}
	if twice := Format(again); string(twice) != string(formatted) {
		t.Fatalf("%q\nformatted  %q\nonce more  %q", text, formatted, twice)
	}
	a, b := meaning(f), meaning(again)
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("%q\nformatted %q\nbefore %q\nafter  %q", text, formatted, a, b)
	}
}

// meaning is what must not change: every word in its place of the tree, whether
// arguments were quoted, and the comments.
func meaning(f *File) []string {
	var all []string
	names := func(words ...Word) {
		for _, w := range words {
			all = append(all, "name "+w.Text)
		}
	}
	args := func(words ...Word) {
		for _, w := range words {
			quoted := map[bool]string{true: "quoted "}[w.Quoted]
			all = append(all, quoted+"argument "+w.Text)
		}
	}
	comments := func(cs []Comment) {
		for _, c := range cs {
			if c.Text != "" {
				all = append(all, map[bool]string{true: "beside "}[c.Beside]+"comment "+c.Text)
			}
		}
	}
	for _, s := range f.Statements {
		all = append(all, reflect.TypeOf(s).String())
		comments(s.Comments())
		switch s := s.(type) {
		case *Element:
			names(s.Name)
			args(s.Args...)
			if s.Other != nil {
				all = append(all, "at")
				names(s.Other.Name)
				args(s.Other.Args...)
			}
			if s.Type != nil {
				all = append(all, "type")
				names(*s.Type)
				args(s.TypeArgs...)
			}
		case *Alias:
			names(s.New, s.Old)
		case *Source:
			names(s.Path)
		case *Log:
			names(s.Element, s.Level)
		case *Command:
			names(s.Element)
			args(s.Args...)
		case *Shell:
			names(s.Verb)
			names(s.Args...)
		}
	}
	comments(f.Trailing)
	return all
}

// Statements that no text stands behind have no places, and words that need
// quotes get them.
func TestFormatMade(t *testing.T) {
	w := func(text string) Word { return Word{Text: text} }
	typ := w("tme/ic/am7990")
	f := &File{Statements: []Statement{
		&Element{End: End{Name: w("le 0"), Args: []Word{w("a:b"), w("")}}, Other: &End{Name: w("x+y")}, Type: &typ, TypeArgs: []Word{w("fd00::1"), w("b c"), w("#"), w("?")}},
		&Source{Path: w("a+b")},
		&Source{Path: w(":a")},
		&Command{Element: w("le0"), Args: []Word{w(`say "hi"`)}},
	}}
	want := `"le 0" "a:b" "" at "x+y": tme/ic/am7990 fd00::1 "b c" "#" "?"
source a+b
source ":a"
command le0 "say hi"
`
	if got := string(Format(f)); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"eth0": "eth0", "fd00::1/64": "fd00::1/64", "--dev": "--dev", "a b": `"a b"`, "": `""`, "ä": `"ä"`, "a#b": `"a#b"`, `a"b`: `"ab"`,
	} {
		if got := Quote(text); got != want {
			t.Errorf("Quote(%q) = %s, want %s", text, got, want)
		}
	}
}
