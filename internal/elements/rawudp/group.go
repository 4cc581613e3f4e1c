package rawudp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/udp/group",
		Summary: "a multicast group in which each datagram is a frame: QEMU's -netdev socket,mcast=",
		Doc: `All who are in the group are on one wire, on this host and on others of the same network: QEMU's -netdev socket,mcast=, 86Box and other tmelinks. There are no keys: who can send to the group is on the wire.

    mc0 at le0: tme/host/udp/group 230.0.0.1:1234
    qemu-system-x86_64 … -netdev socket,id=n0,mcast=230.0.0.1:1234 -device e1000,netdev=n0

The element sends from a port of its own, by which it knows its own frames when the group gives them back, and drops them. Frames below 60 bytes are filled up when they are sent. A full frame is longer than one packet of a network with an MTU of 1500, and goes in two.

Groups of IPv6 whose scope is the link (ff02::/16, ff12::/16) need interface.`,
		Example:        "mc0 at le0: tme/host/udp/group 230.0.0.1:1234\nmc1 at sw0: tme/host/udp/group 239.1.2.3:4000 interface eth0 ttl 4",
		MaxConnections: 1,
		Options:        append([]element.Option{{Name: "GROUP:PORT", Doc: "The first word: the group's address, of IPv4 or in brackets of IPv6, and its port."}}, (&groupConfig{}).options()...),
		New:            newGroup,
	})
}

// groupConfig is what the arguments say.
type groupConfig struct {
	group netip.AddrPort
	iface string
	ttl   int
	loop  bool
	mtu   int
}

func (c *groupConfig) options() []element.Option {
	return []element.Option{
		{Name: "interface", Values: "NAME", Doc: "The interface by which the group is joined and sent to; the default is the one that the host's routes say, as QEMU has it without localaddr.",
			Set: func(v element.Values) (err error) { c.iface, err = v.InterfaceName(0); return }},
		{Name: "ttl", Values: "N", Doc: "Over how many routers the frames may go, 0 to 255; the default is 1, the own network, and 0 is this host alone.",
			Set: func(v element.Values) (err error) { c.ttl, err = v.Int(0, 0, 255); return }},
		onOff("loop", "Whether others on this host hear the element; the default is on.", &c.loop),
		mtuOption(&c.mtu),
	}
}

// Group is an element of type tme/host/udp/group. It is its own port.
type Group struct {
	config   groupConfig
	log      *slog.Logger
	counters ethernet.Counters

	mu     sync.Mutex // held while what follows changes
	conn   *net.UDPConn
	own    *net.UDPConn // by which is sent
	closed bool

	in     *receiver
	out    *sender
	frames [1]ethernet.Frame // the reader's
	addrs  []netip.Addr      // of this host; the reader's
	asked  time.Time         // when they were looked up
	port   uint16            // from which is sent
}

func newGroup(env element.Env, args element.Args) (element.Element, error) {
	c := groupConfig{ttl: 1, loop: true, mtu: ethernet.MTU}
	options := c.options()
	if len(args.Words) == 0 || isOption(args.Words[0], options) {
		return nil, tmesh.Faultf(args.Pos, "the group is missing: say tme/host/udp/group GROUP:PORT, such as 230.0.0.1:1234")
	}
	// The group has no word before it; it is read as if it had.
	first := args.Words[0]
	args.Words = append([]tmesh.Word{{Text: "group", Pos: first.Pos}}, args.Words...)
	fault := args.Parse(append(options, element.Option{Name: "group", Values: "GROUP:PORT",
		Set: func(v element.Values) (err error) { c.group, err = parseGroup(v, 0); return }}))
	if a := c.group.Addr(); fault == nil && a.Is6() && a.IsLinkLocalMulticast() && c.iface == "" {
		fault = tmesh.Faultf(first.Pos, "%s is a group of each link of its own: name one with interface NAME", a)
	}
	if fault != nil {
		return nil, fault
	}
	return &Group{config: c, log: env.Log}, nil
}

func isOption(w tmesh.Word, options []element.Option) bool {
	return !w.Quoted && slices.ContainsFunc(options, func(o element.Option) bool { return o.Name == w.Text })
}

// Attach gives the port. Its side of a connection has no arguments.
func (g *Group) Attach(args element.Args) (ethernet.Port, error) { return g, args.Parse(nil) }

// Start joins the group.
func (g *Group) Start(ctx context.Context) error {
	if err := g.open(ctx); err != nil {
		return fmt.Errorf("join group %s: %w", g.where(), err)
	}
	g.log.Info("in group "+g.where(), "port", g.port)
	return nil
}

