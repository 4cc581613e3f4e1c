package tmesh

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Print writes each fault as "file:line:column: message", below it the line
// that it stands in and a caret under the column.
func (fs Faults) Print(w io.Writer, sources Sources) {
	readers := map[string]*lineReader{}
	for _, f := range fs {
		fmt.Fprintln(w, f.Error())
		text, ok := sources[f.Pos.File]
		if !ok || f.Pos.Line < 1 {
			continue
		}
		if readers[f.Pos.File] == nil {
			readers[f.Pos.File] = newLineReader(text)
		}
		line, ok := readers[f.Pos.File].line(f.Pos.Line)
		if !ok {
			continue
		}
		shown, caret := excerpt(line, f.Pos.Column)
		fmt.Fprintf(w, "    %s\n    %s^\n", shown, caret)
	}
}

// lineReader finds lines by number. It goes on from the one it found last,
// because faults mostly come in the order of the text.
type lineReader struct {
	text   []byte
	number int // of the line that rest begins with
	rest   []byte
}

func newLineReader(text []byte) *lineReader {
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	return &lineReader{text: text, number: 1, rest: text}
}

// line gives a line without its end.
func (r *lineReader) line(number int) ([]byte, bool) {
	if number < r.number {
		r.number, r.rest = 1, r.text
	}
	for ; r.number < number; r.number++ {
		i := bytes.IndexByte(r.rest, '\n')
		if i < 0 {
			return nil, false
		}
		r.rest = r.rest[i+1:]
	}
	line, _, _ := bytes.Cut(r.rest, []byte("\n"))
	return bytes.TrimRight(line, "\r"), true
}

// excerpt cuts a line to what fits a terminal around the column, shows what is
// not printable as '?', and gives the white space that puts a caret below it.
func excerpt(line []byte, column int) (shown, indent string) {
	const width = 100
	column = min(max(column, 1), utf8.RuneCount(line)+1)
	first := 1
	if column > width {
		first = column - width/2
	}
	var text, blank strings.Builder
	if first > 1 {
		text.WriteString("… ")
		blank.WriteString("  ")
	}
	for at := 1; len(line) > 0; at++ {
		r, size := utf8.DecodeRune(line)
		line = line[size:]
		if at < first {
			continue
		}
		if at == first+width {
			text.WriteString(" …")
			break
		}
		under := ' '
		switch {
		case r == '\t':
			under = '\t'
		case !unicode.IsPrint(r) || r == utf8.RuneError:
			r = '?'
		}
		text.WriteRune(r)
		if at < column {
			blank.WriteRune(under)
		}
	}
	return text.String(), blank.String()
}
