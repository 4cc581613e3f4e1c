package tmesh

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a description. The zero Pos is no place.
type Pos struct {
	File   string // as the user named it
	Line   int    // from 1
	Column int    // from 1, in characters, a tab being one
}

// String gives "file:line:column", or "" for the zero Pos.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Word is one word of a description and its place.
type Word struct {
	Text   string
	Pos    Pos
	Quoted bool // some part of it stood in quotes
}

// Fault is something wrong at a place of a description.
type Fault struct {
	Pos Pos
	Msg string
}

// Error gives "file:line:column: message".
func (f *Fault) Error() string {
	if f.Pos == (Pos{}) {
		return f.Msg
	}
	return f.Pos.String() + ": " + f.Msg
}

// Faultf makes a fault at pos.
func Faultf(pos Pos, format string, args ...any) *Fault {
	return &Fault{Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

// Faults are all that is wrong with a description, in the order of the text once sorted.
type Faults []*Fault

// Error gives one line for each fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Sort orders the faults by file, line and column, and leaves equal ones out.
func (fs *Faults) Sort() {
	slices.SortStableFunc(*fs, func(a, b *Fault) int {
		if c := strings.Compare(a.Pos.File, b.Pos.File); c != 0 {
			return c
		}
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	*fs = slices.CompactFunc(*fs, func(a, b *Fault) bool { return *a == *b })
}

// Add takes up an error: each Fault inside it, also of joined errors, keeps its
// own place; anything else becomes a fault at pos.
func (fs *Faults) Add(pos Pos, err error) {
	if err == nil {
		return
	}
	var all Faults
	var fault *Fault
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			fs.Add(pos, e)
		}
	} else if errors.As(err, &all) {
		*fs = append(*fs, all...)
	} else if errors.As(err, &fault) {
		*fs = append(*fs, fault)
	} else {
		*fs = append(*fs, &Fault{Pos: pos, Msg: err.Error()})
	}
}

// Sources holds the texts of the files that a description was read from, by name.
type Sources map[string][]byte
