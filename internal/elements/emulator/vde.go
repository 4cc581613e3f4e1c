package emulator

import (
	"context"
	"fmt"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/vde/plug",
		Summary: "a place in a virtual switch of this host: a plug of vde_switch",
		Doc: `Whatever else is plugged into the switch hears the element and is heard: QEMU's -netdev vde, User-mode Linux, VirtualBox, slirpvde, vde_plug.

    vde_switch --daemon --sock /run/vde.ctl
    v0 at le0: tme/host/vde/plug /run/vde.ctl

The switch may come later than tmelink, go, and come again: it is looked for every second. Frames are dropped meanwhile. The element's own socket is in the switch's folder, or where it may not write there in the one for temporary files; it may be used by the switch's owner and, with group, by that group.

A vde_switch fills up frames below 60 bytes with what was in its memory; so the element does it before, with zeros. It cuts off what is longer than a payload of 1500 bytes with one VLAN tag, which is therefore dropped and counted here; other switches, for which mtu can be raised, may take more. What the element does not take from it in time, some 90 frames, it may drop.

Only on Linux.`,
		Example:        "v0 at le0: tme/host/vde/plug /run/vde.ctl\nv1 at sw0: tme/host/vde/plug /run/vde.ctl port 5 group vde2-net",
		MaxConnections: 1,
		Options:        append([]element.Option{{Name: "DIR", Doc: "The first word: the folder of the switch, in which it has its socket ctl; a relative one counts from the description's folder."}}, (&plugConfig{}).options()...),
		New:            newPlug,
	})
}

// plugConfig is what the arguments say.
type plugConfig struct {
	folder path
	port   int // 0: any
	group  string
	mtu    int
}

func (c *plugConfig) options() []element.Option {
	return []element.Option{
		{Name: "port", Values: "N", Doc: "The port of the switch to be plugged into, 1 to 65535; the default is a free one.",
			Set: func(v element.Values) (err error) { c.port, err = v.Int(0, 1, 65535); return }},
		groupOption("The group of this host, by name or number, that may use the element's socket, where the switch runs as another user.", &c.group),
		mtuOption(&c.mtu),
	}
}

// Plug is an element of type tme/host/vde/plug.
type Plug struct {
	base
	config      plugConfig
	description string
	retry       time.Duration
	timeout     time.Duration // of the handshake
}

// handshakeTimeout is long enough for a switch on a busy host.
const handshakeTimeout = 5 * time.Second

func newPlug(env element.Env, args element.Args) (element.Element, error) {
	c := plugConfig{mtu: ethernet.MTU}
	if err := parseFolder(env, args, &c.folder, c.options(), "the folder of the switch is missing: say tme/host/vde/plug DIR, where DIR is that of vde_switch -sock"); err != nil {
		return nil, err
	}
	p := &Plug{config: c, description: "tmelink " + env.Machine + "/" + env.Name, retry: retryEvery, timeout: handshakeTimeout}
	// struct packet of vde2's src/vde_switch/switch.h has room for one tag.
	p.init(env, c.mtu+ethernet.HeaderLen+ethernet.VLANLen, "switch")
	return p, nil
}

// Start begins to look for the switch.
func (p *Plug) Start(context.Context) error { return p.begin() }

// Close unplugs the element and removes its socket.
func (p *Plug) Close() error { return p.end() }

// Status says whether the element is plugged in.
func (p *Plug) Status() string {
	l := p.port.line.Load()
	switch {
	case p.ctx.Err() != nil:
		return "closed"
	case l == nil:
		return "switch " + p.config.folder.text + ", not plugged in"
	}
	return fmt.Sprintf("switch %s, %s, plugged in for %v", p.config.folder.text, l.peer, time.Since(l.from).Round(time.Second))
}

// Sketch shows the switch: plugs of the same one share a wire.
func (p *Plug) Sketch() element.Sketch {
	s := element.Sketch{Kind: element.LinkKind, Interface: "vde " + p.config.folder.text, Detail: []string{"vde " + p.config.folder.text}}
	if p.config.port > 0 {
		s.Detail = append(s.Detail, fmt.Sprintf("port %d", p.config.port))
	}
	return s
}

var _ element.Reporter = (*Plug)(nil)
