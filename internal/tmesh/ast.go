// Package tmesh is the description language of TME, The Machine Emulator, as a
// superset: its scanner, parser, syntax tree and printer.
//
// A text goes in and statements come out, each word with its place; what the
// words mean is not known here. Everything that is wrong with a text is told in
// one go. The package opens no file: Load asks its caller for the text of what
// a `source` statement names.
package tmesh

// File is a parsed text.
type File struct {
	Name       string // as it stands in every Pos
	Statements []Statement
	// Trailing are the comments behind the last statement.
	Trailing []Comment
}

// Comment is a line's comment or a run of blank lines, for the printer.
type Comment struct {
	Text   string // from '#' to the end of the line; "" is a run of blank lines
	Pos    Pos
	Beside bool // it stands behind a statement, on its line
}

// Statement is one of *Element, *Alias, *Source, *Log, *Command and *Shell.
type Statement interface {
	// Pos is where the statement begins.
	Pos() Pos
	// Comments are those that stand before it, and one beside it.
	Comments() []Comment
}

// Node is what every statement has.
type Node struct {
	At   Pos
	Said []Comment
}

func (n *Node) Pos() Pos            { return n.At }
func (n *Node) Comments() []Comment { return n.Said }

// End is one side of a connection: an element's name and the arguments that
// concern this connection only.
type End struct {
	Name Word
	Args []Word
}

// Element makes an element, a connection, or both:
//
//	NAME ARGS at OTHER ARGS: TYPE ARGS     Other and Type
//	NAME: TYPE ARGS                        Type alone
//	NAME ARGS at OTHER ARGS                Other alone, also as `connect …`
type Element struct {
	Node
	End
	Other    *End
	Type     *Word
	TypeArgs []Word
	// Broken says that a fault was found in the statement, of which only the
	// name is known. Who looks for the name need not report it as missing.
	Broken bool
}

// Alias is `alias NEW OLD`: a second name for an element.
type Alias struct {
	Node
	New, Old Word
}

// Source is `source FILE`: the statements of another file stand here.
type Source struct {
	Node
	Path Word
}

// Log is `log ELEMENT LEVEL`.
type Log struct {
	Node
	Element, Level Word
}

// Command is `command ELEMENT ARGS`.
type Command struct {
	Node
	Element Word
	Args    []Word
}

// Shell is a statement for the live shell: ls, cd, pwd, mkdir, rmdir, mv, rm.
type Shell struct {
	Node
	Verb Word
	Args []Word
}
