package tmesh

import (
	"slices"
	"strconv"
	"strings"
)

/*
The language. A newline or ';' ends a statement.

	statement  = element | keyword words
	element    = [ "connect" ] NAME args [ "at" NAME args ] [ ":" TYPE args ]
	comment    = "#" to the end of the line, also glued to a word

A word is letters, digits and . / - _ and, where it is not a name,
+ = @ % , ~ [ ] * as well. The first colon of an element's statement outside
quotes is the type's; behind it, and in statements that begin with a keyword,
a colon belongs to its word. A quote toggles anywhere in a word, there are no
escapes, and inside quotes every character is its own, a newline too; but where
the quoted lines look like statements, the fault is that the quote is not closed.
Quotes do not make another word of "at" or of a keyword. "" is an empty word.

A backslash at the end of a line, outside quotes and comments, continues the
statement on the next line; it separates words.
*/

const (
	// maxFaults bounds what is told of one text.
	maxFaults = 1000
	// maxWords bounds the words and comments of a description, and with them
	// the memory that a hostile one can take.
	maxWords = 1 << 20
)

// Parse reads one text; name stands in every place. All faults are told in one
// go. With faults the file holds the statements that could be read, for finding
// what else is wrong.
func Parse(name string, text []byte) (*File, Faults) {
	words := maxWords
	return parse(name, text, &words)
}

// parse reads a text of at most so many words and comments, and takes off what
// it has read.
func parse(name string, text []byte, words *int) (*File, Faults) {
	if len(text) > MaxFile {
		return &File{Name: name}, Faults{Faultf(Pos{File: name}, "the text has %d bytes; at most %d are read", len(text), MaxFile)}
	}
	source := strings.TrimPrefix(string(text), byteOrderMark)
	if strings.HasPrefix(source, "\xff\xfe") || strings.HasPrefix(source, "\xfe\xff") {
		return &File{Name: name}, Faults{Faultf(Pos{name, 1, 1}, "the text is UTF-16; save the file as UTF-8")}
	}
	left := *words
	p := newParser(name, source, left, true)
	p.file()
	if p.scan.unpaired {
		// A quote has no second one, and all behind it have been paired
		// wrongly. Within lines they show which it is.
		p = newParser(name, source, left, false)
		p.file()
	}
	*words = p.wordsLeft
	p.faults = withoutKeys(source, p.faults)
	p.faults.Sort()
	return p.into, p.faults
}

// byteOrderMark may stand before a UTF-8 text (RFC 3629, section 6).
const byteOrderMark = "\uFEFF"

type parser struct {
	scan      scanner
	into      *File
	faults    Faults
	wordsLeft int
	full      bool      // faults or words have come to their bound
	back      *token    // a token that was given back
	before    []Comment // wait for the statement that they stand before
	beside    *Node     // the statement that has ended on this line
	empty     bool      // nothing has stood on this line yet
}

func newParser(name, text string, words int, spanning bool) *parser {
	p := &parser{into: &File{Name: name}, wordsLeft: words, empty: true}
	p.scan = scanner{file: name, rest: text, spanning: spanning, column: 1, report: p.report}
	p.scan.nextLine()
	return p
}

// report takes up a fault. Once there are too many, the parser comes to an end.
func (p *parser) report(f *Fault) {
	switch {
	case p.full:
	case len(p.faults) == maxFaults:
		p.stop(f.Pos, "further faults are not shown")
	default:
		p.faults = append(p.faults, f)
	}
}

func (p *parser) stop(pos Pos, format string, args ...any) {
	p.faults = append(p.faults, Faultf(pos, format, args...))
	p.full = true
}

func (p *parser) next(colons bool) token {
	if t := p.back; t != nil {
		p.back = nil
		return *t
	}
	t := p.scan.next(colons)
	if t.kind == word || t.kind == comment {
		if p.wordsLeft == 0 && !p.full {
			p.stop(t.Pos, "the description has more than %d words; the rest is not read", maxWords)
		}
		p.wordsLeft = max(0, p.wordsLeft-1)
	}
	if p.full {
		t.kind = end
	}
	return t
}

// file reads statements and what stands between them until the text ends.
func (p *parser) file() {
	for {
		t := p.next(false)
		switch t.kind {
		case end:
			p.into.Trailing = p.before
			return
		case newline:
			if p.empty {
				p.blankLine(t.Pos)
			}
			p.empty, p.beside = true, nil
			continue
		case comment:
			p.comment(t)
		case colon:
			p.report(Faultf(t.Pos, `":" has no element's name before it: NAME: TYPE`))
			p.skip()
		case broken:
			p.skip()
		case word:
			p.statement(t.Word)
		}
		p.empty = false
	}
}

func (p *parser) blankLine(pos Pos) {
	if n := len(p.before); n == 0 || p.before[n-1].Text != "" {
		p.before = append(p.before, Comment{Pos: pos})
	}
}

func (p *parser) comment(t token) {
	c := Comment{Text: t.Text, Pos: t.Pos, Beside: p.beside != nil}
	if c.Beside {
		p.beside.Said = append(p.beside.Said, c)
	} else {
		p.before = append(p.before, c)
	}
}

// skip passes over what is left of a statement that has had its fault.
func (p *parser) skip() {
	p.scan.muted = true
	for {
		switch t := p.next(true); t.kind {
		case semicolon, newline, comment, end:
			p.scan.muted = false
			p.back = &t
			return
		}
	}
}

