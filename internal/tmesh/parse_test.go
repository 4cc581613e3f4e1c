package tmesh

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what comes out to the expected files of testdata")

// expect compares with a file of testdata, or writes it.
func expect(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s (go test -update writes it anew)\n--- got\n%s--- want\n%s", file, got, want)
	}
}

// inputs gives the texts of a folder of testdata, by their paths.
func inputs(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.tme"))
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/%s: %d files, %v", folder, len(files), err)
	}
	texts := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	}
	return texts
}

// describe writes statements so that tests can be read: each word with its
// place, arguments in brackets, quoted words in quotes.
func describe(statements []Statement) string {
	var b strings.Builder
	for _, s := range statements {
		fmt.Fprintf(&b, "%d:%d ", s.Pos().Line, s.Pos().Column)
		switch s := s.(type) {
		case *Element:
			b.WriteString("element " + words(s.Name) + words(s.Args...))
			if s.Other != nil {
				b.WriteString("at " + words(s.Other.Name) + words(s.Other.Args...))
			}
			if s.Type != nil {
				b.WriteString(": " + words(*s.Type) + words(s.TypeArgs...))
			}
			if s.Broken {
				b.WriteString("broken")
			}
		case *Alias:
			b.WriteString("alias " + words(s.New, s.Old))
		case *Source:
			b.WriteString("source " + words(s.Path))
		case *Log:
			b.WriteString("log " + words(s.Element, s.Level))
		case *Command:
			b.WriteString("command " + words(s.Element) + words(s.Args...))
		case *Shell:
			b.WriteString("shell " + words(s.Verb) + words(s.Args...))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func words(all ...Word) string {
	text := ""
	for _, w := range all {
		shown := w.Text
		if w.Quoted {
			shown = fmt.Sprintf("%q", w.Text)
		}
		text += fmt.Sprintf("%s@%d:%d ", shown, w.Pos.Line, w.Pos.Column)
	}
	return text
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"blanks", " \t\v\f\n;;\n ; ", ""},
		{"element", "le0: tme/ic/am7990", "1:1 element le0@1:1 : tme/ic/am7990@1:6 \n"},
		{"colon alone", "le0 :tme/ic/am7990 x", "1:1 element le0@1:1 : tme/ic/am7990@1:6 x@1:20 \n"},
		{"all parts", "a 1 at b 2 3: t 4 5",
			"1:1 element a@1:1 1@1:3 at b@1:8 2@1:10 3@1:12 : t@1:15 4@1:17 5@1:19 \n"},
		{"itself", "tap1 at tap1", "1:1 element tap1@1:1 at tap1@1:9 \n"},
		{"connect", "connect a x at b", "1:1 element a@1:9 x@1:11 at b@1:16 \n"},
		{"connect with a type", "connect a: t", "1:1 element a@1:9 : t@1:12 \n"},
		{"semicolons", "a at b;c at d ; e at f", "1:1 element a@1:1 at b@1:6 \n1:8 element c@1:8 at d@1:13 \n1:17 element e@1:17 at f@1:22 \n"},
		{"tabs count one", "\ta\tat\tb", "1:2 element a@1:2 at b@1:7 \n"},
		{"characters, not bytes", `"ä€𝄞" at b`, "1:1 element \"ä€𝄞\"@1:1 at b@1:10 \n"},
		{"comment glued to a word", "a at b#c: t\n", "1:1 element a@1:1 at b@1:6 \n"},
		{"no comment in quotes", `a at "b#c;d:e\"`, "1:1 element a@1:1 at \"b#c;d:e\\\\\"@1:6 \n"},
		{"quotes toggle inside a word", `a at b: t x" y "z""`, "1:1 element a@1:1 at b@1:6 : t@1:9 \"x y z\"@1:11 \n"},
		{"empty word", `a at b: t "" c`, "1:1 element a@1:1 at b@1:6 : t@1:9 \"\"@1:11 c@1:14 \n"},
		{"quoted keyword", `"alias" a b` + "\n" + `a "at" b`, "1:1 alias a@1:9 b@1:11 \n2:1 element a@2:1 at b@2:8 \n"},
		{"keywords as arguments", "a log at b rm: t source", "1:1 element a@1:1 log@1:3 at b@1:10 rm@1:12 : t@1:16 source@1:18 \n"},
		{"quotes over lines", "a at b: t \"x\ny\" z\nc at d", "1:1 element a@1:1 at b@1:6 : t@1:9 \"x\\ny\"@1:11 z@2:4 \n3:1 element c@3:1 at d@3:6 \n"},
		{"quotes over lines of prose", "a at b: t \"note:\n\nto look at: it, \"", "1:1 element a@1:1 at b@1:6 : t@1:9 \"note:\\n\\nto look at: it, \"@1:11 \n"},
		{"continued", "a\\\nat \\ \n\\\n b", "1:1 element a@1:1 at b@4:2 \n"},
		{"continued by nothing", "a at b \\", "1:1 element a@1:1 at b@1:6 \n"},
		{"comments do not go on", "# \\\na at b # \\\nc at d", "2:1 element a@2:1 at b@2:6 \n3:1 element c@3:1 at d@3:6 \n"},
		{"colons behind the type", "a: t fd00::1 unix:/x [::]:1 a+b=c@d%e,f~g*", "1:1 element a@1:1 : t@1:4 fd00::1@1:6 unix:/x@1:14 [::]:1@1:22 a+b=c@d%e,f~g*@1:29 \n"},
		{"quoted colons before it", `a "x:y" at b: t`, "1:1 element a@1:1 \"x:y\"@1:3 at b@1:12 : t@1:15 \n"},
		{"colons in commands", "command le0 get http://[fd00::1]:80/x", "1:1 command le0@1:9 get@1:13 http://[fd00::1]:80/x@1:17 \n"},
		{"file names", "source ~/a+b/c:d", "1:1 source ~/a+b/c:d@1:8 \n"},
		{"levels", "log a 0;log a off;log a 0x1f;log a 017;log a warn", "1:1 log a@1:5 0@1:7 \n1:9 log a@1:13 off@1:15 \n1:19 log a@1:23 0x1f@1:25 \n1:30 log a@1:34 017@1:36 \n1:40 log a@1:44 warn@1:46 \n"},
		{"shell", "ls -a x; pwd; mv a b", "1:1 shell ls@1:1 -a@1:4 x@1:7 \n1:10 shell pwd@1:10 \n1:15 shell mv@1:15 a@1:18 b@1:20 \n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for variant, text := range map[string]string{
				"as it is":      c.text,
				"LF at the end": c.text + "\n",
				"CR CR LF":      strings.ReplaceAll(c.text, "\n", "\r\r\n") + "\r\r\n",
				"CR LF":         strings.ReplaceAll(c.text, "\n", "\r\n") + "\r\n",
				"BOM":           "\uFEFF" + c.text,
			} {
				f, faults := Parse("x.tme", []byte(text))
				if len(faults) > 0 {
					t.Errorf("%s: faults: %v", variant, faults)
				}
				if got := describe(f.Statements); got != c.want {
					t.Errorf("%s\n got %s\nwant %s", variant, got, c.want)
				}
			}
		})
	}
}

