package tmesh

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxFile is the most bytes that a text may have, and that all texts of one
// description may have together. Who reads one need not read further.
const MaxFile = 16 << 20

// maxLine is the most bytes of a line. TME's own shell gives up at 1024.
const maxLine = 64 << 10

type kind int

const (
	word kind = iota
	colon
	semicolon
	newline
	comment
	end    // of the text
	broken // a fault has been reported; what is left of the statement is worth nothing
)

// token is a piece of the text. Word has the text of a word and of a comment,
// and of every token the place.
type token struct {
	kind kind
	Word
}

// The classes of characters that may stand in a word without quotes.
const (
	plain    = 1 << iota // letters, digits and . / - _, as in TME
	extended             // more characters for arguments and file names
	colonly              // the colon, where it belongs to its word
)

var classes = func() (class [256]byte) {
	for c := range class {
		if c < utf8.RuneSelf && (unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c))) {
			class[c] = plain
		}
	}
	for _, c := range "./-_" {
		class[c] = plain
	}
	for _, c := range "+=@%,~[]*" {
		class[c] = extended
	}
	class[':'] = colonly
	return class
}()

// only says whether every byte of a text is in one of the classes.
func only(text string, allowed byte) bool {
	for i := range len(text) {
		if classes[text[i]]&allowed == 0 {
			return false
		}
	}
	return true
}

// scanner cuts a text into tokens. It goes line by line, because a line is what
// is checked and, where it is not text, passed over as a whole.
type scanner struct {
	file   string
	rest   string // behind the current line
	line   string // the current line without its end; "" where it is not text
	number int    // the current line's, from 1
	offset int    // in bytes of line
	column int    // in characters, from 1
	ended  bool   // there is no further line
	bad    bool   // the current line has been reported and passed over

	// spanning says that quoted text may go over several lines, as in TME.
	spanning bool
	// unpaired is set, and the text ended, where spanning cannot be meant: a
	// quote is open at the end of the text or runs into another statement.
	unpaired bool

	// muted keeps faults in words from being reported, behind a first one in
	// the same statement.
	muted  bool
	report func(*Fault)
}

func (s *scanner) here() Pos { return Pos{s.file, s.number, s.column} }

func (s *scanner) fault(pos Pos, format string, args ...any) {
	if !s.muted {
		s.report(Faultf(pos, format, args...))
	}
}

// nextLine goes to the begin of the next line, or sets ended.
func (s *scanner) nextLine() {
	if s.rest == "" {
		s.ended = true
		s.offset = len(s.line)
		return
	}
	s.line, s.rest, _ = strings.Cut(s.rest, "\n")
	s.line = strings.TrimRight(s.line, "\r")
	s.number++
	s.offset, s.column = 0, 1
	s.bad = false
	if f := notText(s.line, s.here()); f != nil {
		s.report(f)
		s.line, s.bad = "", true
	}
}

// notText says what keeps a line from being text; at is the line's begin.
func notText(line string, at Pos) *Fault {
	if len(line) > maxLine {
		return Faultf(at, "the line has %d bytes, and at most %d are read; a backslash before the line's end continues a statement on the next line", len(line), maxLine)
	}
	for i, r := range line {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(line[i:], "\uFFFD"):
			return Faultf(at, "the line is not text: byte 0x%02x is not UTF-8; save the file as UTF-8", line[i])
		case r == '\r':
			return Faultf(at, "a carriage return stands inside the line; lines end with LF or CR LF")
		case unicode.IsControl(r) && !blank(byte(r)):
			return Faultf(at, "the line is not text: it holds the control character %U", r)
		}
		at.Column++
	}
	return nil
}

// blank are the characters that separate words, C's isspace without line ends.
func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\v' || c == '\f' }

// skip goes on by n bytes that are all ASCII.
func (s *scanner) skip(n int) {
	s.offset += n
	s.column += n
}

// next gives the next token. colons says that a colon belongs to its word.
func (s *scanner) next(colons bool) token {
	for {
		if s.offset == len(s.line) {
			t := token{end, Word{Pos: s.here()}}
			if !s.ended {
				t.kind = newline
				s.nextLine()
			}
			return t
		}
		c := s.line[s.offset]
		t := token{word, Word{Pos: s.here()}}
		switch {
		case blank(c):
			s.skip(1)
		case c == '\\':
			if !s.continued() {
				t.kind = broken
				return t
			}
		case c == ';':
			t.kind = semicolon
			s.skip(1)
			return t
		case c == ':' && !colons:
			t.kind = colon
			s.skip(1)
			return t
		case c == '#':
			t.kind = comment
			t.Text = strings.TrimRight(s.line[s.offset:], " \t\v\f")
			s.column += utf8.RuneCountInString(s.line[s.offset:])
			s.offset = len(s.line)
			return t
		case c == '"' || classes[c] != 0:
			if !s.word(&t.Word, colons) {
				t.kind = broken
			}
			return t
		default:
			s.stray()
			t.kind = broken
			return t
		}
	}
}

