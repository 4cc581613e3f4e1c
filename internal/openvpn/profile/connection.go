package profile

import (
	"slices"

	"tmelink/internal/tmesh"
)

// Connection is a block as one directive: each of its options is a value that begins
// with "--", and its values follow.
func Connection(block []Directive) Directive {
	d := Directive{Name: "connection"}
	if len(block) > 0 {
		d.Pos = block[0].Pos
	}
	for _, option := range block {
		for _, w := range option.Words() {
			d.Values = append(d.Values, w.Text)
			d.places = append(d.places, w.Pos)
		}
	}
	return d
}

// ParseConnection reads what stands between the tags of a <connection>, the first line
// of which is at a place.
func ParseConnection(at tmesh.Pos, text string) ([]Directive, tmesh.Faults) {
	if len(text) > MaxFile {
		return nil, tmesh.Faults{tmesh.Faultf(at, "the connection has more than %d bytes", MaxFile)}
	}
	p := parser{left: maxDirectives}
	p.connection(tmesh.Word{Text: block, Pos: at}, lines{file: at.File, rest: text, number: at.Line - 1})
	return p.profile.Connections[0], p.faults
}

// Common takes out of blocks the options that are not a connection's own, as own says
// by the name. They are to be the same in all blocks.
func Common(blocks [][]Directive, own func(name string) bool) (common []Directive, rest [][]Directive, faults tmesh.Faults) {
	for i, block := range blocks {
		var kept []Directive
		for _, d := range block {
			if own(d.Name) {
				kept = append(kept, d)
				continue
			}
			if i == 0 {
				common = append(common, d)
			}
			if slices.ContainsFunc(blocks, func(other []Directive) bool { return !contains(other, d) }) {
				faults = append(faults, tmesh.Faultf(d.Pos, "%s is not the same in every <connection>, and a link has it once; run a link for each, or leave the others out", d.Name))
			}
		}
		rest = append(rest, kept)
	}
	return common, rest, faults
}

func contains(block []Directive, d Directive) bool {
	return slices.ContainsFunc(block, func(e Directive) bool {
		return e.Name == d.Name && slices.Equal(e.Values, d.Values)
	})
}
