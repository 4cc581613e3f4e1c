// Package vale is the element type tme/host/netmap/vale: a port of a switch that
// is known by a name, which all machines of this host share.
//
// Within a process the name stands for one switch of package generic, made for the
// first element that names it and closed with the last. Between processes of one
// user frames go over Unix streams: one process has the name's lock and listens,
// the others connect to it, each with its switch as a whole, so that there is
// never more than one way between two of them. Where the one that listens ends,
// one of the others takes its place. Nothing else of the host is changed.
//
// vale.go is the element, registry.go the process's switches, uplink_unix.go the way
// to other processes, and runtime_unix.go the folder where they meet.
package vale

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/netmap/vale",
		Summary: "a port of a switch that all machines of this host share by its name",
		Doc: `Elements that name the same switch are on one wire, also those of other machines and of other tmelinks of the same user. The switch is there as long as one of them is; it learns as tme/generic/switch does. It is named as netmap's VALE switches are, and is one of tmelink's own: programs that open a netmap port do not reach it.

    le0 at vale0: tme/host/netmap/vale switch lab
    le1 at vale1: tme/host/netmap/vale switch lab port sun2

Within a process frames pass as they are. Between processes they go over a Unix socket in the user's runtime folder (XDG_RUNTIME_DIR, for root /run/tmelink, else a folder of the user's own among the temporary files), through the process that was there first; when that ends, another takes its place within a second, and frames on their way are lost. Up to 64 other processes are let in. Where the folder cannot be made, the log says so and the machines of this process alone share the switch; so it is on Windows.`,
		Example:        "vale0 at le0: tme/host/netmap/vale switch lab",
		MaxConnections: 1,
		Options:        (&config{}).options(),
		New:            newVale,
	})
}

// config is what the arguments say.
type config struct {
	name string
	port string // "": none
}

// maxName is how long a switch's name may be, so that its socket's path fits.
const maxName = 32

func (c *config) options() []element.Option {
	name := func(v element.Values, what string) (string, error) {
		s := v.Text(0)
		ok := s != "" && len(s) <= maxName && strings.IndexFunc(s, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
		}) < 0
		if !ok {
			return "", v.Faultf(0, "%q cannot be the name of a %s (1 to %d letters, digits, . _ or -)", s, what, maxName)
		}
		return s, nil
	}
	return []element.Option{
		{Name: "switch", Values: "NAME", Doc: "The switch's name, up to 32 letters, digits, dots, underlines and hyphens; the default is vale0.",
			Set: func(v element.Values) (err error) { c.name, err = name(v, "switch"); return }},
		{Name: "port", Values: "NAME", Doc: "A name for the element's port, which no other element of the process may have at that switch; the default is none.",
			Set: func(v element.Values) (err error) { c.port, err = name(v, "port"); return }},
	}
}

// Vale is an element of type tme/host/netmap/vale.
type Vale struct {
	config config
	log    *slog.Logger
	port   port
	shared atomic.Pointer[shared] // nil: not started, or closed
}

func newVale(env element.Env, args element.Args) (element.Element, error) {
	c := config{name: "vale0"}
	if err := args.Parse(c.options()); err != nil {
		return nil, err
	}
	return &Vale{config: c, log: env.Log}, nil
}

// Attach gives the port. Its side of a connection has no arguments.
func (v *Vale) Attach(args element.Args) (ethernet.Port, error) { return &v.port, args.Parse(nil) }

// Start plugs into the switch.
func (v *Vale) Start(context.Context) error { return v.start(&switches) }

func (v *Vale) start(r *registry) error {
	s, err := r.join(v.config.name, v.config.port, v.log)
	if err != nil {
		return fmt.Errorf("join switch %s: %w", v.config.name, err)
	}
	v.shared.Store(s)
	p, err := s.sw.Attach(element.Args{})
	if err != nil {
		return err
	}
	v.port.open(p)
	return nil
}

// Close unplugs.
func (v *Vale) Close() error {
	err := v.port.Close()
	if s := v.shared.Swap(nil); s != nil {
		s.leave(v.config.port)
	}
	return err
}

// Status says which switch it is, and what is there.
func (v *Vale) Status() string {
	s := v.shared.Load()
	switch {
	case v.port.closed.Load():
		return "closed"
	case s == nil:
		return "not open"
	}
	name := v.config.name
	if v.config.port != "" {
		name += " port " + v.config.port
	}
	return fmt.Sprintf("switch %s, %s, %s", name, s.sw.Status(), s.uplink.status())
}

// Sketch shows the switch: elements of the same one share a wire.
func (v *Vale) Sketch() element.Sketch {
	return element.Sketch{Kind: element.SwitchKind, Interface: "vale " + v.config.name, Detail: []string{"switch " + v.config.name}}
}

var _ element.Reporter = (*Vale)(nil)

// port is the element's port, which has one of the switch behind it once the
// element has started.
type port struct {
	inner  atomic.Pointer[ethernet.Port]
	closed atomic.Bool
	none   ethernet.Counters // before that
}

// open gives the port what is behind it.
func (p *port) open(inner ethernet.Port) {
	p.inner.Store(&inner)
	if p.closed.Load() {
		inner.Close()
	}
}

func (p *port) ReadFrames() ([]ethernet.Frame, error) {
	inner := p.inner.Load()
	if inner == nil {
		return nil, net.ErrClosed
	}
	return (*inner).ReadFrames()
}

func (p *port) WriteFrames(frames []ethernet.Frame) error {
	inner := p.inner.Load()
	if inner == nil {
		return net.ErrClosed
	}
	return (*inner).WriteFrames(frames)
}

// Offloads: super-frames pass a switch whole.
func (p *port) Offloads() ethernet.Offloads { return ethernet.Checksum | ethernet.Segmentation }

func (p *port) MaxFrame() int { return ethernet.MaxFrameLen }

func (p *port) Counters() *ethernet.Counters {
	if inner := p.inner.Load(); inner != nil {
		return (*inner).Counters()
	}
	return &p.none
}

func (p *port) Close() error {
	p.closed.Store(true)
	if inner := p.inner.Load(); inner != nil {
		return (*inner).Close()
	}
	return nil
}

var _ ethernet.Port = (*port)(nil)
