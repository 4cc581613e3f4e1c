package emulator

import (
	"io/fs"
	"path/filepath"
	"strconv"

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
