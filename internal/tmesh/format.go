package tmesh

import "strings"

// Format gives a file's canonical form: a statement begins at a line's begin,
// words are separated by one space, `connect` is left out, and where a statement
// went on over several lines it still does, indented. Comments stay, and at most
// one blank line between two statements.
//
// Names, types and file names are quoted only where they must be. Arguments that
// were quoted stay so: the quotes can make a value of a word that would else be
// an option, and TME's own shell wants them around more than this language does.
//
// Format wants a file without faults. A quote character in a word is left out:
// no description can hold one.
func Format(f *File) []byte {
	p := printer{}
	for _, s := range f.Statements {
		p.comments(s.Comments(), false)
		p.statement(s)
		p.comments(s.Comments(), true)
		p.text.WriteByte('\n')
	}
	p.comments(f.Trailing, false)
	return []byte(p.text.String())
}

// Quote gives an argument of a type or a command as it stands in a description,
// in quotes if it needs them.
func Quote(text string) string {
	if text != "" && only(text, plain|extended|colonly) {
		return text
	}
	return quotes(text)
}

func quotes(text string) string { return `"` + strings.ReplaceAll(text, `"`, "") + `"` }

// quoteName is Quote for what is no argument.
func quoteName(text string) string {
	if text != "" && only(text, plain) {
		return text
	}
	return quotes(text)
}

type printer struct {
	text strings.Builder
	gap  bool // a blank line is wanted before what comes next
	line int  // in the source, where the last word ended; 0 before the first
}

// comments prints those that stand before a statement, or the one beside it.
func (p *printer) comments(all []Comment, beside bool) {
	for _, c := range all {
		switch {
		case c.Beside != beside:
		case beside:
			p.text.WriteString(" " + c.Text)
		case c.Text == "":
			p.gap = p.text.Len() > 0
		default:
			p.begin()
			p.text.WriteString(c.Text + "\n")
		}
	}
}

// begin begins a line.
func (p *printer) begin() {
	if p.gap {
		p.text.WriteByte('\n')
	}
	p.gap = false
	p.line = 0
}

func (p *printer) statement(s Statement) {
	p.begin()
	switch s := s.(type) {
	case *Element:
		p.element(s)
	case *Alias:
		p.keyword("alias", s.At)
		p.names(s.New, s.Old)
	case *Source:
		p.keyword("source", s.At)
		p.fileName(s.Path)
	case *Log:
		p.keyword("log", s.At)
		p.names(s.Element, s.Level)
	case *Command:
		p.keyword("command", s.At)
		p.names(s.Element)
		p.arguments(s.Args, true)
	case *Shell:
		p.keyword(s.Verb.Text, s.At)
		for _, w := range s.Args {
			p.fileName(w)
		}
	}
}

func (p *printer) element(e *Element) {
	p.names(e.Name)
	p.arguments(e.Args, false)
	if e.Other != nil {
		p.word(e.Other.Name, "at "+quoteName(e.Other.Name.Text))
		p.arguments(e.Other.Args, false)
	}
	if e.Type != nil {
		p.text.WriteByte(':')
		p.names(*e.Type)
		p.arguments(e.TypeArgs, true)
	}
}

func (p *printer) keyword(verb string, at Pos) { p.word(Word{Pos: at}, verb) }

func (p *printer) names(words ...Word) {
	for _, w := range words {
		p.word(w, quoteName(w.Text))
	}
}

// arguments prints words that are quoted if they were. colons says that they
// stand where a colon belongs to its word.
func (p *printer) arguments(words []Word, colons bool) {
	for _, w := range words {
		if w.Quoted || !colons && strings.Contains(w.Text, ":") {
			p.word(w, quotes(w.Text))
		} else {
			p.word(w, Quote(w.Text))
		}
	}
}

// fileName prints the name of a file or folder, also of the live shell's. One
// that begins with a colon would look as if the keyword were an element's name.
func (p *printer) fileName(w Word) {
	if only(w.Text, plain) || w.Quoted || strings.HasPrefix(w.Text, ":") {
		p.word(w, quoteName(w.Text))
	} else {
		p.word(w, Quote(w.Text))
	}
}

// word prints a word behind the last one, on a further line if it stood on one.
func (p *printer) word(w Word, text string) {
	switch {
	case p.atBegin():
	case p.line != 0 && w.Pos.Line > p.line:
		p.text.WriteString(" \\\n    ")
	default:
		p.text.WriteByte(' ')
	}
	p.text.WriteString(text)
	if w.Pos.Line > 0 {
		p.line = w.Pos.Line + strings.Count(w.Text, "\n")
	}
}

func (p *printer) atBegin() bool {
	s := p.text.String()
	return s == "" || s[len(s)-1] == '\n'
}