// Faults beside the expected texts: input in testdata/faults, and what a person sees.
func TestFaults(t *testing.T) {
	for file, text := range inputs(t, "faults") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			name := filepath.Base(file)
			_, faults := Parse(name, text)
			if len(faults) == 0 {
				t.Fatal("no fault was found")
			}
			var out bytes.Buffer
			faults.Print(&out, Sources{name: text})
			expect(t, strings.TrimSuffix(file, ".tme")+".out", out.Bytes())
		})
	}
}

// Bytes that would not survive as a file of testdata.
func TestNotText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"NUL", "a at b\nc at\x00 d\x00\ne: t", "x:2:5: the line is not text: it holds the control character U+0000"},
		{"escape in a comment", "# \x1b[2J", "x:1:3: the line is not text: it holds the control character U+001B"},
		{"C1", "# ä\u0085", "x:1:4: the line is not text: it holds the control character U+0085"},
		{"Latin-1", "a at b # \xe9t\xe9", "x:1:10: the line is not text: byte 0xe9 is not UTF-8; save the file as UTF-8"},
		{"surrogate", "\xed\xa0\x80", "x:1:1: the line is not text: byte 0xed is not UTF-8; save the file as UTF-8"},
		{"lone CR", "a at b\rc at d", "x:1:7: a carriage return stands inside the line; lines end with LF or CR LF"},
		{"UTF-16", "\xff\xfea\x00\n\x00b\x00", "x:1:1: the text is UTF-16; save the file as UTF-8"},
		{"continued", "a at \\\n\xff\nb at c", "x:2:1: the line is not text: byte 0xff is not UTF-8; save the file as UTF-8"},
		{"no-break space", "a at\u00a0b", "x:1:5: the invisible character U+00A0 stands between the words; write a plain space"},
		{"BOM inside", "a\ufeff at b", "x:1:2: the invisible character U+FEFF stands between the words; write a plain space"},
		{"in quotes", "a at \"b\n\xff\nb at c", "x:2:1: the line is not text: byte 0xff is not UTF-8; save the file as UTF-8"},
		{"behind a stray character", "a at ! \\\n\xff\nb at c",
			"x:1:6: \"!\" cannot stand outside quotes; put the whole word in quotes\n" +
				"x:2:1: the line is not text: byte 0xff is not UTF-8; save the file as UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, faults := Parse("x", []byte(c.text))
			if got := faults.Error(); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
	// A character of its own, though Go uses it for bytes that are none.
	if _, faults := Parse("x", []byte(`a at "`+"\uFFFD"+`"`)); len(faults) > 0 {
		t.Errorf("U+FFFD: %v", faults)
	}
}

