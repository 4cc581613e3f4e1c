package profile

import (
	"fmt"
	"strings"
	"testing"
	"testing/quick"
)

// show writes words with a bar between them.
func show(words []string) string { return strings.Join(words, "|") }

// lay writes directives as "name|value|value", one a line.
func lay(directives []Directive) string {
	var b strings.Builder
	for _, d := range directives {
		b.WriteString(show(append([]string{d.Name}, d.Values...)) + "\n")
	}
	return b.String()
}

// TestWords has the expectations that OpenVPN 2.6.14's own parse_line meets.
func TestWords(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{`remote 10.0.0.1 1194`, `remote|10.0.0.1|1194`},
		{"\t remote\t\va  ", `remote|a`},
		{`remote a # not c`, `remote|a`},
		{`remote a;b #c`, `remote|a;b`},
		{`remote a ;b`, `remote|a`},
		{`remote a#b`, `remote|a#b`},
		{`; whole`, ``},
		{`--remote a`, `remote|a`},
		{`setenv x "a b"`, `setenv|x|a b`},
		{`setenv x 'a "b'`, `setenv|x|a "b`},
		{`setenv x "a 'b"`, `setenv|x|a 'b`},
		{`setenv x ""`, `setenv|x|`},
		{`setenv x ''`, `setenv|x|`},
		{`setenv "a""b"c`, `setenv|a|b|c`},
		{`setenv a"b c"`, `setenv|a"b|c"`},
		{`setenv a'b c'`, `setenv|a'b|c'`},
		{`setenv x a\ b`, `setenv|x|a b`},
		{`setenv x a\\b`, `setenv|x|a\b`},
		{`setenv x \"a\"`, `setenv|x|"a"`},
		{`setenv x "a\"b\\c\ d"`, `setenv|x|a"b\c d`},
		{`setenv x 'a\b'`, `setenv|x|a\b`},
		{`setenv x "#a" ';b'`, `setenv|x|#a|;b`},
		{`setenv \ x`, `setenv|x`}, // between words the blank is lost with its backslash
		{`setenv x \#y`, `setenv|x`},
		{`setenv x \`, `setenv|x`},
		{`setenv x \\`, `setenv|x|\`},
		{`"remote" 'a'`, `remote|a`},
		{`a 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 # 16`, `a|1|2|3|4|5|6|7|8|9|10|11|12|13|14|15`},
		{"setenv x \xe4", "setenv|x|\xe4"},
	} {
		for _, end := range []string{"", "\n", "\r\n"} {
			p, faults := Parse("f", []byte(test.line+end))
			want := test.want + "\n"
			if test.want == "" {
				want = ""
			}
			if got := lay(p.Directives); got != want || faults != nil {
				t.Errorf("%q gives %q and %v, want %q", test.line+end, got, faults, want)
			}
		}
	}
}

func TestFile(t *testing.T) {
	text := "\xEF\xBB\xBFdev tap\r\n" +
		"--ca [inline] # a file's name\r\n" +
		"  <ca>  # comment\r\n" +
		"one <two>\r\n" +
		"# kept \\z\r\n" +
		"\r\n" +
		"   </ca> behind\r\n" +
		"<connection>\r\n" +
		"# first\r\n" +
		"remote a 1 udp\r\n" +
		"<http-proxy-user-pass>\r\nme\r\n</http-proxy-user-pass>\r\n" +
		"</connection>\r\n" +
		"<connection>\nremote b\n</connection>\n" +
		`"<key>"` + "\n<ca>\n</key>\n" +
		"verb 3"
	p, faults := Parse("x.ovpn", []byte(text))
	if faults != nil {
		t.Fatal(faults)
	}
	want := "dev|tap\nca|[inline]\nca|one <two>\n# kept \\z\n\n\nkey|<ca>\n\nverb|3\n"
	if got := lay(p.Directives); got != want {
		t.Errorf("directives %q, want %q", got, want)
	}
	var places, inline []string
	for _, d := range p.Directives {
		places = append(places, d.Pos.String())
		inline = append(inline, fmt.Sprint(d.Inline))
	}
	if got, want := show(places), "x.ovpn:1:1|x.ovpn:2:1|x.ovpn:3:3|x.ovpn:18:1|x.ovpn:21:1"; got != want {
		t.Errorf("places %s, want %s", got, want)
	}
	if got, want := show(inline), "false|false|true|true|false"; got != want {
		t.Errorf("inline %s, want %s", got, want)
	}
	if len(p.Connections) != 2 {
		t.Fatalf("%d connections, want 2", len(p.Connections))
	}
	if got, want := lay(p.Connections[0]), "remote|a|1|udp\nhttp-proxy-user-pass|me\n\n"; got != want {
		t.Errorf("first connection %q, want %q", got, want)
	}
	if got, want := p.Connections[0][1].Pos.String(), "x.ovpn:11:1"; got != want {
		t.Errorf("the tag in the block is at %s, want %s", got, want)
	}
	if got, want := p.Connections[1][0].Pos.String(), "x.ovpn:16:1"; got != want {
		t.Errorf("the second block's remote is at %s, want %s", got, want)
	}
	if got := len(p.Find("ca")); got != 2 {
		t.Errorf("Find gives %d of ca, want 2", got)
	}
}