func (g *Group) open(ctx context.Context) (err error) {
	var ifi *net.Interface
	if g.config.iface != "" {
		if ifi, err = net.InterfaceByName(g.config.iface); err != nil {
			return errors.New("this host has no interface of that name")
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn, err = listenGroup(g.config.group, ifi); err != nil {
		return err
	}
	network, group := "udp4", &net.UDPAddr{IP: g.config.group.Addr().AsSlice()}
	if g.config.group.Addr().Is6() {
		network = "udp6"
	}
	var lc net.ListenConfig
	own, err := lc.ListenPacket(ctx, network, ":0")
	if err != nil {
		return err
	}
	g.own = own.(*net.UDPConn)
	g.port = uint16(g.own.LocalAddr().(*net.UDPAddr).Port)
	if network == "udp4" {
		err = join4(ipv4.NewPacketConn(g.conn), ipv4.NewPacketConn(g.own), ifi, group, &g.config)
	} else {
		err = join6(ipv6.NewPacketConn(g.conn), ipv6.NewPacketConn(g.own), ifi, group, &g.config)
	}
	if errors.Is(err, syscall.ENODEV) && ifi == nil {
		return errors.New("no route of this host leads to it; name one of its interfaces with interface NAME")
	}
	if err != nil {
		return err
	}
	g.in = newReceiver(g.conn, g.MaxFrame(), &g.counters.Read, g.log)
	g.out = newSender(g.own, &g.counters.Write, g.log)
	return nil
}

// join4 joins a group with one socket and sets up the other to send to it.
func join4(in, out *ipv4.PacketConn, ifi *net.Interface, group net.Addr, c *groupConfig) error {
	if err := in.JoinGroup(ifi, group); err != nil {
		return err
	}
	if ifi != nil {
		if err := out.SetMulticastInterface(ifi); err != nil {
			return err
		}
	}
	if err := loopback(in.SetMulticastLoopback, out.SetMulticastLoopback, c.loop); err != nil {
		return err
	}
	return out.SetMulticastTTL(c.ttl)
}

// join6 is the same for IPv6.
func join6(in, out *ipv6.PacketConn, ifi *net.Interface, group net.Addr, c *groupConfig) error {
	if err := in.JoinGroup(ifi, group); err != nil {
		return err
	}
	if ifi != nil {
		if err := out.SetMulticastInterface(ifi); err != nil {
			return err
		}
	}
	if err := loopback(in.SetMulticastLoopback, out.SetMulticastLoopback, c.loop); err != nil {
		return err
	}
	return out.SetMulticastHopLimit(c.ttl)
}

// loopback says whether this host's own sockets hear the sender. On Windows it is
// the receiver that decides, and must hear the others.
func loopback(in, out func(bool) error, on bool) error {
	if err := in(true); err != nil {
		return err
	}
	return out(on)
}

// ReadFrames waits for a frame of another.
func (g *Group) ReadFrames() ([]ethernet.Frame, error) {
	if g.in == nil {
		return nil, net.ErrClosed
	}
	for {
		data, from, err := g.in.receive()
		if err != nil {
			return nil, err
		}
		if from.Port() == g.port && g.isOurs(from.Addr()) {
			g.counters.Read.Add(ethernet.Reflected, 1)
			continue
		}
		g.frames[0] = ethernet.Frame{Data: data}
		return g.frames[:], nil
	}
}

// isOurs says whether an address is one of this host's, which come and go.
func (g *Group) isOurs(a netip.Addr) bool {
	a = a.WithZone("")
	if slices.Contains(g.addrs, a) {
		return true
	}
	now := time.Now()
	if now.Sub(g.asked) < time.Second {
		return false
	}
	g.asked = now
	all, err := net.InterfaceAddrs()
	if err != nil {
		g.log.Warn("the host's addresses cannot be listed", "err", err)
		return false
	}
	g.addrs = g.addrs[:0]
	for _, each := range all {
		if p, err := netip.ParsePrefix(each.String()); err == nil {
			g.addrs = append(g.addrs, p.Addr().Unmap())
		}
	}
	return slices.Contains(g.addrs, a)
}

// WriteFrames sends each frame to the group.
func (g *Group) WriteFrames(frames []ethernet.Frame) error {
	if g.out == nil {
		return net.ErrClosed
	}
	for i := range frames {
		if err := g.out.send(frames[i].Data, g.config.group); err != nil {
			return err
		}
	}
	return nil
}

// Offloads: a frame in a datagram is finished.
func (g *Group) Offloads() ethernet.Offloads { return 0 }

func (g *Group) MaxFrame() int                { return ethernet.FrameLen(g.config.mtu) }
func (g *Group) Counters() *ethernet.Counters { return &g.counters }

// Close leaves the group.
func (g *Group) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	var errs []error
	for _, c := range []*net.UDPConn{g.conn, g.own} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

func (g *Group) where() string {
	return strings.TrimSuffix(g.config.group.String()+" on "+g.config.iface, " on ")
}

// Status says in which group the element is.
func (g *Group) Status() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return "closed"
	case g.out == nil:
		return "not open"
	}
	return "in group " + g.where()
}

// Sketch shows the group: elements of the same one share a wire.
func (g *Group) Sketch() element.Sketch {
	return element.Sketch{Kind: element.LinkKind, Interface: "udp " + g.config.group.String(), Detail: []string{"group " + g.where()}}
}

var _ element.Reporter = (*Group)(nil)