// What follows a fault is read as if it was not there.
func TestGoesOn(t *testing.T) {
	for _, text := range []string{"c at", "c at d ! ;", "\x00", "c at \"d", "log c loud", ":", "c: t x\\y \\\n z", strings.Repeat("x", maxLine+1)} {
		f, faults := Parse("x", []byte("a at b\n"+text+"\ne \\\nat f"))
		if len(faults) != 1 {
			t.Errorf("%.40q: faults: %v", text, faults)
		}
		var whole []string
		for _, s := range f.Statements {
			if e := s.(*Element); !e.Broken {
				whole = append(whole, e.Name.Text)
			} else if e.Name.Text != "c" || e.Other != nil || e.Type != nil {
				t.Errorf("%.40q: broken statement: %+v", text, e)
			}
		}
		if strings.Join(whole, " ") != "a e" {
			t.Errorf("%.40q: whole statements of %q", text, whole)
		}
	}
}

// Appending to one list of arguments leaves the words behind it alone.
func TestArgumentsAreApart(t *testing.T) {
	f, _ := Parse("x", []byte("a 1 at b 2: t 3"))
	e := f.Statements[0].(*Element)
	_ = append(e.Args, Word{}, Word{}, Word{})
	_ = append(e.Other.Args, Word{}, Word{}, Word{})
	if got, want := describe(f.Statements), "1:1 element a@1:1 1@1:3 at b@1:8 2@1:10 : t@1:13 3@1:15 \n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestBounds(t *testing.T) {
	longest := "a: t " + strings.Repeat("x", maxLine-5)
	for _, c := range []struct {
		name, text string
		faults     int
		last       string
	}{
		{"longest line", longest, 0, ""},
		{"line too long", "a at b\n" + longest + "x\nc at d", 1, "x:2:1: the line has 65537 bytes, and at most 65536 are read; a backslash before the line's end continues a statement on the next line"},
		{"one line of 10 MB", strings.Repeat("x", 10<<20), 1, "x:1:1: the line has 10485760 bytes, and at most 65536 are read; a backslash before the line's end continues a statement on the next line"},
		{"too much text", strings.Repeat("# 345678\n", MaxFile/9+1), 1, "x: the text has 16777224 bytes; at most 16777216 are read"},
		{"as many faults as are shown", strings.Repeat("a\n", maxFaults), maxFaults, "x:1000:1: \"a\" is no statement, and an element's name wants \"at OTHER\", \": TYPE\" or both behind it"},
		{"too many faults", strings.Repeat("a\n", maxFaults+1000), maxFaults + 1, "x:1001:1: further faults are not shown"},
		{"binary", strings.Repeat("\x00\n", 100000), maxFaults + 1, "x:1001:1: further faults are not shown"},
		{"too many words", strings.Repeat("a at b\n", maxWords/3+1), 1, "x:349526:3: the description has more than 1048576 words; the rest is not read"},
		{"too many comments", strings.Repeat("#\n", maxWords+1), 1, "x:1048577:1: the description has more than 1048576 words; the rest is not read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, faults := Parse("x", []byte(c.text))
			if len(faults) != c.faults {
				t.Fatalf("%d faults: %.1000v", len(faults), faults)
			}
			if c.faults > 0 && faults[c.faults-1].Error() != c.last {
				t.Errorf("\n got %s\nwant %s", faults[c.faults-1], c.last)
			}
		})
	}
}

// A message never repeats the whole of a hostile word.
func TestMessagesAreShort(t *testing.T) {
	long := strings.Repeat("x", 60000)
	for _, text := range []string{long, "-" + long, "log a " + long, "alias a b " + long, "a " + long + ": t", "a: " + long + ":", "a+" + long + ": t", "source " + long + " b"} {
		_, faults := Parse("x", []byte(text))
		if len(faults) != 1 || len(faults[0].Msg) > 400 {
			t.Errorf("%.20q: %d faults: %.500v", text, len(faults), faults)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	var text bytes.Buffer
	for i := 0; text.Len() < 1<<20; i++ {
		fmt.Fprintf(&text, "# link %d\nlink%[1]d at sw0 port %[1]d: tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --lport %[1]d --remote \"fd00::1\"\n", i)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if _, faults := Parse("x", text.Bytes()); len(faults) > 0 {
			b.Fatal(faults)
		}
	}
}
