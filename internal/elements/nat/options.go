package nat

import (
	"errors"
	"fmt"
	"net/netip"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/netstack"
	"tmelink/internal/tmesh"
)

const doc = `The element is the gateway of a network of guests: whatever stands behind its port, one station or any number of them behind a tme/generic/switch. They reach by TCP, UDP and ping what this computer reaches, through its ordinary sockets: no device, no privilege, and no change to the computer is needed. TCP connections are carried with all that belongs to them: one that is refused outside is refused inside, one that nobody answers is not answered, and each direction ends by itself. Errors that the outside sends for UDP and pings are passed on. A UDP port of a guest's has one port outside, wherever it sends to, and hears all ports of those that it has sent to (RFC 4787: endpoint-independent mapping, address-dependent filtering), as TFTP needs.

Pings need ping sockets, which Linux has and gives to the groups in the sysctl net.ipv4.ping_group_range; elsewhere they are not answered.

With inet6 the gateway tells guests by router advertisements to make themselves addresses (of a prefix of length 64) and whom to ask for names; with dhcp or lease it gives IPv4 addresses by DHCP and BOOTP. At the gateway's address names are resolved as on this computer.

At most 4096 TCP connections, 256 of them being made, and 2048 UDP flows and pings are carried at a time. A TCP connection on which nothing is said ends after 2 hours and 4 minutes (RFC 5382), a UDP flow after 2 minutes, or 5 once it was answered (RFC 4787), pings after 1.

The computer's loopback, link-local addresses, and the computer's own other addresses are closed to guests; see loopback.`

const example = `nat0: tme/host/nat inet 10.0.77.1/24 dhcp 10.0.77.10-10.0.77.99 forward tcp 127.0.0.1:2323=10.0.77.2:23
sw0 at nat0: tme/generic/switch
le0 at sw0: tme/ic/am7990 inet 10.0.77.2 netmask 255.255.255.0 gateway 10.0.77.1 dns 10.0.77.1
q0 at sw0: tme/host/qemu/stream listen /tmp/q0.sock`

func init() {
	element.Register(element.Type{
		Path:           "tme/host/nat",
		Summary:        "a gateway to the outside for guests, through ordinary sockets, without privilege",
		Doc:            doc,
		Example:        example,
		MaxConnections: 1,
		Options:        (&config{}).options(element.Env{}),
		New: func(env element.Env, args element.Args) (element.Element, error) {
			c := config{mtu: ethernet.MTU}
			if err := c.parse(env, args); err != nil {
				return nil, err
			}
			return newNAT(env, c), nil
		},
	})
}

// config is what the arguments say.
type config struct {
	net4, net6 netip.Prefix // the gateway's addresses with their networks; zero: none
	hwaddr     ethernet.Addr
	mtu        int
	loopback   bool
	rules      []rule
	forwards   []forward
	dhcpConfig
}

func (c *config) addrs() (all []netip.Prefix) {
	for _, p := range []netip.Prefix{c.net4, c.net6} {
		if p.IsValid() {
			all = append(all, p)
		}
	}
	return all
}

