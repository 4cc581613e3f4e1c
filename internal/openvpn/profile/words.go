package profile

import (
	"unicode/utf8"

	"tmelink/internal/tmesh"
)

// splitWords cuts a line into its words by the rules of OpenVPN's parse_line
// (options.c): a word in double or single quotes ends with its quote, and other
// words at a blank; a quote or a comment sign inside a word is a character like
// any other; a backslash outside single quotes takes a backslash, a double quote
// or a blank as it is, and nothing else. # and ; begin a comment where a word
// could begin, also behind a backslash. at is the place of the line's begin.
func splitWords(line string, at tmesh.Pos) ([]tmesh.Word, *tmesh.Fault) {
	s := splitter{line: line, at: at}
	var words []tmesh.Word
	for s.toWord() {
		word := tmesh.Word{Pos: s.place(s.i)}
		if len(words) == maxWords {
			return nil, tmesh.Faultf(word.Pos, "an option has at most %d values, and this is one more; quotes make one value of several words", maxWords-1)
		}
		text, fault := s.word()
		if fault != nil {
			return nil, fault
		}
		word.Text = text
		words = append(words, word)
	}
	return words, nil
}

// splitter goes through a line; i is in bytes.
type splitter struct {
	line string
	i    int
	at   tmesh.Pos
}

func (s *splitter) place(i int) tmesh.Pos {
	at := s.at
	at.Column += utf8.RuneCountInString(s.line[:i])
	return at
}

// toWord goes to where the next word begins. A blank is passed over with the
// backslash before it, and so is a backslash at the line's end.
func (s *splitter) toWord() bool {
	for ; s.i < len(s.line); s.i++ {
		c := s.line[s.i]
		if c == '\\' {
			switch {
			case s.i+1 == len(s.line):
				s.i++
				return false
			case blank(s.line[s.i+1]):
				s.i++
				continue
			}
			c = s.line[s.i+1]
		}
		if c == '#' || c == ';' {
			return false
		}
		if !blank(c) {
			return true
		}
	}
	return false
}

// word reads the word that begins here.
func (s *splitter) word() (string, *tmesh.Fault) {
	opening, quote := s.i, byte(0)
	if c := s.line[s.i]; c == '"' || c == '\'' {
		quote = c
		s.i++
	}
	var text []byte
	for s.i < len(s.line) {
		c := s.line[s.i]
		switch {
		case c == '\\' && quote != '\'':
			var fault *tmesh.Fault
			if c, fault = s.escaped(); fault != nil {
				return "", fault
			}
			s.i++
		case quote != 0 && c == quote:
			s.i++
			return string(text), nil
		case quote == 0 && blank(c):
			return string(text), nil
		}
		text = append(text, c)
		s.i++
	}
	if quote != 0 {
		return "", tmesh.Faultf(s.place(opening), "the quotation that begins here has no closing %c on its line", quote)
	}
	return string(text), nil
}

// escaped gives the character behind the backslash that stands here.
func (s *splitter) escaped() (byte, *tmesh.Fault) {
	if s.i+1 == len(s.line) {
		return 0, tmesh.Faultf(s.place(s.i), "the backslash at the line's end takes nothing; an option cannot go on in the next line")
	}
	c := s.line[s.i+1]
	if c != '\\' && c != '"' && !blank(c) {
		return 0, tmesh.Faultf(s.place(s.i), `a backslash takes only a backslash, a double quote or a blank; write \\ for a backslash itself, or put the word in single quotes`)
	}
	return c, nil
}

// blank is C's isspace.
func blank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
