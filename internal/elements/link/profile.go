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

func (c *config) expand(words []tmesh.Word, depth int) ([]tmesh.Word, error) {
	var out []tmesh.Word
	for len(words) > 0 {
		if words[0].Text != "--config" || words[0].Quoted || len(words) == 1 {
			out, words = append(out, words[0]), words[1:]
			continue
		}
		file := words[1]
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
		inner, err := c.expand(profileWords(said), depth+1)
		if err != nil {
			return nil, err
		}
		out, words = append(out, inner...), words[2:]
	}
	return out, nil
}

// profileWords are a profile's directives as words. Its <connection> blocks are
// remotes.
func profileWords(p profile.Profile) []tmesh.Word {
	var words []tmesh.Word
	for _, d := range p.Directives {
		words = append(words, d.Words()...)
	}
	for _, block := range p.Connections {
		words = append(words, connectionWords(block)...)
	}
	return words
}

// connectionWords makes one --remote of a <connection> block: its port and protocol
// stand behind the host. What else stands in it is left to be complained of.
func connectionWords(block []profile.Directive) []tmesh.Word {
	var remote, rest []tmesh.Word
	var port, proto *tmesh.Word
	for _, d := range block {
		words := d.Words()
		switch {
		case d.Name == "remote":
			remote = words
		case (d.Name == "port" || d.Name == "rport") && len(words) == 2:
			port = &words[1]
		case d.Name == "proto" && len(words) == 2:
			proto = &words[1]
		default:
			rest = append(rest, words...)
		}
	}
	if len(remote) == 2 && (port != nil || proto != nil) {
		if port == nil {
			port = &tmesh.Word{Text: "1194", Pos: remote[0].Pos, Quoted: true}
		}
		remote = append(remote, *port)
	}
	if len(remote) == 3 && proto != nil {
		remote = append(remote, *proto)
	}
	return append(remote, rest...)
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
	behind := 0 // words since --proto or --remote
	for _, w := range words {
		option := strings.HasPrefix(w.Text, "--") && !w.Quoted
		switch {
		case option && (w.Text == "--proto" || w.Text == "--remote"):
			behind = 1
		case option:
			behind = 0
		case behind > 0:
			switch w.Text {
			case "tcp", "tcp4", "tcp6":
				w.Text += "-client"
			}
		}
		out = append(out, w)
	}
	if has(words, "--remote") && !has(words, "--nobind") && !has(words, "--local") && !has(words, "--lport") && !has(words, "--bind") && !has(words, "--port") {
		for _, w := range words {
			if w.Text == "--remote" {
				out = append(out, tmesh.Word{Text: "--nobind", Pos: w.Pos})
				break
			}
		}
	}
	return out
}
