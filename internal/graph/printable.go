package graph

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds every text of a picture, in columns.
const maxText = 200

// clean makes a foreign text printable and bounds it: control characters, bytes
// that are no UTF-8 and whatever changes the direction of the text behind it
// become U+FFFD. What is left is allowed in XML (XML 1.0, section 2.2).
func clean(s string) string {
	s = cut(s, maxText)
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// cut shortens a text to a number of columns and marks the cut with an ellipsis.
// A character's marks that take no column are bounded too.
func cut(s string, most int) string {
	width, runes, fits := 0, 0, 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		width += runeColumns(r)
		if runes++; width > most || runes > 4*most {
			return s[:fits] + "…"
		}
		if width < most {
			fits = i
		}
	}
	return s
}

// columns is the number of a terminal's columns that a text takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// wide are the characters of two columns (Unicode Standard Annex 11, W and F),
// by whole blocks.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1}, {0x2e80, 0x303e, 1}, {0x3041, 0xa4cf, 1}, {0xa960, 0xa97f, 1}, {0xac00, 0xd7a3, 1},
		{0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff01, 0xff60, 1}, {0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{{0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6ff, 1}, {0x1f900, 0x1f9ff, 1}, {0x20000, 0x3fffd, 1}},
}

func runeColumns(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// pad fills a text up with blanks to a number of columns.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-columns(s)))
}
