package bpf

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/netns",
		Summary: "an Ethernet interface in a network namespace of this host",
		Doc: `The element makes an interface in a network namespace that ip netns add has made, and is what its cable leads to: what is sent by the interface goes to the other end of the connection, and what comes from there arrives at the interface. Programs of the namespace, containers too, are thus on the wire as if they ran on a host of their own.

    ip netns add lab
    ns0 at sw0: tme/host/netns lab inet 10.0.77.5/24
    ip netns exec lab ping 10.0.77.1

The interface is one end of a veth pair; the other is the element's alone, in a namespace without a name, so that this host hears nothing of it. Both are removed at the end, also when tmelink is killed. Where the namespace ends, so does the connection.

Needs root or CAP_NET_ADMIN and CAP_SYS_ADMIN. Only on Linux.`,
		Example:        "sw0: tme/generic/switch\nns0 at sw0: tme/host/netns lab interface eth0 inet 10.0.77.5/24 inet fd00::5/64 hwaddr 02:00:00:00:00:05",
		MaxConnections: 1,
		Options:        append([]element.Option{{Name: "NAME", Doc: "The first word: the network namespace, by the name that ip netns gives it."}}, (&netnsConfig{}).options()...),
		New:            newNetns,
	})
}

// netnsConfig is what the arguments say.
type netnsConfig struct {
	name   string
	iface  string
	inet   []netip.Prefix
	hwaddr ethernet.Addr
	mtu    int
}

// MTUs of a veth pair (drivers/net/veth.c).
const (
	minVethMTU = 68
	maxVethMTU = 65535
)

func (c *netnsConfig) options() []element.Option {
	return []element.Option{
		{Name: "interface", Values: "NAME", Doc: "The interface's name; the default is the first that is free of eth0, eth1, …",
			Set: func(v element.Values) (err error) { c.iface, err = v.InterfaceName(0); return }},
		{Name: "inet", Values: "ADDR/LEN", Repeat: true, Doc: "An IP address of the interface with the length of its network's prefix, of IPv4 or IPv6. It may be given more than once.",
			Set: func(v element.Values) error {
				p, err := netip.ParsePrefix(v.Text(0))
				if err != nil || p.Addr().IsUnspecified() || p.Addr().IsMulticast() || p.Addr().Is4In6() {
					return v.Faultf(0, "%q is not the address of a host with its prefix length, such as 10.0.77.5/24 or fd00::5/64", v.Text(0))
				}
				c.inet = append(c.inet, p)
				return nil
			}},
		{Name: "hwaddr", Values: "ADDR", Doc: "The interface's hardware address; the default is a random one.",
			Set: func(v element.Values) (err error) { c.hwaddr, err = v.HardwareAddr(0); return }},
		{Name: "mtu", Values: "BYTES", Doc: "The interface's MTU, 68 to 65535; the default is 1500.",
			Set: func(v element.Values) (err error) { c.mtu, err = v.Int(0, minVethMTU, maxVethMTU); return }},
	}
}

// Netns is an element of type tme/host/netns.
type Netns struct {
	config netnsConfig
	port   *port
	log    *slog.Logger
	pair   pair
}

func newNetns(env element.Env, args element.Args) (element.Element, error) {
	c := netnsConfig{mtu: ethernet.MTU}
	options := c.options()
	if len(args.Words) == 0 {
		return nil, tmesh.Faultf(args.Pos, "the network namespace is missing: say tme/host/netns NAME, with a name that ip netns add has made")
	}
	first := args.Words[0]
	if c.name = first.Text; c.name == "" || len(c.name) > 255 || c.name == "." || c.name == ".." || strings.ContainsAny(c.name, "/\x00") {
		return nil, tmesh.Faultf(first.Pos, "%q cannot be a network namespace's name (`ip netns` lists them)", c.name)
	}
	args.Words = args.Words[1:]
	if err := args.Parse(options); err != nil {
		return nil, err
	}
	for _, p := range c.inet {
		if p.Addr().Is6() && c.mtu < 1280 { // RFC 8200, 5
			return nil, tmesh.Faultf(args.Pos, "an mtu of %d is too small for IPv6, which needs 1280", c.mtu)
		}
	}
	return &Netns{config: c, port: newPort(config{promisc: true}, env.Log), log: env.Log}, nil
}

// Attach gives the port. Its side of a connection has no arguments.
func (n *Netns) Attach(args element.Args) (ethernet.Port, error) { return n.port, args.Parse(nil) }

// Start makes the interface.
func (n *Netns) Start(ctx context.Context) error { return n.start(ctx) }

// Close removes the interface.
func (n *Netns) Close() error { return n.stop() }

// Status says which interface it is.
func (n *Netns) Status() string {
	status := n.port.status()
	if strings.HasPrefix(status, "interface ") {
		status += " in network namespace " + n.config.name
	}
	return status
}

// Sketch shows the interface, on which no other element of a drawing is.
func (n *Netns) Sketch() element.Sketch {
	s := element.Sketch{Kind: element.TAPKind, Interface: n.config.iface, Apart: true, Detail: []string{"netns " + n.config.name}}
	if n.config.iface != "" {
		s.Detail = append(s.Detail, "interface "+n.config.iface)
	}
	for _, p := range n.config.inet {
		s.Detail = append(s.Detail, "inet "+p.String())
	}
	return s
}

var _ element.Reporter = (*Netns)(nil)
