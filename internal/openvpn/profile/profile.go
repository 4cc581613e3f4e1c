// Package profile reads OpenVPN's configuration files and command lines, and
// gives their options as words, each with its place.
//
// A text or a command line goes in; directives come out, together with all that
// is wrong with their form. What an option means, which options there are and
// how many values each takes is not known here. The package opens no file: a
// --config is a directive like any other, and its reader bounds how deep they
// nest. Texts between tags are often keys: no fault shows any of them, nor a
// line that may have been meant to stand between tags.
package profile

import (
	"slices"
	"strings"

	"tmelink/internal/tmesh"
)

// Profile is what a file or a command line says.
type Profile struct {
	Directives []Directive // in the order of the text
	// Connections are the <connection> blocks, each with exactly one remote.
	// OpenVPN gives a block the settings that stand before it as defaults.
	Connections [][]Directive
}

// Directive is one option with its values.
type Directive struct {
	Name   string // without dashes: "remote"
	Values []string
	// Inline says that the only value is the text between <name> and </name>,
	// of whole lines, each ended by "\n".
	Inline bool
	Pos    tmesh.Pos // of the name

	places []tmesh.Pos // of the values
}

// Words are the directive as words of a description: "--remote" and its values,
// which count as quoted, so that none of them is taken for an option.
func (d Directive) Words() []tmesh.Word {
	words := []tmesh.Word{{Text: "--" + d.Name, Pos: d.Pos}}
	for i, v := range d.Values {
		word := tmesh.Word{Text: v, Pos: d.Pos, Quoted: true}
		if i < len(d.places) {
			word.Pos = d.places[i]
		}
		words = append(words, word)
	}
	return words
}

// String writes the directive as it stands in a file, an inline text between its
// tags; Parse reads the same from it. Only a command line can give a value with
// a line end that is not inline, and none has a form in a file. What is returned
// may hold keys: it is for a file and not for a log.
func (d Directive) String() string {
	if d.Inline {
		return "<" + d.Name + ">\n" + strings.Join(d.Values, "") + "</" + d.Name + ">"
	}
	var b strings.Builder
	b.WriteString(d.Name)
	for _, v := range d.Values {
		b.WriteByte(' ')
		b.WriteString(quote(v))
	}
	return b.String()
}

// Find gives the directives of a name, in their order.
func (p Profile) Find(name string) []Directive {
	var found []Directive
	for _, d := range p.Directives {
		if d.Name == name {
			found = append(found, d)
		}
	}
	return found
}

// quote puts a value in quotes where it would else not be one word.
func quote(v string) string {
	if v != "" && !slices.Contains([]byte(`"'#;`), v[0]) && !strings.ContainsAny(v, " \t\v\f\r\n\\") {
		return v
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
}

// isName says whether a word can be the name of an option. None of OpenVPN's is
// longer than these bounds, and each line of a key is: a key that lost its tags
// is not taken for an option, which others would show in their errors.
func isName(s string) bool {
	const longest, longestPart = 48, 24
	if s == "" || len(s) > longest {
		return false
	}
	part := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '-' || c == '_':
			if part == 0 {
				return false
			}
			part = 0
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			if part++; part > longestPart {
				return false
			}
		default:
			return false
		}
	}
	return part > 0
}