// collect reads words up to what is none, and gives that too. What ends a
// statement is given back to the scanner.
func (p *parser) collect(words []Word, colons bool) ([]Word, token) {
	for {
		t := p.next(colons)
		switch t.kind {
		case word:
			words = append(words, t.Word)
			continue
		case broken:
			p.skip()
		case colon:
		default:
			p.back = &t
		}
		return words, t
	}
}

// statement reads a statement from its first word on.
func (p *parser) statement(first Word) {
	node := Node{At: first.Pos, Said: p.before}
	p.before = nil
	var s Statement
	if k, ok := keywords[first.Text]; ok && first.Text != "connect" {
		s = p.keyword(node, first, k)
	} else {
		s = p.element(node, first)
	}
	if s == nil {
		return
	}
	p.into.Statements = append(p.into.Statements, s)
	p.beside = s.(interface{ node() *Node }).node()
}

func (n *Node) node() *Node { return n }

// keyword is a word that begins a statement, and the words that it wants.
type keyword struct {
	form        string
	least, most int
}

const many = 1 << 30

var keywords = map[string]keyword{
	"alias":   {"alias NEW OLD", 2, 2},
	"command": {"command ELEMENT ARGS", 1, many},
	"connect": {"connect NAME ARGS at OTHER ARGS", 0, 0}, // read as an element's statement
	"log":     {"log ELEMENT LEVEL", 2, 2},
	"source":  {"source FILE", 1, 1},
	"cd":      {"cd FOLDER", 1, 1},
	"ls":      {"ls [-alR] [NAME]", 0, 2},
	"mkdir":   {"mkdir FOLDER", 1, 1},
	"mv":      {"mv NAME NEW", 2, 2},
	"pwd":     {"pwd", 0, 0},
	"rm":      {"rm NAME", 1, 1},
	"rmdir":   {"rmdir FOLDER", 1, 1},
}

// keyword reads the rest of a statement that begins with one, and checks what
// can be known without knowing the elements.
func (p *parser) keyword(node Node, verb Word, k keyword) Statement {
	words, stop := p.collect(nil, true)
	if stop.kind == broken {
		return nil
	}
	if f := k.check(verb, words); f != nil {
		p.report(f)
		return nil
	}
	switch verb.Text {
	case "alias":
		if p.name(words[0]) && p.name(words[1]) {
			return &Alias{node, words[0], words[1]}
		}
	case "command":
		if p.name(words[0]) {
			return &Command{node, words[0], words[1:]}
		}
	case "log":
		if p.name(words[0]) && p.level(words[1]) {
			return &Log{node, words[0], words[1]}
		}
	case "source":
		if words[0].Text != "" {
			return &Source{node, words[0]}
		}
		p.report(Faultf(words[0].Pos, "the file's name is empty"))
	default:
		return &Shell{node, verb, words}
	}
	return nil
}

func (k keyword) check(verb Word, words []Word) *Fault {
	if len(words) > 0 && !words[0].Quoted && (words[0].Text[0] == ':' || words[0].Text == "at") {
		return Faultf(verb.Pos, "%q begins a statement (%s) and cannot name an element; give it another name", verb.Text, k.form)
	}
	if i := slices.IndexFunc(words, isAt); i >= 0 {
		return Faultf(words[i].Pos, `"at" is reserved, also in quotes: it joins two elements, as in NAME at OTHER`)
	}
	switch {
	case len(words) < k.least:
		return Faultf(verb.Pos, "%s wants more words: %s", verb.Text, k.form)
	case len(words) > k.most:
		return Faultf(words[k.most].Pos, "%s is one word too many: %s; words that belong together stand in quotes", show(words[k.most].Text), k.form)
	}
	return nil
}

// level takes TME's numbers, as C's strtoul reads them, and the names of levels.
func (p *parser) level(w Word) bool {
	switch w.Text {
	case "off", "debug", "info", "warn", "error":
		return true
	}
	if _, err := strconv.ParseUint(w.Text, 0, 32); err == nil && !strings.Contains(w.Text, "_") {
		return true
	}
	p.report(Faultf(w.Pos, "%s is not a log level: it is a number, off, debug, info, warn or error", show(w.Text)))
	return false
}

// name reports what cannot be an element's name.
func (p *parser) name(w Word) bool {
	_, reserved := keywords[w.Text]
	switch {
	case w.Text == "":
		p.report(Faultf(w.Pos, "the element's name is empty"))
	case isAt(w):
		p.report(Faultf(w.Pos, `"at" is reserved, also in quotes, and cannot name an element`))
	case reserved:
		p.report(Faultf(w.Pos, "%q begins a statement (%s) and cannot name an element; give it another name", w.Text, keywords[w.Text].form))
	case w.Text[0] == '-':
		p.report(Faultf(w.Pos, "%s cannot name an element: a name does not begin with -; to continue the line before, end that one with a backslash", show(w.Text)))
	case strings.Contains(w.Text, "\n"):
		p.report(Faultf(w.Pos, "%s cannot name an element: a name stands on one line", show(w.Text)))
	case !w.Quoted && !only(w.Text, plain):
		p.report(Faultf(w.Pos, "%s cannot name an element: a name is letters, digits and . / - _, and what else it has must stand in quotes", show(w.Text)))
	default:
		return true
	}
	return false
}

func isAt(w Word) bool { return w.Text == "at" }
