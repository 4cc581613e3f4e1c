package profile

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"tmelink/internal/tmesh"
)

// CommandLine is the file's name in the places of a command line.
const CommandLine = "command line"

// ParseArgs reads OpenVPN's command line, without the program's name, by the
// rules of its parse_argv (options.c): an option and its values each are an
// argument, values are what does not begin with "--", and a single argument that
// does not is the name of a configuration file. A --config stays a directive.
// The places are those in the text that ArgsText gives.
func ParseArgs(args []string) (Profile, tmesh.Faults) {
	var p Profile
	var faults tmesh.Faults
	words, _ := layOut(args)
	if len(words) == 1 && !strings.HasPrefix(words[0].Text, "--") {
		d := Directive{Name: "config", Pos: words[0].Pos}
		d.addValues(words)
		p.Directives = []Directive{d}
		return p, nil
	}
	for len(words) > 0 {
		if len(p.Directives) == maxDirectives || len(faults) == maxFaults {
			faults = append(faults, tmesh.Faultf(words[0].Pos, "from here on nothing is read: there are too many options or faults"))
			break
		}
		first := words[0]
		n := 1
		for n < len(words) && n < maxWords && !strings.HasPrefix(words[n].Text, "--") {
			n++
		}
		values := words[1:n]
		words = words[n:]
		name, dashes := strings.CutPrefix(first.Text, "--")
		switch {
		case !dashes:
			faults = append(faults, tmesh.Faultf(first.Pos, "an option such as --remote is wanted here; one option has at most %d values", maxWords-1))
		case !isName(name):
			faults = append(faults, tmesh.Faultf(first.Pos, "this is not the name of an option"))
		default:
			d := Directive{Name: name, Pos: first.Pos}
			d.addValues(values)
			p.Directives = append(p.Directives, d)
		}
	}
	return p, faults
}

// ArgsText is a command line as one line of text, for showing places in it. An
// argument that a shell would split stands in single quotes; what cannot be
// printed is a question mark.
func ArgsText(args []string) []byte {
	_, text := layOut(args)
	return []byte(text)
}

// layOut gives the arguments as words with their places in one line, and it.
func layOut(args []string) ([]tmesh.Word, string) {
	var line strings.Builder
	column := 1
	words := make([]tmesh.Word, len(args))
	for i, arg := range args {
		if i > 0 {
			line.WriteByte(' ')
			column++
		}
		words[i] = tmesh.Word{Text: arg, Pos: tmesh.Pos{File: CommandLine, Line: 1, Column: column}}
		shown := strings.Map(printable, arg)
		if arg == "" || strings.ContainsAny(shown, " '\"\\$&|;<>()*?#`") {
			shown = "'" + shown + "'"
		}
		line.WriteString(shown)
		column += utf8.RuneCountInString(shown)
	}
	return words, line.String()
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}
