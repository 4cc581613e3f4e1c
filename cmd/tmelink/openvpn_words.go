package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/elements/link"
	"tmelink/internal/openvpn/profile"
	"tmelink/internal/tmesh"
)

// The elements of a tunnel.
const (
	tapName  = "tap"
	linkName = "link"
	nullName = "nowhere"

	tapType  = "tme/host/openvpn/tun/tap"
	linkType = "tme/host/openvpn/socket/link"
	nullType = "tme/generic/switch" // alone on it, the link's frames go nowhere
)

// openvpnWords are OpenVPN's options, sorted by whom they concern.
type openvpnWords struct {
	dir                string       // against which file names count
	process, tap, link []tmesh.Word // those of the TAP count only where there is one
	null               bool         // --dev null: there is no TAP
	at                 tmesh.Pos    // of --dev
}

// readOpenVPN reads a command line and the profiles that it names.
func readOpenVPN(args []string, read func(string) ([]byte, error)) (openvpnWords, tmesh.Faults) {
	r := profileReader{read: read}
	p, faults := profile.ParseArgs(args)
	r.faults = faults
	r.take(p, 0)
	r.joinConnections()
	s := sorter{faults: r.faults}
	s.words.dir = r.dir
	s.sort(r.directives)
	return s.words, s.faults
}

// statements describe the tunnel's machine.
func (w *openvpnWords) statements() []tmesh.Statement {
	word := func(text string) tmesh.Word { return tmesh.Word{Text: text, Pos: w.at} }
	make := func(name, path string, args []tmesh.Word) *tmesh.Element {
		t := word(path)
		return &tmesh.Element{Node: tmesh.Node{At: w.at}, End: tmesh.End{Name: word(name)}, Type: &t, TypeArgs: args}
	}
	other := make(tapName, tapType, w.tap)
	if w.null {
		other = make(nullName, nullType, nil)
	}
	cable := make(linkName, linkType, w.link)
	cable.Other = &tmesh.End{Name: other.Name}
	return []tmesh.Statement{other, cable}
}

// profileReader collects the options of a command line and of its profiles.
type profileReader struct {
	read        func(string) ([]byte, error)
	dir         string // of --cd
	directives  []profile.Directive
	connections [][]profile.Directive
	faults      tmesh.Faults
}

// maxProfileDepth bounds how deep profiles name each other.
const maxProfileDepth = 5

// take takes up options in their order; depth is how many profiles are being read.
// As OpenVPN does, --cd changes the folder for what stands behind it.
func (r *profileReader) take(p profile.Profile, depth int) {
	for _, d := range p.Directives {
		switch {
		case d.Name != "config" && d.Name != "cd":
			r.directives = append(r.directives, d)
		case len(d.Values) != 1 || d.Inline || d.Values[0] == "":
			r.fault(d.Pos, "--%s wants the name of one %s", d.Name, map[string]string{"config": "profile", "cd": "folder"}[d.Name])
		case d.Name == "cd":
			r.dir = under(r.dir, d.Values[0])
		case depth == maxProfileDepth:
			r.fault(d.Pos, "profiles name each other more than %d deep", maxProfileDepth)
		default:
			file := under(r.dir, d.Values[0])
			text, err := r.read(file)
			if err != nil {
				r.fault(d.Pos, "cannot read the profile %q: %v", file, err)
				continue
			}
			inner, faults := profile.Parse(file, text)
			r.faults = append(r.faults, faults...)
			r.take(inner, depth+1)
		}
	}
	r.connections = append(r.connections, p.Connections...)
}

func (r *profileReader) fault(at tmesh.Pos, format string, args ...any) {
	r.faults = append(r.faults, tmesh.Faultf(at, format, args...))
}

// under gives the path of a file that is named in a folder.
func under(dir, name string) string {
	if filepath.IsAbs(name) || dir == "" {
		return name
	}
	return filepath.Join(dir, name)
}