// continued goes from a backslash to the next line. Blanks behind the backslash
// cannot be seen, and do no harm.
func (s *scanner) continued() bool {
	if strings.TrimRight(s.line[s.offset+1:], " \t\v\f") != "" {
		s.fault(s.here(), "a backslash stands at the end of a line, to continue the statement on the next one; elsewhere it must stand in quotes")
		s.skip(1)
		return false
	}
	s.skip(len(s.line) - s.offset)
	s.nextLine()
	return s.ended || !s.bad
}

// word reads a word. Quotes toggle anywhere in it, and inside them every
// character is its own.
func (s *scanner) word(w *Word, colons bool) bool {
	allowed := byte(plain | extended)
	if colons {
		allowed |= colonly
	}
	begin := s.offset
	s.bare(allowed)
	w.Text = s.line[begin:s.offset]
	if s.offset == len(s.line) || s.line[s.offset] != '"' {
		return true
	}
	w.Quoted = true
	var text strings.Builder
	text.WriteString(w.Text)
	for s.offset < len(s.line) {
		if s.line[s.offset] == '"' {
			if !s.quoted(&text) {
				return false
			}
			continue
		}
		begin = s.offset
		if s.bare(allowed); begin == s.offset {
			break
		}
		text.WriteString(s.line[begin:s.offset])
	}
	w.Text = text.String()
	if swallows(w.Text) {
		s.unpaired = true
		s.line, s.rest, s.offset, s.ended = "", "", 0, true
		return false
	}
	return true
}

// bare goes over characters that need no quotes.
func (s *scanner) bare(allowed byte) {
	n := s.offset
	for n < len(s.line) && classes[s.line[n]]&allowed != 0 {
		n++
	}
	s.skip(n - s.offset)
}

// quoted reads from one quote to the next.
func (s *scanner) quoted(text *strings.Builder) bool {
	opening := s.here()
	s.skip(1)
	for {
		inside, _, closed := strings.Cut(s.line[s.offset:], `"`)
		text.WriteString(inside)
		s.offset += len(inside)
		s.column += utf8.RuneCountInString(inside)
		if closed {
			s.skip(1)
			return true
		}
		if !s.spanning {
			s.fault(opening, `quoted text begins here and is not closed with a second " on this line`)
			return false
		}
		s.nextLine()
		if s.ended {
			s.unpaired = true
		}
		if s.ended || s.bad {
			return false
		}
		text.WriteByte('\n')
	}
}

// swallows says whether one of the further lines of quoted text looks like a
// statement: then the quote before it was forgotten.
func swallows(text string) bool {
	_, further, _ := strings.Cut(text, "\n")
	for line := range strings.Lines(further) {
		words := strings.Fields(line[:min(len(line), 1024)])
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "alias", "command", "connect", "log", "source":
			return true
		}
		if words[1] == "at" || strings.HasSuffix(words[0], ":") || strings.Contains(line, ": tme/") || strings.Contains(line, ": nme/") {
			return true
		}
	}
	return false
}

// stray reports a character that no word may have outside quotes.
func (s *scanner) stray() {
	r, size := utf8.DecodeRuneInString(s.line[s.offset:])
	switch {
	case strings.ContainsRune("“”„‟«»", r):
		s.fault(s.here(), `%c is not the quote that this language knows; write "`, r)
	case unicode.IsSpace(r) || !unicode.IsPrint(r):
		s.fault(s.here(), "the invisible character %U stands between the words; write a plain space", r)
	default:
		s.fault(s.here(), `"%c" cannot stand outside quotes; put the whole word in quotes`, r)
	}
	s.offset += size
	s.column++
}

// show is a text for a message: quoted, and cut to a length that can be read.
func show(text string) string {
	most := 60
	for i := range text {
		if most--; most < 0 {
			text = text[:i] + "…"
			break
		}
	}
	return strconv.Quote(text)
}
