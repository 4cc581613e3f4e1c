package emulator

import (
	"context"
	"fmt"
	"os"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport/unixsock"
)

const stdioDoc = `

Only one element of a process can have them. Everything else that tmelink prints, also what commands do, goes to standard error then. When standard input ends, so does tmelink. The description itself cannot come by standard input.

A length of 0, or an end inside a frame, is an error with which tmelink ends. Frames are sent as they are, also those below 60 bytes.

Not on Windows.`

func init() {
	registerStdio(element.Type{
		Path:    "tme/host/stdio",
		Summary: "a cable through standard input and output: a pipe to vde_plug, to another tmelink, or over ssh",
		Doc: `Each frame goes with its length before it, 16 bits, big-endian, as vde_plug speaks over its own standard input and output: dpipe of vde2 joins the two, and ssh makes the pipe longer.

    s0 at tap0: tme/host/stdio
    dpipe vde_plug /run/vde.ctl = ssh far.example tmelink run far.tme` + stdioDoc,
		Example: "s0 at tap0: tme/host/stdio\ntap0: tme/host/tun/tap interface tap0",
	}, unixsock.Big16)
	registerStdio(element.Type{
		Path:    "tme/host/gvproxy/stdio",
		Summary: "a cable through standard input and output, as gvproxy's stdio speaks",
		Doc: `Each frame goes with its length before it, 16 bits, little-endian: what gvproxy -listen-stdio speaks, and hyperkit.

    s0 at sw0: tme/host/gvproxy/stdio
    dpipe gvproxy -listen-stdio accept = tmelink run office.tme` + stdioDoc,
		Example: "sw0: tme/generic/switch\ns0 at sw0: tme/host/gvproxy/stdio",
	}, unixsock.Little16)
}

func registerStdio(t element.Type, prefix unixsock.Prefix) {
	t.MaxConnections = 1
	t.Options = []element.Option{mtuOption(new(int))}
	t.New = func(env element.Env, args element.Args) (element.Element, error) {
		return newStdio(prefix, env, args)
	}
	element.Register(t)
}

// Stdio is an element of type tme/host/stdio or tme/host/gvproxy/stdio.
type Stdio struct {
	base
	pos     tmesh.Pos // of the type
	prefix  unixsock.Prefix
	in, out *os.File
	restore func() // gives in and out back as they were; nil: not started
	ended   chan struct{}
}

func newStdio(prefix unixsock.Prefix, env element.Env, args element.Args) (element.Element, error) {
	mtu := ethernet.MTU
	if err := args.Parse([]element.Option{mtuOption(&mtu)}); err != nil {
		return nil, err
	}
	s := &Stdio{pos: args.Pos, prefix: prefix, in: os.Stdin, out: os.Stdout, ended: make(chan struct{})}
	s.init(env, min(ethernet.FrameLen(mtu), prefix.MaxFrame()), "other end of standard input and output")
	return s, nil
}

// Claims says that no other element can have standard input and output.
func (s *Stdio) Claims() []element.Claim {
	return []element.Claim{{Pos: s.pos, Proto: element.StandardIO}}
}

// Ended is closed when standard input has ended, or standard output is broken.
func (s *Stdio) Ended() <-chan struct{} { return s.ended }

// Start takes standard input and output.
func (s *Stdio) Start(context.Context) error {
	in, out, restore, err := unblocked(s.in, s.out)
	if err != nil {
		return fmt.Errorf("carry frames over standard input and output: %w", err)
	}
	s.restore = restore
	stream, err := unixsock.Pipes(in, out, unixsock.Config{MaxFrame: s.port.maxFrame, Prefix: s.prefix, Counters: &s.port.counters})
	if err != nil {
		return fmt.Errorf("carry frames over standard input and output: %w", err)
	}
	l := newLine(stream, "")
	l.lasting, l.over = true, s.ended
	return s.port.publish(l)
}

// Close ends the element and gives standard input and output back as they were.
func (s *Stdio) Close() error {
	err := s.end()
	if s.restore != nil {
		s.restore()
		s.restore = nil
	}
	return err
}

// Status says whether the other end is still there.
func (s *Stdio) Status() string {
	l := s.port.line.Load()
	switch {
	case s.ctx.Err() != nil:
		return "closed"
	case l == nil:
		return "not open"
	}
	return fmt.Sprintf("standard input and output, for %v", time.Since(l.from).Round(time.Second))
}

// Sketch shows what the frames go through.
func (s *Stdio) Sketch() element.Sketch {
	return element.Sketch{Kind: element.LinkKind, Detail: []string{"stdin and stdout"}}
}

var (
	_ element.Reporter = (*Stdio)(nil)
	_ element.Claimer  = (*Stdio)(nil)
	_ element.Finite   = (*Stdio)(nil)
)
