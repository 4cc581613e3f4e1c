package profile

import (
	"strings"
	"testing"
)

func TestArgs(t *testing.T) {
	for _, test := range []struct{ args, want, faults string }{
		{"--dev|tap|--remote|a|1194|udp|--float", "dev|tap\nremote|a|1194|udp\nfloat\n", ""},
		{"x.ovpn", "config|x.ovpn\n", ""},
		{"--config|x.ovpn|--verb|4", "config|x.ovpn\nverb|4\n", ""},
		{"--nice|-5", "nice|-5\n", ""},
		{"--setenv|x|a b #c|", "setenv|x|a b #c|\n", ""},
		{"dev|tap|--verb|4", "verb|4\n", "command line:1:1: an option such as --remote is wanted here"},
		{"--|a|--dev|tap", "dev|tap\n", "command line:1:1: this is not the name of an option"},
		{"--dev|tap|--<ca>", "dev|tap\n", "command line:1:11: this is not the name of an option"},
		{"--a|1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16", "a|1|2|3|4|5|6|7|8|9|10|11|12|13|14|15\n", "command line:1:41: an option such as --remote"},
		{strings.Repeat("--a|", 10000) + "--b", strings.Repeat("a\n", 10000), "too many options"},
		{strings.Repeat("--|", 100) + "--b", "", "command line:1:301: from here on nothing is read"},
	} {
		p, faults := ParseArgs(strings.Split(test.args, "|"))
		if got := lay(p.Directives); got != test.want {
			t.Errorf("%.60q gives %.80q, want %.80q", test.args, got, test.want)
		}
		if got := faults.Error(); !strings.Contains(got, test.faults) || (test.faults == "") != (got == "") {
			t.Errorf("%.60q: faults %.200q, want %q", test.args, got, test.faults)
		}
	}
	if p, faults := ParseArgs(nil); len(p.Directives) > 0 || faults != nil {
		t.Errorf("no arguments give %v and %v", p, faults)
	}
}

// TestArgsText: the places are those in the text.
func TestArgsText(t *testing.T) {
	args := []string{"--up", "a 'b'", "--setenv", "ä\n", "", "--dev"}
	if got, want := string(ArgsText(args)), "--up 'a 'b'' --setenv 'ä?' '' --dev"; got != want {
		t.Errorf("the text is %q, want %q", got, want)
	}
	p, _ := ParseArgs(args)
	if got, want := p.Directives[2].Pos.Column, 31; got != want {
		t.Errorf("--dev is at column %d, want %d", got, want)
	}
}

func FuzzParseArgs(f *testing.F) {
	f.Add("--dev\x00tap\x00--remote\x00a b\x00#c\x00--float")
	f.Add("x.ovpn")
	f.Add("--setenv\x00\x00\"\x00'\\")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		p, faults := ParseArgs(args)
		words := 0
		text := []rune(string(ArgsText(args)))
		for _, d := range p.Directives {
			words += 1 + len(d.Values)
			for _, w := range d.Words() {
				if w.Pos.Line != 1 || w.Pos.Column < 1 || w.Pos.Column > len(text) {
					t.Fatalf("%q has a word at no place: %v", line, w.Pos)
				}
			}
			printed := d.String()
			if len(printed) > maxLine || strings.ContainsRune(printed, '\n') || d.Name == block {
				continue
			}
			again, faults := Parse("again", []byte(printed))
			if faults != nil || len(again.Directives) != 1 || !sameDirective(again.Directives[0], d) {
				t.Fatalf("%q is read as %q, with %v", printed, again.Directives, faults)
			}
		}
		if single := len(args) == 1 && len(p.Directives) == 1 && p.Directives[0].Name == "config" && len(p.Directives[0].Values) == 1; faults == nil && words != len(args) && !single {
			t.Fatalf("%q: %d words of %d arguments, and no fault", line, words, len(args))
		}
	})
}
