package nic

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"tmelink/internal/element"
	_ "tmelink/internal/elements/emulator" // the types by which emulators are attached
	_ "tmelink/internal/elements/link"
	"tmelink/internal/tmesh"
)

// manner is one of the ways to attach an emulator: an element type, and its words
// for what is behind the colon.
type manner struct {
	name   string // "qemu:unix"
	values string // "PATH", as one sees it behind a colon; "" for nothing
	doc    string
	path   string // of the type
	mtu    string // the type's word for it
	// add adds the type's words.
	add func(w *wording, values string) error
}

const (
	stream = "tme/host/qemu/stream"
	plain  = "tme/host/openvpn/socket/link"
)

var manners = []manner{
	{"qemu:unix", "PATH", "listens for QEMU's -netdev stream, as tme/host/qemu/stream listen", stream, "mtu", after("listen", "")},
	{"qemu:unix-connect", "PATH", "connects to it, as tme/host/qemu/stream connect", stream, "mtu", after("connect", "")},
	{"qemu:tcp", "HOST:PORT", "listens for it over TCP", stream, "mtu", after("listen", "tcp:")},
	{"qemu:tcp-connect", "HOST:PORT", "connects to it over TCP", stream, "mtu", after("connect", "tcp:")},
	{"qemu:dgram", "LOCAL,REMOTE", "two paths, for QEMU's -netdev dgram, as tme/host/qemu/dgram", "tme/host/qemu/dgram", "mtu", addPaths},
	{"udp", "LOCAL,REMOTE", "a HOST:PORT each, for all who send a raw frame in each datagram (QEMU's -netdev dgram, SIMH, VirtualBox's UDPTunnel, Dynamips), as a tme/host/openvpn/socket/link without keys", plain, "--tun-mtu", addEnds},
	{"vde", "DIR", "a place in a vde_switch, as tme/host/vde/plug", "tme/host/vde/plug", "mtu", after("", "")},
	{"vfkit", "PATH", "listens for vfkit, as tme/host/gvproxy/vfkit listen", "tme/host/gvproxy/vfkit", "mtu", after("listen", "")},
	{"bess", "PATH", "listens for User-mode Linux, as tme/host/gvproxy/bess listen", "tme/host/gvproxy/bess", "mtu", after("listen", "")},
	{"stdio", "", "standard input and output, as tme/host/stdio", "tme/host/stdio", "mtu", func(*wording, string) error { return nil }},
}

func (m *manner) form() string {
	if m.values == "" {
		return m.name
	}
	return m.name + ":" + m.values
}

// attachDoc explains the option.
func attachDoc() string {
	var forms []string
	for _, m := range manners {
		forms = append(forms, fmt.Sprintf("%s (%s)", m.form(), m.doc))
	}
	return "The interface is an emulator's, and has no built-in host. How the emulator is attached: " + strings.Join(forms, "; ") + "."
}

// wording is the words of an element type that stand for one of the description.
type wording struct {
	pos   tmesh.Pos
	words []tmesh.Word
}

func (w *wording) add(option string, values ...string) {
	if option != "" {
		w.words = append(w.words, tmesh.Word{Text: option, Pos: w.pos})
	}
	for _, v := range values {
		w.words = append(w.words, tmesh.Word{Text: v, Quoted: true, Pos: w.pos})
	}
}

// after adds one value behind an option.
func after(option, prefix string) func(*wording, string) error {
	return func(w *wording, value string) error {
		w.add(option, prefix+value)
		return nil
	}
}

func addPaths(w *wording, values string) error {
	local, remote, err := inTwo(values)
	if err == nil {
		w.add("local", local)
		w.add("remote", remote)
	}
	return err
}

func addEnds(w *wording, values string) error {
	local, remote, err := inTwo(values)
	if err != nil {
		return err
	}
	var ends [2][2]string
	for i, end := range []string{local, remote} {
		host, port, err := net.SplitHostPort(end)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			return fmt.Errorf("%q is not HOST:PORT, such as 127.0.0.1:4712 or [::1]:4712", end)
		}
		ends[i] = [2]string{host, port}
	}
	w.add("--dev", "tap")
	w.add("--local", ends[0][0])
	w.add("--lport", ends[0][1])
	w.add("--remote", ends[1][0], ends[1][1])
	return nil
}

func inTwo(values string) (local, remote string, err error) {
	local, remote, ok := strings.Cut(values, ",")
	if !ok || local == "" || remote == "" {
		err = fmt.Errorf("%q is not LOCAL,REMOTE", values)
	}
	return local, remote, err
}

// attached is an interface that is an emulator's: the element by which that is
// attached, under the interface's name.
type attached struct {
	element.Element
	name string
	spec tmesh.Word
}

// attach builds the element that a word asks for.
func attach(env element.Env, at element.Values, mtu int, noEffect *[]tmesh.Word) (element.Element, error) {
	spec := at.Words[0]
	var names []string
	for _, m := range manners {
		values, ok := strings.CutPrefix(spec.Text, m.name)
		if ok && m.values != "" {
			values, ok = strings.CutPrefix(values, ":")
		} else {
			ok = ok && values == ""
		}
		if !ok {
			names = append(names, m.form())
			continue
		}
		if m.values != "" && values == "" {
			return nil, at.Faultf(0, "say %s", m.form())
		}
		w := wording{pos: spec.Pos}
		if err := m.add(&w, values); err != nil {
			return nil, at.Faultf(0, "%s: %v", m.form(), err)
		}
		if mtu > 0 {
			w.add(m.mtu, strconv.Itoa(mtu))
		}
		t, _ := element.Lookup(m.path)
		e, err := t.New(env, element.Args{Pos: spec.Pos, Words: w.words, NoEffect: noEffect})
		if err != nil {
			return nil, err
		}
		return attached{e, env.Name, spec}, nil
	}
	return nil, at.Faultf(0, "%q is no way to attach an emulator%s: there are %s", spec.Text, element.DidYouMean(spec.Text, names), strings.Join(names, ", "))
}

// Prepare tells that nobody carries out commands.
func (a attached) Prepare(args element.Args) (element.Command, error) {
	return nil, tmesh.Faultf(args.Pos, "%s is an emulator's and has no built-in host to carry out a command: give the command in the emulator, or leave out attach and give inet ADDR", a.name)
}

// Claims, Ended, Status and Sketch are those of the element inside, where it has any.

func (a attached) Claims() []element.Claim {
	if c, ok := a.Element.(element.Claimer); ok {
		return c.Claims()
	}
	return nil
}

// Ended is nil, and so never closed, where the element does not end by itself.
func (a attached) Ended() <-chan struct{} {
	if f, ok := a.Element.(element.Finite); ok {
		return f.Ended()
	}
	return nil
}

func (a attached) Status() string { return a.Element.(element.Reporter).Status() }

func (a attached) Sketch() element.Sketch {
	s := a.Element.(element.Sketcher).Sketch()
	s.Kind, s.Detail = element.HostKind, append([]string{"an emulator's"}, s.Detail...)
	return s
}
