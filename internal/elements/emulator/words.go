package emulator

import (
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport/unixsock"
)

// MTUs that a frame has room for: IPv4's smallest (RFC 791) and its longest packet.
const (
	minMTU = 68
	maxMTU = 65535
)

func mtuOption(mtu *int) element.Option {
	return element.Option{Name: "mtu", Values: "BYTES", Doc: "The largest payload of a frame, 68 to 65535; the default is 1500. Longer frames are dropped, both ways.",
		Set: func(v element.Values) (err error) { *mtu, err = v.Int(0, minMTU, maxMTU); return }}
}

// mode is the permissions of a socket.
type mode struct {
	perm  fs.FileMode
	given tmesh.Pos // of the option, where it was given
}

func modeOption(m *mode) element.Option {
	return element.Option{Name: "mode", Values: "OCTAL", Doc: "The permissions of the socket that the element makes, which say who may use it; the default is 600: this user and root.",
		Set: func(v element.Values) error {
			n, err := strconv.ParseUint(v.Text(0), 8, 32)
			if err != nil || n > 0o777 {
				return v.Faultf(0, "%q is not an octal number from 0 to 777, such as 660", v.Text(0))
			}
			*m = mode{fs.FileMode(n), v.Name.Pos}
			return nil
		}}
}

// place is where a socket of connections is, and the words that say it; it has no
// text where it was not given.
type place struct {
	unixsock.Address
	given tmesh.Word // the option
}

// placeOption takes a path, or where network is "unix" also tcp:HOST:PORT.
func placeOption(env element.Env, network, name, values, doc string, p *place) element.Option {
	var at path
	o := pathOption(env, name, values, doc, &at)
	setPath := o.Set
	o.Set = func(v element.Values) error {
		if hostPort, ok := strings.CutPrefix(v.Text(0), "tcp:"); ok && network == "unix" {
			if why := wrongHostPort(hostPort); why != "" {
				return v.Faultf(0, "%s", why)
			}
			*p = place{unixsock.Address{Network: "tcp", Text: hostPort}, v.Name}
			return nil
		}
		err := setPath(v)
		*p = place{unixsock.Address{Network: network, Text: at.text}, v.Name}
		return err
	}
	return o
}

// wrongHostPort says what is wrong with HOST:PORT.
func wrongHostPort(text string) string {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return strconv.Quote(text) + " is not HOST:PORT, such as 127.0.0.1:4711 or [::1]:4711"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return strconv.Quote(port) + " is not a port from 1 to 65535"
	}
	if host == "" {
		return "the host is missing: say 127.0.0.1 for this one alone, 0.0.0.0 for every address that it has"
	}
	return ""
}

// checkPlaces finds what is wrong with where the connections are: of listen and
// connect there must be one.
func checkPlaces(pos tmesh.Pos, listen, connect place, m mode, missing string) *tmesh.Fault {
	switch listens, connects := listen.Text != "", connect.Text != ""; {
	case listens && connects:
		second := listen.given.Pos
		if connect.given.Pos.Column > second.Column {
			second = connect.given.Pos
		}
		return tmesh.Faultf(second, "listen and connect contradict each other; leave one of them out")
	case !listens && !connects:
		return tmesh.Faultf(pos, "%s", missing)
	case connects && m.given.Line > 0:
		return tmesh.Faultf(m.given, "mode is for listen; the permissions of the emulator's socket are the emulator's to give")
	case listen.Network == "tcp" && m.given.Line > 0:
		return tmesh.Faultf(m.given, "mode is for a socket with a path; whoever reaches a TCP port may use it")
	}
	return nil
}

func groupOption(doc string, group *string) element.Option {
	return element.Option{Name: "group", Values: "NAME", Doc: doc, Set: func(v element.Values) error {
		if *group = v.Text(0); *group == "" {
			return v.Faultf(0, "an empty name is no group")
		}
		return nil
	}}
}

func isOption(w tmesh.Word, options []element.Option) bool {
	return !w.Quoted && slices.ContainsFunc(options, func(o element.Option) bool { return o.Name == w.Text })
}

// path is the path of a socket or folder, and the word that says it; it has no
// text where it was not given.
type path struct {
	text  string
	given tmesh.Word // the option
	word  tmesh.Word
}

// pathOption takes a path. A relative one counts from the description's folder.
func pathOption(env element.Env, name, values, doc string, p *path) element.Option {
	return element.Option{Name: name, Values: values, Doc: doc, Set: func(v element.Values) error {
		if v.Text(0) == "" {
			return v.Faultf(0, "an empty path names no socket")
		}
		*p = path{v.Text(0), v.Name, v.Words[0]}
		if !filepath.IsAbs(p.text) {
			p.text = filepath.Join(env.Dir, p.text)
		}
		p.text = filepath.Clean(p.text)
		if err := unixsock.CheckPath(p.text); err != nil {
			return v.Faultf(0, "%v", err)
		}
		return nil
	}}
}

// parseFolder reads arguments whose first word is a folder of a switch.
func parseFolder(env element.Env, args element.Args, folder *path, options []element.Option, missing string) error {
	if len(args.Words) == 0 || isOption(args.Words[0], options) {
		return tmesh.Faultf(args.Pos, "%s", missing)
	}
	// The folder has no word before it; it is read as if it had.
	name := tmesh.Word{Text: "DIR", Pos: args.Words[0].Pos}
	args.Words = append([]tmesh.Word{name}, args.Words...)
	if err := args.Parse(append(options, pathOption(env, "DIR", "DIR", "", folder))); err != nil {
		return err
	}
	if most := unixsock.MaxPath - len("/ctl"); len(folder.text) > most {
		return tmesh.Faultf(name.Pos, "%q has %d bytes; the folder of a switch has at most %d: choose a shorter one", folder.text, len(folder.text), most)
	}
	return nil
}
