package lab

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// lineWriter lets several machines write to one place, a line at a time.
type lineWriter struct {
	mu     sync.Mutex
	w      io.Writer
	failed error // of the first Write that failed
}

func (l *lineWriter) printf(format string, args ...any) error {
	_, err := l.Write(fmt.Appendf(nil, format, args...))
	return err
}

func (l *lineWriter) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.w.Write(text)
	if l.failed == nil {
		l.failed = err
	}
	return n, err
}

// err is the error of the first Write that failed.
func (l *lineWriter) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// prefixed gives a writer for one machine, used by one goroutine, that puts a
// prefix before each of its lines. Without a prefix the text passes as it is.
func (l *lineWriter) prefixed(prefix string) *prefixWriter {
	return &prefixWriter{lines: l, prefix: prefix}
}

// longestLine bounds what is kept of a line that does not end: what a command
// prints may be a stranger's, such as the page of a web server.
const longestLine = 64 << 10

type prefixWriter struct {
	lines  *lineWriter
	prefix string
	part   []byte // of a line that has not ended
}

// Write writes the lines that are whole. A line that is too long is broken.
func (p *prefixWriter) Write(text []byte) (int, error) {
	if p.prefix == "" {
		return p.lines.Write(text)
	}
	for written := 0; ; {
		rest := text[written:]
		room := min(len(rest), longestLine-len(p.part))
		end := bytes.IndexByte(rest[:room], '\n')
		if end < 0 {
			p.part = append(p.part, rest[:room]...)
			written += room
			if len(p.part) < longestLine {
				return written, nil
			}
			if err := p.flush(); err != nil {
				return written, err
			}
			continue
		}
		p.part = append(p.part, rest[:end]...)
		written += end + 1
		if err := p.endLine(); err != nil {
			return written, err
		}
	}
}

// flush writes what is left of a line without end.
func (p *prefixWriter) flush() error {
	if len(p.part) == 0 {
		return nil
	}
	return p.endLine()
}

func (p *prefixWriter) endLine() error {
	err := p.lines.printf("%s%s\n", p.prefix, p.part)
	p.part = p.part[:0]
	return err
}
