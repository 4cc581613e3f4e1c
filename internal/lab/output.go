package lab

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// lineWriter lets several machines write to one place, a line at a time.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format, args...)
}

// prefixed gives a writer for one machine, used by one goroutine, that puts a
// prefix before each of its lines.
func (l *lineWriter) prefixed(prefix string) *prefixWriter {
	return &prefixWriter{lines: l, prefix: prefix}
}

type prefixWriter struct {
	lines  *lineWriter
	prefix string
	part   []byte // of a line that has not ended
}

func (p *prefixWriter) Write(text []byte) (int, error) {
	p.part = append(p.part, text...)
	for {
		end := bytes.IndexByte(p.part, '\n')
		if end < 0 {
			return len(text), nil
		}
		p.lines.printf("%s%s\n", p.prefix, p.part[:end])
		p.part = p.part[end+1:]
	}
}

// flush writes what is left of a line without end.
func (p *prefixWriter) flush() {
	if len(p.part) > 0 {
		p.lines.printf("%s%s\n", p.prefix, p.part)
		p.part = nil
	}
}
