package element

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Type describes an element type. Everything that `tmelink elements` and
// docs/elements.md show of it stands here.
type Type struct {
	Path    string   // "tme/host/tun/tap"
	Aliases []string // other paths of the same type, with tme/
	Summary string   // one line without full stop
	Doc     string   // paragraphs of plain text
	Example string   // one or more statements

	// MaxConnections is how many connections an element takes; 0: any number.
	MaxConnections int
	// Alone says that an element is of use without a connection.
	Alone bool
	// Unplugged says that connections to elements that are left out (a bus,
	// a CPU board) are meant for the machine that tmelink does not emulate.
	// Their arguments on this element's side are not looked at.
	Unplugged bool
	// MakesInterfaces says that Start makes network interfaces of the host
	// that other elements may name. They are started before all others.
	MakesInterfaces bool

	// Options are those behind the type; ConnectionOptions those behind the
	// element's name in a connection; Commands those of `command NAME …`.
	// They are for reading: New, Attach and Prepare bind their own.
	Options           []Option
	ConnectionOptions []Option
	Commands          []Option

	// New builds an element from its arguments. It has no side effect; its
	// faults are *tmesh.Fault, all of them joined.
	New func(Env, Args) (Element, error)
}

var (
	types   = map[string]*Type{} // by every path, with tme/
	primary = map[string]*Type{} // by Type.Path
)

// Register makes a type known. It is called by init functions, and panics on a
// path that is taken: a fault of the program.
func Register(t Type) {
	for _, path := range append([]string{t.Path}, t.Aliases...) {
		if types[path] != nil {
			panic(fmt.Sprintf("element type %s is registered twice", path))
		}
		types[path] = &t
	}
	primary[t.Path] = &t
}

// Lookup finds a type by its path, which may begin with tme/ or nme/.
func Lookup(path string) (*Type, bool) {
	t, ok := types[canonical(path)]
	return t, ok
}

// Types are the registered types, sorted by path.
func Types() []*Type {
	return slices.SortedFunc(maps.Values(primary), func(a, b *Type) int { return strings.Compare(a.Path, b.Path) })
}

// Paths are all paths that Lookup knows, sorted, with tme/.
func Paths() []string { return slices.Sorted(maps.Keys(types)) }

func canonical(path string) string {
	if rest, ok := strings.CutPrefix(path, "nme/"); ok {
		return "tme/" + rest
	}
	return path
}
