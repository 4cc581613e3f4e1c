package tmesh

import (
	"slices"
	"strings"
)

// element reads the rest of a statement that makes an element, a connection, or
// both. A statement with a fault still says that its element exists.
func (p *parser) element(node Node, first Word) Statement {
	words := []Word{first}
	if first.Text == "connect" {
		words = nil
	}
	words, stop := p.collect(words, false)
	typeColon := stop
	var typeWords []Word
	if typeColon.kind == colon {
		typeWords, stop = p.collect(nil, true)
	}
	e := &Element{Node: node}
	if len(words) == 0 {
		switch {
		case typeColon.kind == colon:
			p.name(first) // says that it is reserved
		case stop.kind != broken:
			p.report(Faultf(first.Pos, "connect wants the names of two elements: %s", keywords["connect"].form))
		}
		return nil
	}
	e.Name = words[0]
	if !p.name(e.Name) {
		return nil
	}
	fault := e.fill(words, typeColon, typeWords)
	switch {
	case stop.kind == broken:
		return &Element{Node: node, End: End{Name: e.Name}, Broken: true}
	case fault != nil:
		p.report(fault)
		return &Element{Node: node, End: End{Name: e.Name}, Broken: true}
	case e.Other != nil && !p.name(e.Other.Name):
		return &Element{Node: node, End: End{Name: e.Name}, Broken: true}
	}
	return e
}

// fill sorts the words before and behind the type's colon to their places.
// typeColon is no colon where the statement has none.
func (e *Element) fill(words []Word, typeColon token, typeWords []Word) *Fault {
	hasType := typeColon.kind == colon
	at := slices.IndexFunc(words, isAt)
	if at < 0 {
		switch {
		case !hasType:
			return Faultf(e.Name.Pos, `%s is no statement, and an element's name wants "at OTHER", ": TYPE" or both behind it`, show(e.Name.Text))
		case len(words) > 1:
			return Faultf(words[1].Pos, `%s has no place here: between the name and the colon stands "at OTHER", and the type's arguments stand behind the type`, show(words[1].Text))
		}
	} else {
		e.Args = words[1:at:at]
		other := words[at+1:]
		if len(other) == 0 {
			return Faultf(words[at].Pos, `"at" wants the name of the element to connect to: NAME at OTHER`)
		}
		if i := slices.IndexFunc(other, isAt); i >= 0 {
			return Faultf(other[i].Pos, `a second "at": a statement makes one connection; make the next one in a statement of its own`)
		}
		e.Other = &End{Name: other[0], Args: other[1:]}
	}
	if !hasType {
		return nil
	}
	return e.fillType(typeColon.Pos, typeWords)
}

func (e *Element) fillType(typeColon Pos, words []Word) *Fault {
	switch {
	case len(words) == 0 || words[0].Text == "":
		return Faultf(typeColon, `":" wants an element type behind it, as in NAME: tme/host/tun/tap`)
	case !words[0].Quoted && strings.Contains(words[0].Text, ":"):
		return Faultf(words[0].Pos, `%s is no element type; the first colon outside quotes is the type's, and words before it that have colons must stand in quotes`, show(words[0].Text))
	}
	if i := slices.IndexFunc(words, isAt); i >= 0 {
		return Faultf(words[i].Pos, `"at" stands before the type's colon: NAME at OTHER: TYPE`)
	}
	e.Type, e.TypeArgs = &words[0], words[1:]
	return nil
}