func TestWordsOfADirective(t *testing.T) {
	p, faults := Parse("f", []byte(`remote  "ä b" 1194`))
	if faults != nil {
		t.Fatal(faults)
	}
	var got []string
	for _, w := range p.Directives[0].Words() {
		got = append(got, fmt.Sprintf("%s %s %v", w.Pos, w.Text, w.Quoted))
	}
	if got, want := show(got), "f:1:1 --remote false|f:1:9 ä b true|f:1:15 1194 true"; got != want {
		t.Errorf("words %s, want %s", got, want)
	}
}

func TestFaults(t *testing.T) {
	long := strings.Repeat("x", 252)
	for _, test := range []struct{ text, want string }{
		{`setenv "a b`, `f:1:8: the quotation that begins here has no closing " on its line`},
		{`setenv 'a b`, `f:1:8: the quotation that begins here has no closing ' on its line`},
		{`setenv "a b\`, `f:1:12: the backslash at the line's end takes nothing`},
		{"setenv a\\\nverb 3", `f:1:9: the backslash at the line's end takes nothing`},
		{`ca c:\keys\a`, `f:1:6: a backslash takes only a backslash, a double quote or a blank`},
		{`ca "c:\keys"`, `f:1:7: a backslash takes only`},
		{`ca \'a'`, `f:1:4: a backslash takes only`},
		{"verb 3\nü", `f:2:1: this is not the name of an option`},
		{`a 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16`, `f:1:39: an option has at most 15 values`},
		{"a " + long, ""},
		{"a " + long + "y", ""},
		{"a " + long + "y\n", `f:1:1: the line has 256 bytes, and OpenVPN reads 255`},
		{"# " + long + long + "\n", ""},
		{"verb 3\nverb \x004\n", `f:2:1: the line is not text`},
		{"<ca>\nA\x00\n</ca>\n", `f:1:1: what stands in <ca> is not text`},
		{"verb 3\n <ca>\nA\n", `f:2:2: <ca> is not closed: </ca> is missing`},
		{"<ca>\nA\n</cab>\n", `f:1:1: <ca> is not closed`},
		{"A\n</ca>\n", `f:2:1: </ca> closes nothing: no <ca> is open`},
		{"<ca>\n \n</ca>\n", `f:1:1: nothing stands between <ca> and </ca>`},
		{`"<c a>"`, `f:1:1: between < and > stands the name of an option`},
		{"<ca> b", `f:1:1: this is not the name of an option`},
		{"<>", `f:1:1: this is not the name of an option`},
		{"connection a", `f:1:1: connection has no values`},
		{"<connection>\nverb 3\n</connection>", `f:1:1: a <connection> has exactly one remote, and this one has 0`},
		{"<connection>\nremote a\nremote b\n</connection>", `f:1:1: a <connection> has exactly one remote, and this one has 2`},
		{"<connection>\nremote 'a\n</connection>\nverb '3", "f:2:8: the quotation that begins here has no closing ' on its line\nf:4:6: the quotation"},
		{"<connection>\nremote a\n<ca>\nA\n</connection>\nverb '3", "f:3:1: <ca> is not closed: </ca> is missing\nf:6:6: the quotation"},
		{strings.Repeat("'\n", 101), "f:100:1: further faults are not shown"},
		{strings.Repeat("a\n", 10001), "f:10001:1: there are more than 10000 options"},
		{strings.Repeat("#\n", 1<<19) + "a", "f: the file has more than 1048576 bytes"},
	} {
		_, faults := Parse("f", []byte(test.text))
		got := ""
		if faults != nil {
			got = faults.Error()
		}
		for want := range strings.SplitSeq(test.want, "\n") {
			if !strings.Contains(got, want) || (want == "") != (got == "") {
				t.Errorf("%.60q: faults %q, want %q", test.text, got, want)
			}
		}
	}
}

// TestKeyWithoutTags: a key that stands where options are wanted is not shown.
func TestKeyWithoutTags(t *testing.T) {
	text := "-----BEGIN OpenVPN Static key V1-----\n6acef03f62675b4b1bbd03e53b187727\n-----END OpenVPN Static key V1-----\n" +
		"MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEAq7BFUpkGp3+LQmlQ\nYx2eqzDV+xeG8kx/sQFV18S5JhzGeIJNA72wSeukEPojtqUyX2J0CciPBh7eqclQ\n" +
		"'6acef03f62675b4b1bbd03e53b187727\n" + strings.Repeat("0123456789abcdef", 20) + "\n"
	p, faults := Parse("f", []byte(text))
	if len(faults) != 7 || len(p.Directives) > 0 {
		t.Errorf("%d faults and %d directives, want 7 and 0", len(faults), len(p.Directives))
	}
	for _, secret := range []string{"6acef", "MIIB", "Yx2e", "0123"} {
		if strings.Contains(faults.Error(), secret) {
			t.Errorf("the faults show %q:\n%v", secret, faults)
		}
	}
}

// sameDirective says whether two have the same meaning, wherever they stand.
func sameDirective(a, b Directive) bool {
	return a.Name == b.Name && a.Inline == b.Inline && len(a.Values) == len(b.Values) && show(a.Values) == show(b.Values)
}

// TestPrinted: what is printed is read as what it was, whatever the value.
func TestPrinted(t *testing.T) {
	same := func(value string) bool {
		if strings.ContainsAny(value, "\x00\n") || len(value) > 100 {
			return true
		}
		d := Directive{Name: "setenv", Values: []string{value, "x", value}}
		p, faults := Parse("f", []byte(d.String()))
		return faults == nil && len(p.Directives) == 1 && sameDirective(p.Directives[0], d)
	}
	for _, value := range []string{"", "a", "'", `"`, `\`, "#", ";a", "a b", "a\r", "\ta\v", `'a"\ `, "<a>", "--a", "[inline]"} {
		if !same(value) {
			t.Errorf("%q is not read as it was: %s", value, Directive{Name: "setenv", Values: []string{value}})
		}
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("remote 'a' \"b\\\"\" c\\ d # e\n<ca>\nA\n</ca>\n<connection>\nremote x\n</connection>\n"))
	f.Add([]byte("\xEF\xBB\xBF--dev tap\r\n<key>\r\nA\r\n\r\n </key>\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, faults := Parse("f", text)
		for _, fault := range faults {
			if fault.Pos.File != "f" || fault.Pos.Line < 0 || fault.Pos.Line > len(text)+1 {
				t.Fatalf("a fault at no place: %v", fault)
			}
		}
		for _, d := range p.Directives {
			if len(d.Words()) != 1+len(d.Values) || d.Pos.Line < 1 || d.Pos.Column < 1 {
				t.Fatalf("%q has no places", d)
			}
			printed := d.String()
			if !d.Inline && len(printed) > maxLine {
				continue // quotes can make a line too long that was just short enough
			}
			again, faults := Parse("again", []byte(printed))
			if faults != nil || len(again.Directives) != 1 || !sameDirective(again.Directives[0], d) {
				t.Fatalf("%q is read as %q, with %v", printed, again.Directives, faults)
			}
		}
	})
}
