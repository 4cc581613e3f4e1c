package tap

import (
	"errors"
	"net/netip"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/tmesh"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/tun/tap",
		Summary: "an Ethernet interface of this host, a TAP device, with NAT to the outside",
		Doc: `The element makes a TAP device on this host, or opens an existing persistent one. What the host sends by that interface goes to the other end of the connection, and what comes from there arrives at the host. Other elements, also of other machines, can join the same wire with tme/host/bsd/bpf interface tap0; the TAP device hands the host what they send to it or to a group. Connected to itself, it does only that.

With inet the host has an address on the wire, and its other stations reach the outside through AutoNAT: an nftables table named tmelink- and the interface's name masquerades the wire's network out of the default route's interface, and forwarding is on for the two interfaces. (The kernel then forwards all that comes in by them, from the outside too: a host with networks to shield has a firewall for that, and tmelink adds no rule to it.) With inet6 the same is done for IPv6. Where another firewall table drops what is forwarded, the log gives the command that opens it. Without inet and inet6 the device is a pure layer-2 port.

Connected to a link that learns addresses, MTU and routes from its peer, as the client of an OpenVPN server does, the interface takes them, unless it is a bridge's port; what inet, inet6 and mtu give it stays, an MTU above the interface's own and routes that the host has otherwise are left aside, and name servers are only logged.

Everything is undone at the end: a device made here is removed, one that existed gets its former state back. What a killed process left behind is undone by the next one to start. Making a device takes the capability CAP_NET_ADMIN (root has it); a persistent device that was made for a user and configured beforehand takes none. TAP devices are opened on Linux.`,
		Example: `tap0: tme/host/tun/tap inet 10.0.77.1 netmask 255.255.255.0 bcast 10.0.77.255
link0 at tap0: tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2`,
		MaxConnections:  1,
		MakesInterfaces: true,
		Options:         (&tmeWords{}).options(),
		New: func(env element.Env, args element.Args) (element.Element, error) {
			cfg, err := parseTME(args)
			if err != nil {
				return nil, err
			}
			return newTap(env, cfg), nil
		},
	})
}

// tmeWords collects TME's words until all are read: their order is free.
type tmeWords struct {
	cfg  config
	addr netip.Addr // of inet
	bits int        // of netmask, 0 where it is missing

	netmaskAt, bcastAt, natAt element.Values // for faults that need two words
}

func (w *tmeWords) options() []element.Option {
	c := &w.cfg
	return []element.Option{
		{Name: "inet", Values: "ADDR", Doc: "The host's IPv4 address on the wire.", Set: func(v element.Values) (err error) {
			w.addr, err = hostAddr(v, 0)
			return err
		}},
		{Name: "netmask", Values: "MASK", Doc: "The netmask of inet, such as 255.255.255.0 or 0xffffff00. Default: what the address had before there were netmasks: 255.0.0.0 below 128.0.0.0, 255.255.0.0 below 192.0.0.0, else 255.255.255.0.", Set: func(v element.Values) (err error) {
			w.netmaskAt = v
			if w.bits, err = v.Netmask(0); err == nil && w.bits == 0 {
				err = v.Faultf(0, "a netmask of no ones makes the whole world one wire")
			}
			return err
		}},
		{Name: "bcast", Values: "ADDR", Doc: "The broadcast address of inet. Default: the network's last address.", Set: func(v element.Values) (err error) {
			w.bcastAt = v
			c.broadcast, err = v.Addr4(0)
			return err
		}},
		{Name: "inet6", Values: "ADDR/LEN", Doc: "The host's IPv6 address on the wire, with its prefix length.", Set: func(v element.Values) (err error) {
			c.inet6, err = hostAddr6(v, 0)
			return err
		}},
		{Name: "interface", Values: "NAME", Doc: "The interface's name. An existing persistent TAP device is used as it is and stays; one that does not exist is made and removed at the end. Default: the first free one of tap0, tap1, …", Set: func(v element.Values) (err error) {
			c.device, err = v.InterfaceName(0)
			return err
		}},
		mtuOption("mtu", c),
		{Name: "hwaddr", Values: "ADDR", Doc: "The interface's hardware address. Default: a random one.", Set: hardwareAddrInto(c)},
		{Name: "bridge", Values: "NAME", Doc: "An existing bridge of the host's, of which the interface becomes a port.", Set: func(v element.Values) (err error) {
			c.bridge, err = v.InterfaceName(0)
			return err
		}},
		{Name: "netns", Values: "NAME", Doc: "The network namespace that the interface is made and configured in, by the name that ip netns gives it. Bridge, NAT and script are then those of that namespace.", Set: func(v element.Values) (err error) {
			c.netns, err = namespaceName(v, 0)
			return err
		}},
		offloadOption(c),
		queuesOption(c),
		{Name: "up", Values: "SCRIPT", Doc: "A program that is run, with the interface's name as its argument, once the interface is up. If it fails, or does not end within a minute, the element does not start.", Set: func(v element.Values) error {
			c.up = []string{v.Text(0)}
			if c.up[0] == "" {
				return v.Faultf(0, "the script has no name")
			}
			return nil
		}},
		{Name: "nat", Values: "IFACE|none", Doc: "The interface by which AutoNAT lets the wire's stations out, or none for no NAT. Default: the default route's interface.", Set: func(v element.Values) (err error) {
			w.natAt = v
			if v.Text(0) == "none" {
				c.nat = natNever
				return nil
			}
			c.nat = natBy
			c.uplink, err = v.InterfaceName(0)
			return err
		}},
	}
}

