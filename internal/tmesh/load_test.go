package tmesh

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reader gives Load files out of a map, and counts what is read.
type reader struct {
	files map[string]string
	read  map[string]int
}

func (r *reader) open(path string) ([]byte, error) {
	if r.read == nil {
		r.read = map[string]int{}
	}
	r.read[path]++
	text, ok := r.files[filepath.ToSlash(path)]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name, top string
		files     map[string]string
		names     string // of the elements, in order
		faults    string
	}{
		{"one file", "a.tme", map[string]string{"a.tme": "a at b\nb: t"}, "a b", ""},
		{"in the place of its name", "a.tme", map[string]string{"a.tme": "a at b; source b; c at d", "b": "x at y\ny at z"}, "a x y c", ""},
		{"relative to the file that names it", "lab/a.tme",
			map[string]string{"lab/a.tme": "source parts/b", "lab/parts/b": "b at c; source c; source ../d", "lab/parts/c": "c at d", "lab/d": "d at e"}, "b c d", ""},
		{"absolute", "lab/a.tme", map[string]string{"lab/a.tme": "source /etc/b", "/etc/b": "b at c; source c", "/etc/c": "c at d"}, "b c", ""},
		{"twice without a circle", "a", map[string]string{"a": "source b; source c", "b": "source d", "c": "source d", "d": "d at e"}, "d d", ""},
		{"itself", "./lab/a", map[string]string{"./lab/a": "a at b\n source ../lab/a\nc at d"}, "a c",
			"./lab/a:2:9: the sources go in a circle: lab/a → lab/a"},
		{"a circle", "a", map[string]string{"a": "a at b; source b", "b": "source c", "c": "c at d; source b\n"}, "a c",
			"c:1:16: the sources go in a circle: b → c → b"},
		{"a circle told once", "a", map[string]string{"a": "source b; source b", "b": "source b"}, "",
			"b:1:8: the sources go in a circle: b → b"},
		{"no top file", "a", nil, "", "a: cannot read the file: file does not exist"},
		{"no sourced file", "lab/a", map[string]string{"lab/a": "a at b\nsource \"b c\"\nc at d"}, "a c",
			"lab/a:2:8: cannot read the file \"lab/b c\": file does not exist"},
		{"faults of all files", "a", map[string]string{"a": "a\nsource b\nsource b\nlog a x", "b": "b: t \x00\nsource nothing"}, "a",
			"a:1:1: \"a\" is no statement, and an element's name wants \"at OTHER\", \": TYPE\" or both behind it\n" +
				"a:4:7: \"x\" is not a log level: it is a number, off, debug, info, warn or error\n" +
				"b:1:6: the line is not text: it holds the control character U+0000\n" +
				"b:2:8: cannot read the file \"nothing\": file does not exist"},
		{"top file too long", "a", map[string]string{"a": strings.Repeat("\n", MaxFile+1)}, "", "a: cannot take in the file: a description has, with what it sources, at most 16777216 bytes"},
		{"too long together", "a", map[string]string{"a": "source b; source b", "b": strings.Repeat("\n", MaxFile/2)}, "",
			"a:1:18: cannot take in the file \"b\": a description has, with what it sources, at most 16777216 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reader{files: c.files}
			statements, sources, faults := Load(c.top, r.open)
			var names []string
			for _, s := range statements {
				names = append(names, s.(*Element).Name.Text)
			}
			if got := strings.Join(names, " "); got != c.names {
				t.Errorf("statements %q, want %q", got, c.names)
			}
			if got := filepath.ToSlash(faults.Error()); got != c.faults {
				t.Errorf("faults\n got %s\nwant %s", got, c.faults)
			}
			for path, times := range r.read {
				text, there := c.files[filepath.ToSlash(path)]
				if there && times != 1 {
					t.Errorf("%s was read %d times", path, times)
				}
				if there && len(text) <= MaxFile && string(sources[path]) != text {
					t.Errorf("%s: no source", path)
				}
			}
		})
	}
}

// chain makes files 0, 1, 2 … of which each names the next one so many times.
func chain(files, times int) map[string]string {
	made := map[string]string{}
	for i := range files {
		made[fmt.Sprint(i)] = strings.Repeat(fmt.Sprintf("source %d\n", i+1), times)
	}
	made[fmt.Sprint(files)] = "a at b"
	return made
}

func TestLoadBounds(t *testing.T) {
	for _, c := range []struct {
		name       string
		files      map[string]string
		statements int
		fault      string
	}{
		{"deep", chain(maxDepth-1, 1), 1, ""},
		{"too deep", chain(maxDepth, 1), 0, "31:1:8: sources are nested more than 32 deep: 0 → 1 → 2 → …"},
		{"doubling", chain(8, 2), 256, ""},
		{"doubling too often", chain(20, 2), 490, "the description's files are read more than 1000 times; the rest is not read"},
		{"a thousand faults", map[string]string{"0": "source 1; source 2", "1": strings.Repeat("a\n", 600), "2": strings.Repeat("a\n", 600)}, 1200, "2:401:1: further faults are not shown"},
		{"too many words", map[string]string{"0": "source 1; source 2", "1": strings.Repeat("a at b\n", maxWords/6+1), "2": strings.Repeat("a at b\n", maxWords/6+1)}, 174763 + 174761, "2:174762:1: the description has more than 1048576 words; the rest is not read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reader{files: c.files}
			statements, _, faults := Load("0", r.open)
			if len(statements) != c.statements && c.name != "doubling too often" {
				t.Errorf("%d statements, want %d", len(statements), c.statements)
			}
			if len(statements) > maxSources && c.name == "doubling too often" {
				t.Errorf("%d statements", len(statements))
			}
			switch {
			case c.fault == "" && len(faults) > 0:
				t.Errorf("faults: %.1000v", faults)
			case c.fault != "" && (len(faults) == 0 || !strings.HasSuffix(faults[len(faults)-1].Error(), c.fault)):
				t.Errorf("%d faults, want as the last one %s: %.1000v", len(faults), c.fault, faults)
			case len(faults) > maxFaults+1:
				t.Errorf("%d faults", len(faults))
			}
		})
	}
}

// A description of several files from testdata, with a fault in each.
func TestLoadFaults(t *testing.T) {
	texts := map[string]string{}
	for _, dir := range []string{"load", "load/parts"} {
		for file, text := range inputs(t, dir) {
			rel, err := filepath.Rel("testdata/load", file)
			if err != nil {
				t.Fatal(err)
			}
			texts[filepath.ToSlash(rel)] = string(text)
		}
	}
	r := &reader{files: texts}
	_, sources, faults := Load("workstation.tme", r.open)
	var out bytes.Buffer
	faults.Print(&out, sources)
	fmt.Fprintf(&out, "read: %s\n", strings.Join(slices.Sorted(maps.Keys(sources)), " "))
	expect(t, "testdata/load/workstation.out", bytes.ReplaceAll(out.Bytes(), []byte(`\`), []byte("/")))
}
