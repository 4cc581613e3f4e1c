package link

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/tmesh"
)

// maxContents bounds a file with keys or certificates, in bytes.
const maxContents = 1 << 20

// contents is a value that is a file's name or, if it has more than one line, what
// would be in the file.
type contents struct {
	word tmesh.Word
	path string // "" where the text itself was given
	data []byte
}

// given says whether there is any.
func (f contents) given() bool { return f.word.Text != "" }

// contentsInto is the Set of an option whose value is a file.
func (c *config) contentsInto(f *contents) func(element.Values) error {
	return func(v element.Values) (err error) {
		*f, err = c.read(v, 0)
		return err
	}
}

// read reads a file. Names count from where the description is.
func (c *config) read(v element.Values, i int) (contents, error) {
	f := contents{word: v.Words[i]}
	if isInline(v.Text(i)) {
		f.data = []byte(v.Text(i))
		return f, nil
	}
	f.path = v.Text(i)
	if !filepath.IsAbs(f.path) {
		f.path = filepath.Join(c.dir, f.path)
	}
	var err error
	if f.data, err = readFile(f.path); err != nil {
		return f, v.Faultf(i, "%v", err)
	}
	return f, nil
}

func isInline(text string) bool { return strings.Contains(text, "\n") }

// readFile reads a whole file of bounded size; not a pipe or device, on which it
// would wait.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if err == nil && info.Size() > maxContents {
		return nil, fmt.Errorf("%s is longer than %d bytes, and so not what it should be", path, maxContents)
	}
	if err != nil {
		return nil, readError(path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, readError(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxContents))
	if err != nil {
		return nil, readError(path, err)
	}
	return data, nil
}

func readError(path string, err error) error {
	var known *os.PathError
	if errors.As(err, &known) {
		err = known.Err
	}
	return fmt.Errorf("read %s: %w", path, err)
}

// firstLines are the lines of a file with a name and a password (--auth-user-pass)
// or a password alone (--askpass).
func (f contents) firstLines(n int) []string {
	lines := strings.SplitN(string(f.data), "\n", n+1)
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], "\r")
	}
	for len(lines) < n {
		lines = append(lines, "")
	}
	return lines[:n]
}