// joinConnections takes out of the <connection> blocks what they have in common and is
// the link's or the TAP's, and makes a --connection of what is left of each.
func (r *profileReader) joinConnections() {
	if len(r.connections) == 0 {
		return
	}
	for _, d := range r.directives {
		if d.Name == "remote" {
			r.fault(d.Pos, "remote stands beside <connection> blocks, which have one each; leave it out")
		}
	}
	common, blocks, faults := profile.Common(r.connections, link.OwnOfConnection)
	r.directives = append(r.directives, common...)
	r.faults = append(r.faults, faults...)
	for _, block := range blocks {
		r.directives = append(r.directives, profile.Connection(block))
	}
}

// lastValue is the first value of the last directive of a name, or otherwise.
func lastValue(directives []profile.Directive, name, otherwise string) string {
	for _, d := range slices.Backward(directives) {
		if d.Name == name && len(d.Values) > 0 {
			return d.Values[0]
		}
	}
	return otherwise
}

// sorter gives each option to whom it concerns.
type sorter struct {
	words  openvpnWords
	faults tmesh.Faults

	ofProcess, ofTAP, ofLink map[string]element.Option
}

func (s *sorter) sort(directives []profile.Directive) {
	s.ofProcess = optionsByName((&processWords{}).options())
	ofTAP, _ := element.Lookup(tapType)
	ofLink, _ := element.Lookup(linkType)
	s.ofTAP, s.ofLink = optionsByName(ofTAP.Options), optionsByName(ofLink.Options)
	directives = s.device(directives)
	s.checkTogether(directives)
	last := map[string]int{}
	for i, d := range directives {
		last[d.Name] = i
	}
	for i, d := range directives {
		if last[d.Name] == i || s.repeats("--"+d.Name) { // as with OpenVPN, what comes last counts
			s.give(d)
		}
	}
	s.words.link = append(s.words.link, binding(directives, s.words.at)...)
}

// repeats says whether an option counts each time that it is given, or is not
// known, so that the link is to complain of it each time.
func (s *sorter) repeats(name string) bool {
	option, known := s.ofLink[name]
	if !known {
		_, process := s.ofProcess[name]
		_, tap := s.ofTAP[name]
		return !process && !tap
	}
	return does(option) && option.Repeat
}

// give gives an option to whoever carries it out, which can be the TAP and the
// link; else to the one with the better reason not to.
func (s *sorter) give(d profile.Directive) {
	name := "--" + d.Name
	process, whole := s.ofProcess[name]
	tap := s.ofTAP[name]
	tapDoes, linkDoes := does(tap), does(s.ofLink[name])
	switch {
	case whole && (does(process) || !tapDoes && !linkDoes):
		s.words.process = append(s.words.process, d.Words()...)
	case tapDoes && s.words.null && !linkDoes:
		s.faults = append(s.faults, tmesh.Faultf(d.Pos, "%s is for a TAP, and with --dev null there is none", name))
	case tapDoes || tap.Refused != "" && !linkDoes:
		s.words.tap = append(s.words.tap, d.Words()...)
		if linkDoes {
			s.words.link = append(s.words.link, d.Words()...)
		}
	default:
		s.words.link = append(s.words.link, d.Words()...)
	}
}

// checkTogether finds what only options of two elements together show.
func (s *sorter) checkTogether(directives []profile.Directive) {
	scripts := hasAny(directives, "up", "down")
	for _, d := range directives {
		if d.Name == "setenv" && scripts {
			s.faults = append(s.faults, tmesh.Faultf(d.Pos, "--setenv is not carried out: set the variable in the script of --up or --down"))
		}
	}
}

func hasAny(directives []profile.Directive, names ...string) bool {
	return slices.ContainsFunc(directives, func(d profile.Directive) bool { return slices.Contains(names, d.Name) })
}

// does says whether an option is carried out.
func does(o element.Option) bool { return o.Set != nil && o.Refused == "" }

