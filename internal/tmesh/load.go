package tmesh

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxDepth bounds how deep sources nest; folders that are links to each
	// other can hide a circle behind ever longer names.
	maxDepth = 32
	// maxSources bounds how often a description's files are read: each of
	// twenty that names the next one twice would be a million.
	maxSources = 1000
)

// Load reads a description from the file of that name and from those that its
// `source` statements name, and gives all their statements in one row, those of
// a file in the place of the statement that named it. A file's name is relative
// to the file that names it; read is given the joined path. It need not read
// more than MaxFile bytes and one. The sources are the texts, by the name that
// stands in places.
func Load(name string, read func(path string) ([]byte, error)) ([]Statement, Sources, Faults) {
	l := loader{read: read, sources: Sources{}, words: maxWords, bytes: MaxFile}
	l.file(name, Pos{File: name}, nil)
	if len(l.faults) > maxFaults {
		l.faults = append(l.faults[:maxFaults:maxFaults], Faultf(l.faults[maxFaults].Pos, "further faults are not shown"))
	}
	return l.statements, l.sources, l.faults
}

type loader struct {
	read       func(path string) ([]byte, error)
	sources    Sources
	statements []Statement
	faults     Faults
	words      int // that may still be read
	bytes      int // that may still be read
	times      int // that a file was read
}

// file reads a file; at is where it was named, and chain are the files that are
// being read, the first one first.
func (l *loader) file(name string, at Pos, chain []string) {
	clean := filepath.Clean(name)
	if i := slices.Index(chain, clean); i >= 0 {
		l.fault(at, "the sources go in a circle: %s", strings.Join(append(chain[i:], clean), " → "))
		return
	}
	if len(chain) == maxDepth {
		l.fault(at, "sources are nested more than %d deep: %s → …", maxDepth, strings.Join(chain[:3], " → "))
		return
	}
	if l.times++; l.times > maxSources {
		l.fault(at, "the description's files are read more than %d times; the rest is not read", maxSources)
		return
	}
	text, again := l.sources[name]
	if !again {
		var err error
		if text, err = l.read(name); err != nil {
			l.fault(at, "cannot read the file%s: %v", which(name, at), reason(err))
			return
		}
	}
	if len(text) > l.bytes {
		l.fault(at, "cannot take in the file%s: a description has, with what it sources, at most %d bytes", which(name, at), MaxFile)
		return
	}
	l.bytes -= len(text)
	l.sources[name] = text

	f, faults := parse(name, text, &l.words)
	if !again {
		l.faults = append(l.faults, faults...)
	}
	chain = append(chain, clean)
	for _, s := range f.Statements {
		if source, ok := s.(*Source); ok && len(l.faults) <= maxFaults {
			l.file(beside(name, source.Path.Text), source.Path.Pos, chain)
		} else if !ok {
			l.statements = append(l.statements, s)
		}
	}
}

// fault takes up a fault, once: a file that is sourced twice has the same ones.
func (l *loader) fault(at Pos, format string, args ...any) {
	f := Faultf(at, format, args...)
	if !slices.ContainsFunc(l.faults, func(g *Fault) bool { return *f == *g }) {
		l.faults = append(l.faults, f)
	}
}

// beside gives the path of a file that is named in another one.
func beside(file, path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(file), path)
}

// which is a file's name for a sentence, unless its place says it.
func which(name string, at Pos) string {
	if at.Line == 0 {
		return ""
	}
	return " " + show(name)
}

// reason leaves the file's name out of an error whose sentence has it already.
func reason(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}
