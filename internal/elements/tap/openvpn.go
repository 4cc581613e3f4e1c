package tap

import (
	"net/netip"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/tmesh"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/openvpn/tun/tap",
		Aliases: []string{"tme/host/openvpn/tap"},
		Summary: "a TAP device of this host, by OpenVPN's option words",
		Doc: `The same device as tme/host/tun/tap, described as OpenVPN's manual describes it; what a link's peer pushes is set on it in the same way, but for what --ifconfig, --ifconfig-ipv6 and --tun-mtu give it. There is no AutoNAT here, as OpenVPN has none: an --up script can do it, or tme/host/tun/tap.

The programs of --up and --down get OpenVPN's arguments (device, MTU, 0, address, netmask, init) and its variables (dev, dev_type, tun_mtu, script_type, script_context, ifconfig_local, ifconfig_netmask, ifconfig_ipv6_local, ifconfig_ipv6_netbits, ifconfig_ipv6_remote, and for --down signal), and have a minute to end.`,
		Example: `tap0: tme/host/openvpn/tun/tap --dev tap0 --ifconfig 10.0.77.1 255.255.255.0
link0 at tap0: tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2`,
		MaxConnections:  1,
		MakesInterfaces: true,
		Options:         (&openvpnWords{}).options(),
		New: func(env element.Env, args element.Args) (element.Element, error) {
			cfg, err := parseOpenVPN(args)
			if err != nil {
				return nil, err
			}
			return newTap(env, cfg), nil
		},
	})
}

// openvpnWords collects OpenVPN's options until all are read.
type openvpnWords struct {
	cfg      config
	dev      element.Values
	typed    bool // --dev-type tap was given
	security int
	scripts  []element.Values // --up and --down, as far as given
}

// noRoute is why the options that route are refused.
const noRoute = "tmelink sets no routes but those that a link's peer pushes; add others with an --up script"

func (w *openvpnWords) options() []element.Option {
	c := &w.cfg
	return []element.Option{
		{Name: "--dev", Values: "DEVICE", Doc: "tap for the first free one of tap0, tap1, …, or a device's name such as tap0; a name that does not begin with tap needs --dev-type tap. A persistent device is used as it is and stays; one that does not exist is made and removed at the end.", Set: func(v element.Values) (err error) {
			w.dev = v
			if c.device, err = v.InterfaceName(0); c.device == "tap" {
				c.device = ""
			}
			return err
		}},
		{Name: "--dev-type", Values: "TYPE", Doc: "tap.", Set: func(v element.Values) error {
			w.typed = true
			if v.Text(0) != "tap" {
				return v.Faultf(0, "%q is refused: this element carries Ethernet, which only tap does", v.Text(0))
			}
			return nil
		}},
		{Name: "--dev-node", Values: "NODE", Doc: "The tun driver's device. Default: /dev/net/tun.", Set: func(v element.Values) error {
			c.node = v.Text(0)
			if !strings.HasPrefix(c.node, "/") {
				return v.Faultf(0, "%q is not the path of a device such as /dev/net/tun", c.node)
			}
			return nil
		}},
		{Name: "--ifconfig", Values: "ADDR NETMASK", Doc: "The host's IPv4 address on the wire and its netmask.", Set: func(v element.Values) error {
			addr, err := hostAddr(v, 0)
			if err != nil {
				return err
			}
			bits, err := v.Netmask(1)
			if err != nil {
				return err
			}
			if bits == 0 {
				return v.Faultf(1, "a netmask of no ones makes the whole world one wire")
			}
			c.inet = netip.PrefixFrom(addr, bits)
			return nil
		}},
		{Name: "--ifconfig-ipv6", Values: "ADDR/LEN [REMOTE]", Doc: "The host's IPv6 address on the wire, with its prefix length. REMOTE is for the scripts.", Set: func(v element.Values) (err error) {
			if c.inet6, err = hostAddr6(v, 0); err != nil || !v.Has(1) {
				return err
			}
			if c.remote6, err = netip.ParseAddr(v.Text(1)); err != nil || !c.remote6.Is6() {
				return v.Faultf(1, "%q is not an IPv6 address", v.Text(1))
			}
			return nil
		}},
		{Name: "--lladdr", Values: "ADDR", Doc: "The interface's hardware address. Default: a random one.", Set: hardwareAddrInto(c)},
		tunMTUOption(c),
		{Name: "--up", Values: "CMD", Doc: "A program with its arguments, in quotes if there are any, that is run once the interface is up. If it fails, the element does not start. Needs --script-security 2.", Set: func(v element.Values) (err error) {
			w.scripts = append(w.scripts, v)
			c.up, err = splitCommand(v)
			return err
		}},
		{Name: "--down", Values: "CMD", Doc: "A program like --up's that is run at the end, after the device has been closed.", Set: func(v element.Values) (err error) {
			w.scripts = append(w.scripts, v)
			c.down, err = splitCommand(v)
			return err
		}},
		{Name: "--script-security", Values: "LEVEL", Doc: "0 to 3; scripts are run from 2 on. Default: 1.", Set: func(v element.Values) (err error) {
			w.security, err = v.Int(0, 0, 3)
			return err
		}},
		{Name: "--tun-ipv6", Doc: "IPv6 is always carried."},
		{Name: "--persist-tun", Doc: "The device stays open as long as the machine runs."},
		{Name: "--ifconfig-nowarn", Doc: "Nothing is compared with the peer's --ifconfig."},
		{Name: "--topology", Values: "MODE", Doc: "It concerns tun devices."},
		{Name: "--verb", Values: "LEVEL", Doc: "The log statement sets the level."},
		{Name: "--route", Values: "[ARGS…]", Doc: "Refused.", Refused: noRoute, Repeat: true},
		{Name: "--route-ipv6", Values: "[ARGS…]", Doc: "Refused.", Refused: noRoute, Repeat: true},
		{Name: "--redirect-gateway", Values: "[ARGS…]", Doc: "Refused.", Refused: noRoute},
		{Name: "--ifconfig-noexec", Doc: "Refused.", Refused: "leave --ifconfig out, and give an --up script the address itself"},
		{Name: "--mktun", Doc: "Refused.", Refused: "make a persistent device with `ip tuntap add NAME mode tap`"},
		{Name: "--rmtun", Doc: "Refused.", Refused: "remove a persistent device with `ip tuntap del NAME mode tap`"},
	}
}

