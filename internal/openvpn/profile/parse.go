package profile

import (
	"bytes"
	"strings"

	"tmelink/internal/tmesh"
)

// Bounds of a text. The first two are OpenVPN's (options.h: MAX_PARMS, which
// counts the name too, and OPTION_LINE_SIZE, of which the terminating zero takes
// one); OpenVPN leaves further words out without a word, and here they are a
// fault. MaxFile is for who reads a file: it need not read more than a byte more.
const (
	MaxFile       = 1 << 20
	maxWords      = 16
	maxLine       = 255 // bytes of an option's line with its end
	maxDirectives = 10000
	maxFaults     = 100
)

// block is the name of the tags around the options of one connection.
const block = "connection"

// Parse reads the text of a configuration file; file is its name in every place.
// All faults are told in one go. With faults the profile holds what could be read.
func Parse(file string, text []byte) (Profile, tmesh.Faults) {
	if len(text) > MaxFile {
		return Profile{}, tmesh.Faults{tmesh.Faultf(tmesh.Pos{File: file}, "the file has more than %d bytes, which no OpenVPN profile needs", MaxFile)}
	}
	p := parser{left: maxDirectives}
	text = bytes.TrimPrefix(text, []byte("\xEF\xBB\xBF")) // the UTF-8 byte order mark
	p.profile.Directives = p.options(lines{file: file, rest: string(text)}, false)
	return p.profile, p.faults
}

type parser struct {
	profile Profile
	faults  tmesh.Faults
	left    int // directives that may still come
	stopped bool
}

// fault takes up a fault, and ends the reading where there are too many.
func (p *parser) fault(f *tmesh.Fault) {
	if p.stopped {
		return
	}
	p.faults = append(p.faults, f)
	if len(p.faults) == maxFaults {
		p.faults = append(p.faults, tmesh.Faultf(f.Pos, "further faults are not shown"))
		p.stopped = true
	}
}

// lines goes through a text line by line.
type lines struct {
	file   string
	rest   string
	number int // of the line given last, from 1
}

// next gives the next line without its end, and how long it is with it.
func (l *lines) next() (line string, size int, ok bool) {
	if l.rest == "" {
		return "", 0, false
	}
	before := len(l.rest)
	line, l.rest, _ = strings.Cut(l.rest, "\n")
	l.number++
	return strings.TrimSuffix(line, "\r"), before - len(l.rest), true
}

func (l *lines) place() tmesh.Pos { return tmesh.Pos{File: l.file, Line: l.number, Column: 1} }

// options reads the lines of a file or, inside, of a <connection> block.
func (p *parser) options(l lines, inside bool) []Directive {
	var all []Directive
	for !p.stopped {
		line, size, ok := l.next()
		if !ok {
			break
		}
		words, fault := optionWords(line, size, l.place())
		if fault != nil {
			p.fault(fault)
			continue
		}
		if len(words) == 0 {
			continue
		}
		d, ok := p.option(words, &l, inside)
		if !ok {
			continue
		}
		if p.left--; p.left < 0 {
			p.fault(tmesh.Faultf(d.Pos, "there are more than %d options; the rest is not read", maxDirectives))
			p.stopped = true
			break
		}
		all = append(all, d)
	}
	return all
}

// optionWords are the words of a line; size is its length with its end.
func optionWords(line string, size int, at tmesh.Pos) ([]tmesh.Word, *tmesh.Fault) {
	if i := strings.IndexByte(line, 0); i >= 0 {
		return nil, tmesh.Faultf(at, "the line is not text: it holds a zero byte")
	}
	words, fault := splitWords(line, at)
	if len(words) == 0 && fault == nil || size <= maxLine {
		return words, fault // a comment may be longer: nothing of it is lost
	}
	return nil, tmesh.Faultf(at, "the line has %d bytes, and OpenVPN reads %d; put a long text between <name> and </name>, or into a file", size, maxLine)
}

