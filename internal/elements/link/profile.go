package link

import (
	"path/filepath"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/openvpn/profile"
	"tmelink/internal/tmesh"
)

// maxProfiles is how deep profiles may name others; OpenVPN allows 10
// (MAX_RECURSIVE... in options.c).
const maxProfiles = 5

// withProfiles puts the words of profiles in the place of each --config.
func (c *config) withProfiles(args element.Args) (element.Args, error) {
	words, err := c.expand(args.Words, 0)
	if err != nil {
		return args, err
	}
	args.Words = words
	if has(words, "--client") || has(words, "--pull") {
		args.Words = asClient(words)
	}
	return args, nil
}

// expand puts the words of profiles in the place of each --config, and of those that are
// in quotes behind a --connection in their place.
func (c *config) expand(words []tmesh.Word, depth int) ([]tmesh.Word, error) {
	var out []tmesh.Word
	var blocks [][]profile.Directive
	var places []int // in out, of the blocks
	for len(words) > 0 {
		first := words[0]
		if first.Quoted || len(words) == 1 || first.Text != "--config" && !isBlock(words) {
			out, words = append(out, first), words[1:]
			continue
		}
		value := words[1]
		words = words[2:]
		if first.Text == "--connection" {
			block, faults := profile.ParseConnection(value.Pos, value.Text)
			if len(faults) > 0 {
				return nil, faults
			}
			blocks, places = append(blocks, block), append(places, len(out))
			continue
		}
		inner, err := c.profileWords(value, depth)
		if err != nil {
			return nil, err
		}
		out = append(out, inner...)
	}
	return withBlocks(out, blocks, places)
}

// isBlock says whether words begin with a --connection with its text.
func isBlock(words []tmesh.Word) bool {
	return words[0].Text == "--connection" && strings.ContainsAny(words[1].Text, " \t\n")
}

// profileWords are those of the profile that a file holds.
func (c *config) profileWords(file tmesh.Word, depth int) ([]tmesh.Word, error) {
	if depth == maxProfiles {
		return nil, tmesh.Faultf(file.Pos, "--config: profiles name each other more than %d deep", maxProfiles)
	}
	path := file.Text
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.dir, path)
	}
	text, err := readFile(path)
	if err != nil {
		return nil, tmesh.Faultf(file.Pos, "--config: %v", err)
	}
	said, faults := profile.Parse(path, text)
	if len(faults) > 0 {
		return nil, faults
	}
	var words []tmesh.Word
	for _, d := range said.Directives {
		words = append(words, d.Words()...)
	}
	if words, err = c.expand(words, depth+1); err != nil {
		return nil, err
	}
	places := make([]int, len(said.Connections))
	for i := range places {
		places[i] = len(words)
	}
	return withBlocks(words, said.Connections, places)
}

// withBlocks puts blocks as --connection in their places, and what they have in common
// and is the link's behind all.
func withBlocks(words []tmesh.Word, blocks [][]profile.Directive, places []int) ([]tmesh.Word, error) {
	common, blocks, faults := profile.Common(blocks, OwnOfConnection)
	if len(faults) > 0 {
		return nil, faults
	}
	var out []tmesh.Word
	begin := 0
	for i, block := range blocks {
		out = append(append(out, words[begin:places[i]]...), profile.Connection(block).Words()...)
		begin = places[i]
	}
	out = append(out, words[begin:]...)
	for _, d := range common {
		out = append(out, d.Words()...)
	}
	return out, nil
}

func has(words []tmesh.Word, option string) bool {
	for _, w := range words {
		if w.Text == option && !w.Quoted {
			return true
		}
	}
	return false
}

// asClient reads the words as those of a server's client, where OpenVPN takes tcp
// for tcp-client and binds no port that is not named.
func asClient(words []tmesh.Word) []tmesh.Word {
	out := make([]tmesh.Word, 0, len(words)+1)
	inBlock := false // of a --connection, whose options are quoted
	toProto := 0     // how many words on a protocol stands
	for _, w := range words {
		toProto--
		switch {
		case strings.HasPrefix(w.Text, "--") && (!w.Quoted || inBlock):
			inBlock = inBlock && w.Quoted || w.Text == "--connection"
			toProto = map[string]int{"--proto": 1, "--remote": 3}[w.Text]
		case toProto == 0 && (w.Text == "tcp" || w.Text == "tcp4" || w.Text == "tcp6"):
			w.Text += "-client"
		}
		out = append(out, w)
	}
	if has(words, "--nobind") || has(words, "--local") || has(words, "--lport") || has(words, "--bind") || has(words, "--port") {
		return out
	}
	for _, w := range words {
		if w.Text == "--remote" || w.Text == "--connection" {
			return append(out, tmesh.Word{Text: "--nobind", Pos: w.Pos})
		}
	}
	return out
}