// tunMTUOption takes OpenVPN's second value too, which its peers compare and
// which does not concern a device.
func tunMTUOption(c *config) element.Option {
	o := mtuOption("--tun-mtu", c)
	o.Values = "BYTES [OCC-MTU]"
	return o
}

// parseOpenVPN reads OpenVPN's options.
func parseOpenVPN(args element.Args) (config, error) {
	w := &openvpnWords{cfg: config{openvpn: true, nat: natNot}, security: 1}
	var faults tmesh.Faults
	faults.Add(args.Pos, args.Parse(w.options()))
	if fault := w.checkDevice(args.Pos); fault != nil {
		faults = append(faults, fault)
	}
	if w.security < 2 {
		for _, s := range w.scripts {
			faults = append(faults, tmesh.Faultf(s.Name.Pos, "%s runs a program, which --script-security %d forbids; give --script-security 2 to allow it", s.Name.Text, w.security))
		}
	}
	faults.Add(args.Pos, w.cfg.check(args.Pos))
	if len(faults) > 0 {
		return config{}, faults
	}
	return w.cfg, nil
}

// checkDevice looks at --dev and --dev-type together: without the second, the
// name says what kind of device it is (OpenVPN manual, --dev-type).
func (w *openvpnWords) checkDevice(pos tmesh.Pos) *tmesh.Fault {
	name := w.dev.Text(0)
	switch {
	case name == "":
		return tmesh.Faultf(pos, "--dev is missing: give --dev tap, or --dev tap0 for a device by its name")
	case w.typed || strings.HasPrefix(name, "tap"):
		return nil
	case strings.HasPrefix(name, "tun"):
		return w.dev.Faultf(0, "%q is refused: this element carries Ethernet, which only tap does", name)
	}
	return w.dev.Faultf(0, "%q does not say that it is a tap device; add --dev-type tap", name)
}

// splitCommand splits a program and its arguments as OpenVPN does (OpenVPN
// manual, --up): at spaces, where single or double quotes hold words together
// and a backslash takes the next character as it is, except in single quotes.
func splitCommand(v element.Values) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote byte
	inWord, escaped := false, false
	for _, b := range []byte(v.Text(0)) {
		switch {
		case escaped:
			word.WriteByte(b)
			escaped = false
		case b == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && b == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(b)
		case b == '\'' || b == '"':
			quote, inWord = b, true
		case b == ' ' || b == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteByte(b)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, v.Faultf(0, "%q ends inside a quotation", v.Text(0))
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 || words[0] == "" {
		return nil, v.Faultf(0, "the program has no name")
	}
	return words, nil
}
