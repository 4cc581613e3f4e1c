package tmesh

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// lastColumns gives for each line the column behind its last character.
func lastColumns(text []byte) []int {
	var last []int
	for line := range bytes.Lines(bytes.TrimPrefix(text, []byte(byteOrderMark))) {
		last = append(last, utf8.RuneCount(bytes.TrimRight(line, "\r\n"))+1)
	}
	if len(last) == 0 {
		last = []int{1}
	}
	return last
}

// FuzzParse: no text brings the parser down, every place is in the text, and a
// text without faults has a canonical form that says the same.
func FuzzParse(f *testing.F) {
	for _, folder := range []string{"format", "faults"} {
		for _, text := range inputs(f, folder) {
			f.Add(text)
			for line := range bytes.Lines(text) {
				f.Add(line)
			}
		}
	}
	f.Fuzz(checkText)
}

// TestRandomTexts checks the same of texts that are made of what the language
// is made of, which a fuzzer of bytes comes upon rarely.
func TestRandomTexts(t *testing.T) {
	pieces := strings.Split(`le0|sw0|at|at|:|:|: tme/x|"|"|" |#| # c|\|;|a b|fd00::1|--local|log|alias|source|command|connect|ls|pwd|off|1|+=|ä|!`, "|")
	pieces = append(pieces, " ", " ", " ", "\n", "\n", "\r\n", "\t", "\\\n", "\\ \n", "\x00", "\xff", "\uFEFF", `""`)
	random := rand.New(rand.NewPCG(1, 2))
	whole := 0
	for range 50000 {
		var text []byte
		for range random.IntN(25) {
			text = append(text, pieces[random.IntN(len(pieces))]...)
		}
		checkText(t, text)
		if f, faults := Parse("x", text); len(faults) == 0 && len(f.Statements) > 0 {
			whole++
		}
	}
	if whole < 500 {
		t.Errorf("only %d of the texts are descriptions without fault: the pieces test little", whole)
	}
}

func checkText(t *testing.T, text []byte) {
	last := lastColumns(text)
	inside := func(pos Pos) {
		if pos.File != "x" || pos.Line < 1 || pos.Line > len(last) || pos.Column < 1 || pos.Column > last[pos.Line-1] {
			t.Fatalf("%q: place %v is outside the text", text, pos)
		}
	}
	file, faults := Parse("x", text)
	for _, fault := range faults {
		inside(fault.Pos)
		if fault.Msg == "" || strings.Contains(fault.Msg, "\n") {
			t.Fatalf("%q: message %q", text, fault.Msg)
		}
	}
	for _, s := range file.Statements {
		inside(s.Pos())
		for _, w := range wordsOf(s) {
			inside(w.Pos)
		}
		for _, c := range s.Comments() {
			inside(c.Pos)
		}
	}
	if len(faults) == 0 {
		sameMeaning(t, text, file)
	}
}

func wordsOf(s Statement) []Word {
	switch s := s.(type) {
	case *Element:
		all := append([]Word{s.Name}, s.Args...)
		if s.Other != nil {
			all = append(append(all, s.Other.Name), s.Other.Args...)
		}
		if s.Type != nil {
			all = append(append(all, *s.Type), s.TypeArgs...)
		}
		return all
	case *Alias:
		return []Word{s.New, s.Old}
	case *Source:
		return []Word{s.Path}
	case *Log:
		return []Word{s.Element, s.Level}
	case *Command:
		return append([]Word{s.Element}, s.Args...)
	case *Shell:
		return append([]Word{s.Verb}, s.Args...)
	}
	return nil
}

// FuzzLoad: whatever three files source, loading them ends, and no Source is
// left among the statements.
func FuzzLoad(f *testing.F) {
	f.Add("source b", "source c; source c", "a at b\nsource d")
	f.Add("source b; source ./c", "source ../x/a", "source b\nlog a 1")
	f.Add("source \"\"; source /b; source .", "source c\nsource c", "source c")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		r := &reader{files: map[string]string{"a": a, "b": b, "c": c}}
		statements, _, faults := Load("a", r.open)
		for _, s := range statements {
			if _, ok := s.(*Source); ok {
				t.Fatal("a source is left")
			}
		}
		if len(faults) > maxFaults+1 {
			t.Fatalf("%d faults", len(faults))
		}
	})
}