func (c *config) options(env element.Env) []element.Option {
	options := []element.Option{
		{Name: "inet", Values: "ADDR/LEN", Doc: "The gateway's IPv4 address and the length of the guests' network's prefix, such as 10.0.77.1/24.",
			Set: func(v element.Values) (err error) {
				c.net4, err = network(v, true)
				return err
			}},
		{Name: "inet6", Values: "ADDR/LEN", Doc: "The same for IPv6, such as fd00:77::1/64.",
			Set: func(v element.Values) (err error) {
				c.net6, err = network(v, false)
				return err
			}},
		{Name: "hwaddr", Values: "ADDR", Doc: "The gateway's hardware address. Default: one made from the names of machine and element and its addresses, so that it stays the same.",
			Set: func(v element.Values) (err error) { c.hwaddr, err = v.HardwareAddr(0); return }},
		{Name: "mtu", Values: "BYTES", Doc: fmt.Sprintf("The longest packet on the guests' network, from %d to %d. Default: %d.", netstack.MinMTU, netstack.MaxMTU, ethernet.MTU),
			Set: func(v element.Values) (err error) { c.mtu, err = v.Int(0, netstack.MinMTU, netstack.MaxMTU); return }},
		{Name: "loopback", Values: "deny|allow", Doc: "With allow, guests reach this computer itself: the gateway's address leads to its 127.0.0.1 or ::1, and its other addresses and link-local ones are open. The default is deny.",
			Set: c.setLoopback},
		{Name: "outbound", Values: "allow|deny CIDR…", Repeat: true, Doc: "Which destinations guests may reach, such as outbound deny 192.168.0.0/16 fd00::/8. Of all that are given the first that contains the destination decides; what none contains is allowed, so that a list of what is allowed ends with outbound deny 0.0.0.0/0 ::/0. A connection that is denied is refused, a datagram or ping answered as prohibited. The gateway's own address is not concerned.",
			Set: c.setOutbound},
		{Name: "forward", Values: "tcp|udp HOST:PORT=GUEST:PORT", Repeat: true, Doc: "Lead a port of this computer to a guest's: forward tcp 127.0.0.1:8080=10.0.77.2:80. HOST is an address of this computer's, 0.0.0.0 or [::] for all of them. The guest sees the gateway as the sender.",
			Set: c.setForward},
	}
	return append(options, c.dhcpOptions(env)...)
}

func (c *config) setLoopback(v element.Values) error {
	switch v.Text(0) {
	case "allow":
		c.loopback = true
	case "deny":
		c.loopback = false
	default:
		return v.Faultf(0, "%q is neither deny nor allow", v.Text(0))
	}
	return nil
}

func (c *config) setOutbound(v element.Values) error {
	if v.Text(0) != "allow" && v.Text(0) != "deny" {
		return v.Faultf(0, "%q is neither allow nor deny", v.Text(0))
	}
	for i := 1; v.Has(i); i++ {
		p, err := netip.ParsePrefix(v.Text(i))
		if a, bare := netip.ParseAddr(v.Text(i)); err != nil && bare == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			return v.Faultf(i, "%q is not a network such as 192.168.0.0/16 or fd00::/8", v.Text(i))
		}
		c.rules = append(c.rules, rule{v.Text(0) == "allow", p})
	}
	return nil
}

// network reads the gateway's address and network of a family.
func network(v element.Values, is4 bool) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v.Text(0))
	if err != nil || p.Addr().Is4() != is4 || p.Addr().Is4In6() {
		if is4 {
			return p, v.Faultf(0, "%q is not an IPv4 address with its prefix length such as 10.0.77.1/24", v.Text(0))
		}
		return p, v.Faultf(0, "%q is not an IPv6 address with its prefix length such as fd00:77::1/64", v.Text(0))
	}
	if p.Addr().IsLinkLocalUnicast() {
		return p, v.Faultf(0, "a link-local address is of no use to a gateway; give one such as fd00:77::1/64 or 10.0.77.1/24")
	}
	n := ethernet.Network{Addr4: p}
	if !is4 {
		n = ethernet.Network{Addr6: p}
	}
	if err := n.Check(); err != nil {
		return p, v.Faultf(0, "%v", err)
	}
	return p, nil
}

// parse reads the words and checks what needs several of them.
func (c *config) parse(env element.Env, args element.Args) error {
	if err := args.Parse(c.options(env)); err != nil {
		return err
	}
	if len(c.addrs()) == 0 {
		return tmesh.Faultf(args.Pos, "the guests' network is missing: give inet, such as inet 10.0.77.1/24, or inet6")
	}
	if c.hwaddr == (ethernet.Addr{}) {
		c.hwaddr = env.HardwareAddr(c.addrs())
	}
	return errors.Join(append(c.checkDHCP(), c.checkForwards()...)...)
}

// checkGuest says why an address cannot be a guest's.
func (c *config) checkGuest(a netip.Addr) error {
	own := c.net4
	if a.Is6() {
		own = c.net6
	}
	switch {
	case !own.Contains(a):
		return fmt.Errorf("%s is not in the guests' network %s", a, own.Masked())
	case a == own.Addr():
		return fmt.Errorf("%s is the gateway's own address", a)
	}
	n := ethernet.Network{Addr6: netip.PrefixFrom(a, own.Bits())}
	if a.Is4() {
		n = ethernet.Network{Addr4: n.Addr6}
	}
	return n.Check()
}