func optionsByName(options []element.Option) map[string]element.Option {
	byName := map[string]element.Option{}
	for _, o := range options {
		byName[o.Name] = o
	}
	return byName
}

// device looks at --dev and --dev-type: whether there is a TAP. The link is told
// of one in any case, for its peer has one.
func (s *sorter) device(directives []profile.Directive) []profile.Directive {
	kind := lastValue(directives, "dev-type", "")
	name := lastValue(directives, "dev", "")
	var rest []profile.Directive
	for _, d := range directives {
		switch {
		case d.Name != "dev":
			rest = append(rest, d)
			continue
		case s.words.at == tmesh.Pos{}:
			s.words.at = d.Pos
		}
		switch {
		case kind == "" && strings.HasPrefix(name, "tun") || kind == "tun":
			s.faults = append(s.faults, tmesh.Faultf(d.Pos, "a tun device carries IP packets, and tmelink Ethernet: use --dev tap here and at the peer"))
		case kind == "" && strings.HasPrefix(name, "null"):
			s.words.null = true
		default:
			rest = append(rest, d)
			continue
		}
		d.Values = []string{"tap"} // so that nobody complains a second time
		rest = append(rest, d)
	}
	if name == "" {
		s.words.at = tmesh.Pos{File: profile.CommandLine, Line: 1, Column: 1}
		if len(s.faults) == 0 { // else it may stand in what could not be read
			s.faults = append(s.faults, tmesh.Faultf(s.words.at, "--dev is missing: give --dev tap, or --dev null for none"))
		}
		rest = append(rest, profile.Directive{Name: "dev", Values: []string{"tap"}, Pos: s.words.at})
	}
	return rest
}

// binding are the words by which a link binds as OpenVPN does: to any address,
// or not at all where it is a client (options_postprocess_mutate_ce in options.c).
func binding(directives []profile.Directive, at tmesh.Pos) []tmesh.Word {
	if hasAny(directives, "local", "nobind") {
		return nil
	}
	host, proto, proxied := firstWay(directives)
	client := hasAny(directives, "client", "pull") || strings.HasPrefix(proto, "tcp") && strings.HasSuffix(proto, "-client") ||
		proxied && !strings.HasPrefix(proto, "tcp")
	if client && !hasAny(directives, "lport", "bind") {
		return []tmesh.Word{{Text: "--nobind", Pos: at}}
	}
	any := netip.IPv4Unspecified()
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() || strings.Contains(proto, "6") {
		any = netip.IPv6Unspecified()
	}
	return []tmesh.Word{{Text: "--local", Pos: at}, {Text: fmt.Sprint(any), Pos: at}}
}

// firstWay is what is said of the first of the ways to the peer: its host, protocol, and
// whether it goes through a SOCKS proxy.
func firstWay(directives []profile.Directive) (host, proto string, proxied bool) {
	values := func(d profile.Directive) []string { return append(slices.Clone(d.Values), "", "", "") }
	for _, d := range slices.Backward(directives) {
		switch d.Name {
		case "remote":
			host, proto = values(d)[0], values(d)[2]
		case "connection":
			host, proto = blockValue(d, "--remote", 0), cmp.Or(blockValue(d, "--remote", 2), blockValue(d, "--proto", 0))
			proxied = blockValue(d, "--socks-proxy", 0) != ""
		}
	}
	return host, cmp.Or(proto, lastValue(directives, "proto", "")), proxied || hasAny(directives, "socks-proxy")
}

// blockValue is a value of an option in a --connection, "" if it has none.
func blockValue(connection profile.Directive, option string, i int) string {
	at := slices.Index(connection.Values, option)
	if at < 0 {
		return ""
	}
	values := connection.Values[at+1:]
	if end := slices.IndexFunc(values, func(v string) bool { return strings.HasPrefix(v, "--") }); end >= 0 {
		values = values[:end]
	}
	if i >= len(values) {
		return ""
	}
	return values[i]
}