// option makes the directive of a line's words, with the lines behind it where it
// is a tag. It gives none where there is a fault and for a <connection> block.
func (p *parser) option(words []tmesh.Word, l *lines, inside bool) (Directive, bool) {
	first := words[0]
	name := strings.TrimPrefix(first.Text, "--")
	if len(words) == 1 && len(name) > 2 && name[0] == '<' && name[len(name)-1] == '>' {
		return p.tagged(tmesh.Word{Text: name[1 : len(name)-1], Pos: first.Pos}, l, inside)
	}
	if !isName(name) {
		p.fault(tmesh.Faultf(first.Pos, "this is not the name of an option; what belongs to a key or a certificate stands between its tags, each alone on a line, as <ca> and </ca>"))
		return Directive{}, false
	}
	if name == block {
		p.fault(tmesh.Faultf(first.Pos, "connection has no values: its options stand on lines of their own between <connection> and </connection>"))
		return Directive{}, false
	}
	d := Directive{Name: name, Pos: first.Pos}
	d.addValues(words[1:])
	return d, true
}

func (d *Directive) addValues(words []tmesh.Word) {
	for _, w := range words {
		d.Values = append(d.Values, w.Text)
		d.places = append(d.places, w.Pos)
	}
}

// tagged reads what stands behind an opening tag.
func (p *parser) tagged(tag tmesh.Word, l *lines, inside bool) (Directive, bool) {
	none := Directive{}
	if !isName(tag.Text) {
		if name, ok := strings.CutPrefix(tag.Text, "/"); ok && isName(name) {
			p.fault(tmesh.Faultf(tag.Pos, "</%s> closes nothing: no <%s> is open", name, name))
		} else {
			p.fault(tmesh.Faultf(tag.Pos, "between < and > stands the name of an option, as in <ca>"))
		}
		return none, false
	}
	within := *l
	text, fault := inlineText(tag, l)
	switch {
	case fault != nil:
		p.fault(fault)
		p.stopped = !inside
		return none, false
	case strings.IndexByte(text, 0) >= 0:
		p.fault(tmesh.Faultf(tag.Pos, "what stands in <%s> is not text: it holds a zero byte", tag.Text))
		return none, false
	case tag.Text == block && inside:
		p.fault(tmesh.Faultf(tag.Pos, "a <connection> cannot stand in another one"))
		return none, false
	case tag.Text == block:
		within.rest = text
		p.connection(tag, within)
		return none, false
	case strings.TrimSpace(text) == "":
		p.fault(tmesh.Faultf(tag.Pos, "nothing stands between <%s> and </%s>", tag.Text, tag.Text))
		return none, false
	}
	text = strings.ReplaceAll(text, "\r", "") // the line ends of Windows
	return Directive{Name: tag.Text, Values: []string{text}, Inline: true, Pos: tag.Pos, places: []tmesh.Pos{tag.Pos}}, true
}

// inlineText reads the lines up to a closing tag, as OpenVPN's read_inline_file
// (options.c) does: blanks may stand before the tag, and what is behind it on its
// line is left out.
func inlineText(tag tmesh.Word, l *lines) (string, *tmesh.Fault) {
	begin := l.rest
	for {
		length := len(begin) - len(l.rest)
		line, _, ok := l.next()
		if !ok {
			return "", tmesh.Faultf(tag.Pos, "<%s> is not closed: </%s> is missing", tag.Text, tag.Text)
		}
		if strings.HasPrefix(strings.TrimLeft(line, " \t\v\f\r"), "</"+tag.Text+">") {
			return begin[:length], nil
		}
	}
}

// connection reads the options of a <connection> block.
func (p *parser) connection(tag tmesh.Word, l lines) {
	before := len(p.faults)
	options := p.options(l, true)
	remotes := 0
	for _, d := range options {
		if d.Name == "remote" {
			remotes++
		}
	}
	if remotes != 1 && len(p.faults) == before {
		p.fault(tmesh.Faultf(tag.Pos, "a <connection> has exactly one remote, and this one has %d", remotes))
	}
	p.profile.Connections = append(p.profile.Connections, options)
}