// parseTME reads TME's words.
func parseTME(args element.Args) (config, error) {
	w := &tmeWords{}
	if err := args.Parse(w.options()); err != nil {
		return config{}, err
	}
	c := &w.cfg
	if w.addr.IsValid() {
		if w.bits == 0 {
			w.bits = classBits(w.addr)
		}
		c.inet = netip.PrefixFrom(w.addr, w.bits)
		return *c, errors.Join(w.checkBroadcast(), w.checkNAT(), c.check(args.Pos))
	}
	return *c, errors.Join(
		needs(w.netmaskAt, "inet"), needs(w.bcastAt, "inet"), w.checkNAT(), c.check(args.Pos))
}

func (w *tmeWords) checkBroadcast() error {
	b := w.cfg.broadcast
	if b.IsValid() && !w.cfg.inet.Contains(b) && b != netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return w.bcastAt.Faultf(0, "%s is not in the network %s", b, w.cfg.inet.Masked())
	}
	return nil
}

func (w *tmeWords) checkNAT() error {
	c := &w.cfg
	switch {
	case c.nat != natBy:
		return nil
	case !c.hasAddress():
		return needs(w.natAt, "inet or inet6")
	case c.uplink == c.device:
		return w.natAt.Faultf(0, "%s is the tap device itself, and no way out", c.uplink)
	}
	return nil
}

// namespaceName is a name that `ip netns` can have given: that of a file.
func namespaceName(v element.Values, i int) (string, error) {
	s := v.Text(i)
	if s == "" || len(s) > 255 || s == "." || s == ".." || strings.ContainsAny(s, "/\x00") {
		return "", v.Faultf(i, "%q cannot be a network namespace's name (`ip netns` lists them)", s)
	}
	return s, nil
}

// needs is the fault of an option that was given without another one.
func needs(v element.Values, other string) error {
	if v.Name == (tmesh.Word{}) {
		return nil
	}
	return tmesh.Faultf(v.Name.Pos, "%s has no meaning without %s", v.Name.Text, other)
}

// mtuOption is the MTU under either type's name for it.
func mtuOption(name string, c *config) element.Option {
	return element.Option{Name: name, Values: "BYTES", Doc: "The interface's MTU, 68 to 65521. Default: 1500, or what an existing device has.", Set: func(v element.Values) (err error) {
		c.mtu, err = v.Int(0, minMTU, maxMTU)
		return err
	}}
}

func offloadOption(c *config) element.Option {
	return element.Option{Name: "offload", Values: "on|off", Doc: "Whether the kernel hands over TCP and UDP in super-frames of up to 64 KiB, and takes them, with unfinished checksums, as far as it can. Default: on.", Set: func(v element.Values) error {
		on, err := v.OnOff(0)
		c.noOffload = !on
		return err
	}}
}

func queuesOption(c *config) element.Option {
	return element.Option{Name: "queues", Values: "N", Doc: "By how many queues, each read by a processor of its own, the kernel hands over frames, 1 to 256; it keeps a flow in one queue. A persistent device must have been made with multi_queue for more than one. Default: 1.", Set: func(v element.Values) (err error) {
		c.queues, err = v.Int(0, 1, maxQueues)
		return err
	}}
}

func hardwareAddrInto(c *config) func(element.Values) error {
	return func(v element.Values) (err error) {
		c.hwaddr, err = v.HardwareAddr(0)
		return err
	}
}
