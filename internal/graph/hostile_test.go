package graph

import (
	"bytes"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzDraw draws networks with any text at all and reads the pictures back.
func FuzzDraw(f *testing.F) {
	f.Add("le0", "tme/ic/am7990", "inet 10.0.0.1/24", "udp")
	f.Add("</text>", "]]><!--", "&lt;&#0;", `"'\`)
	f.Add("\x00\x1b[2J\xff", "\u202e\ufffe\U000e0001", "\r\n\t\u2028", "漢字e\u0301")
	f.Fuzz(func(t *testing.T, name, typ, detail, label string) {
		net := Network{
			Machines: []Machine{
				{name, []Element{{name, typ, Link, []string{detail, label}}, {name + "'", typ, Host, nil}}, []Connection{{name, name + "'"}}},
				{name + "2", []Element{{label, detail, Switch, []string{typ}}}, []Connection{{label, label}}},
			},
			Wires: []Wire{{label + "-", []End{{name, name}}}, {label, []End{{name, name}, {name + "2", label}}}},
		}
		var svg, dot, text bytes.Buffer
		for _, draw := range []error{SVG(&svg, net), DOT(&dot, net), Text(&text, net)} {
			if draw != nil {
				t.Fatal(draw)
			}
		}
		said := svgTexts(t, svg.Bytes())
		for _, want := range []string{cut(clean(name), boxColumns), cut(clean(detail), boxColumns)} {
			if !slices.Contains(said, want) {
				t.Errorf("the SVG does not say %q but %q", want, said)
			}
		}
		labels := dotLabels(t, dot.String())
		if want := clean(label); !slices.Contains(labels, want) {
			t.Errorf("the DOT does not say %q but %q", want, labels)
		}
		for _, r := range text.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("the text holds %U", r)
			}
		}
		if !utf8.Valid(text.Bytes()) || !utf8.Valid(dot.Bytes()) {
			t.Error("a picture is no UTF-8")
		}
	})
}

// svgTexts reads an SVG and gives what its text elements say.
func svgTexts(t *testing.T, svg []byte) []string {
	t.Helper()
	known := []string{"svg", "title", "style", "rect", "text", "g", "path", "circle"}
	var said []string
	inText := false
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return said
		}
		if err != nil {
			t.Fatalf("the SVG is no XML: %v\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if !slices.Contains(known, token.Name.Local) {
				t.Fatalf("the SVG has an element <%s>", token.Name.Local)
			}
			if inText = token.Name.Local == "text"; inText {
				said = append(said, "")
			}
		case xml.CharData:
			if inText {
				said[len(said)-1] += string(token)
			}
		case xml.EndElement:
			inText = false
		}
	}
}

// dotLabels reads a DOT file as far as its strings go: it checks that outside
// of them there is nothing but the language's own words, and gives what they
// say to a reader.
func dotLabels(t *testing.T, dot string) []string {
	t.Helper()
	var labels []string
	for dot != "" {
		before, rest, found := strings.Cut(dot, `"`)
		for _, r := range before {
			if r > unicode.MaxASCII || strings.ContainsRune(`\&<>'`, r) {
				t.Fatalf("%q stands outside of a string", before)
			}
		}
		if !found {
			break
		}
		var s strings.Builder
		end := -1
		for i := 0; i < len(rest) && end < 0; i++ {
			switch c := rest[i]; {
			case c == '"':
				end = i
			case c == '\\':
				i++
				if i == len(rest) || !strings.ContainsRune(`\"n`, rune(rest[i])) {
					t.Fatalf("an escape that Graphviz would take for something else: %.40q", rest[i-1:])
				}
				s.WriteByte(rest[i])
			default:
				s.WriteByte(c)
			}
		}
		if end < 0 {
			t.Fatalf("a string without end: %q", rest)
		}
		labels = append(labels, strings.ReplaceAll(s.String(), "&amp;", "&"))
		dot = rest[end+1:]
	}
	return labels
}

func TestFaults(t *testing.T) {
	two := []Machine{{"a", []Element{{Name: "x"}, {Name: "y"}}, nil}, {"b", []Element{{Name: "x"}}, nil}}
	for _, c := range []struct {
		name string
		net  Network
		want string
	}{
		{"machine twice", Network{Machines: []Machine{{Name: "a"}, {Name: "a"}}}, `two machines are named "a"`},
		{"element twice", Network{Machines: []Machine{{"a", []Element{{Name: "x"}, {Name: "x"}}, nil}}}, `two elements are named "x"`},
		{"unknown in connection", Network{Machines: []Machine{{"a", []Element{{Name: "x"}}, []Connection{{"x", "z"}}}}}, `"x" and "z" are connected`},
		{"unknown in wire", Network{two, []Wire{{"udp", []End{{"a", "x"}, {"b", "y"}}}}}, `machine "b" has no element "y"`},
		{"wire twice at one", Network{two, []Wire{{"udp", []End{{"a", "x"}, {"a", "x"}}}}}, `ends twice at element "x"`},
		{"no ends", Network{two, []Wire{{"udp", nil}}}, "0 ends"},
		{"no label", Network{two, []Wire{{"", []End{{"a", "x"}}}}}, "1 ends"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for ext, draw := range formats {
				err := draw(io.Discard, c.net)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: got %v, want it to say %s", ext, err, c.want)
				}
			}
		})
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriteErrorIsTold(t *testing.T) {
	for ext, draw := range formats {
		if err := draw(broken{}, networks["shared-tap"]); err != io.ErrClosedPipe {
			t.Errorf("%s: got %v", ext, err)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"漢字", 4, "漢字"},
		{"漢字x", 4, "漢…"},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"},
		{"ab\xff\xfe", 3, "ab…"},
	} {
		if got := cut(c.in, c.most); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.in, c.most, got, c.want)
		}
	}
	if got := cut("e"+strings.Repeat("\u0301", 1000), 10); len(got) > 100 {
		t.Errorf("%d bytes are left of a thousand marks", len(got))
	}
}

func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name                  string
		wished, heights, want []int
	}{
		{"none", nil, nil, []int{}},
		{"room enough", []int{0, 100}, []int{10, 10}, []int{0, 100}},
		{"pushed apart evenly", []int{50, 50}, []int{10, 10}, []int{42, 57}},
		{"a pool of three", []int{0, 0, 0}, []int{10, 10, 10}, []int{-15, 0, 15}},
		{"the one far off stays", []int{0, 0, 200}, []int{10, 10, 10}, []int{-8, 7, 200}},
	} {
		got := settle(c.wished, c.heights, 5)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
