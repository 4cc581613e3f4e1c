package nic

import (
	"errors"
	"fmt"
	"net/netip"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/netstack"
	"tmelink/internal/tmesh"
)

// config collects the words behind the type until all are read: their order is
// free.
type config struct {
	board bool // a 3c400, which knows the word ether

	addr     netip.Addr
	bits     int // of netmask, 0 where it is missing
	prefix6  netip.Prefix
	gateway  netip.Addr
	gateway6 netip.Addr
	names    []netip.Addr
	hwaddr   ethernet.Addr // zero where it is missing
	mtu      int

	// for faults that need two words
	attachAt, inetAt, netmaskAt, gatewayAt, gateway6At, dnsAt, mtuAt element.Values
	ofHost                                                           []tmesh.Word // those that say something of a built-in host
}

func newConfig(board bool) *config { return &config{board: board} }

func (c *config) options() []element.Option {
	options := []element.Option{
		{Name: "inet", Values: "ADDR", Doc: "The built-in host's IPv4 address.", Set: c.setInet},
		{Name: "netmask", Values: "MASK", Doc: "The netmask of inet, such as 255.255.255.0 or 0xffffff00. Default: what the address had before there were netmasks: 255.0.0.0 below 128.0.0.0, 255.255.0.0 below 192.0.0.0, else 255.255.255.0.", Set: c.setNetmask},
		{Name: "gateway", Values: "ADDR", Doc: "The station of the same network through which the host reaches all others.", Set: func(v element.Values) (err error) {
			c.gatewayAt = v
			c.gateway, err = v.Addr4(0)
			return err
		}},
		{Name: "inet6", Values: "ADDR/LEN", Doc: "The built-in host's IPv6 address and the length of its network's prefix.", Set: c.setInet6},
		{Name: "gateway6", Values: "ADDR", Doc: "The same as gateway, for IPv6. It may be a link-local address.", Set: c.setGateway6},
		{Name: "hwaddr", Values: "ADDR", Doc: "The interface's hardware address. Default: one made from the names of machine and interface and its IP addresses, or without those this computer's name, so that it stays the same.", Set: c.setHardwareAddr},
		{Name: "dns", Values: "ADDR", Repeat: true, Doc: "A name server for names in commands, asked through the interface.", Set: func(v element.Values) error {
			c.dnsAt = v
			a, err := v.Addr(0)
			c.names = append(c.names, a)
			return err
		}},
		{Name: "mtu", Values: "BYTES", Doc: fmt.Sprintf("The longest packet that the host, or the emulator, sends and takes, from %d to %d. Default: %d.", netstack.MinMTU, netstack.MaxMTU, ethernet.MTU), Set: func(v element.Values) (err error) {
			c.mtuAt = v
			c.mtu, err = v.Int(0, netstack.MinMTU, netstack.MaxMTU)
			return err
		}},
	}
	if c.board {
		options = append(options, element.Option{Name: "ether", Values: "ADDR", Doc: "The same as hwaddr, by TME's word: the address in the board's ROM.", Set: c.setHardwareAddr})
	}
	for i := range options {
		set := options[i].Set
		options[i].Set = func(v element.Values) error {
			if v.Name.Text != "mtu" {
				c.ofHost = append(c.ofHost, v.Name)
			}
			return set(v)
		}
	}
	return append(options, element.Option{Name: "attach", Values: "SPEC", Doc: attachDoc(), Set: func(v element.Values) error {
		c.attachAt = v
		return nil
	}})
}

func (c *config) setInet(v element.Values) (err error) {
	c.inetAt = v
	if c.addr, err = v.Addr4(0); err == nil && (c.addr.IsUnspecified() || c.addr.IsMulticast() || c.addr.IsLoopback() || c.addr.As4()[0] >= 240) {
		err = v.Faultf(0, "%s is not the address of one station", c.addr)
	}
	return err
}

func (c *config) setNetmask(v element.Values) (err error) {
	c.netmaskAt = v
	if c.bits, err = v.Netmask(0); err == nil && c.bits == 0 {
		err = v.Faultf(0, "a netmask of no ones makes the whole world one wire")
	}
	return err
}

func (c *config) setInet6(v element.Values) (err error) {
	if c.prefix6, err = v.Prefix6(0); err != nil {
		return err
	}
	switch a := c.prefix6.Addr(); {
	case a.IsLinkLocalUnicast():
		return v.Faultf(0, "the link-local address comes by itself, from the hardware address")
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		return v.Faultf(0, "%s is not the address of one station", a)
	case c.prefix6.Bits() == 0:
		return v.Faultf(0, "a prefix of length 0 makes the whole world one wire")
	}
	return nil
}

func (c *config) setGateway6(v element.Values) (err error) {
	c.gateway6At = v
	if c.gateway6, err = v.Addr(0); err == nil && (!c.gateway6.Is6() || c.gateway6.Is4In6() || c.gateway6.Zone() != "") {
		err = v.Faultf(0, "%q is not an IPv6 address", v.Text(0))
	}
	return err
}

func (c *config) setHardwareAddr(v element.Values) (err error) {
	if c.hwaddr != (ethernet.Addr{}) {
		return v.Faultf(0, "the hardware address is given already, as %s", c.hwaddr)
	}
	c.hwaddr, err = v.HardwareAddr(0)
	return err
}

// parse reads the words and checks what needs several of them.
func (c *config) parse(args element.Args) error {
	if err := args.Parse(c.options()); err != nil {
		return err
	}
	if c.attachAt.Name.Text != "" {
		return c.checkAttach()
	}
	inet, inet6 := c.addr.IsValid(), c.prefix6.IsValid()
	if inet && c.bits == 0 {
		c.bits = classBits(c.addr)
	}
	needs := func(v element.Values, have bool, what string) error {
		if v.Name.Text == "" || have {
			return nil
		}
		return v.Faultf(0, "it needs %s", what)
	}
	return errors.Join(
		needs(c.netmaskAt, inet, "inet"), needs(c.gatewayAt, inet, "inet"), needs(c.gateway6At, inet6, "inet6"),
		needs(c.dnsAt, inet || inet6, "inet or inet6"), needs(c.mtuAt, inet || inet6, "inet or inet6"),
		c.checkNetwork())
}

// checkAttach complains of what only a built-in host could have.
func (c *config) checkAttach() error {
	var faults []error
	for _, word := range c.ofHost {
		faults = append(faults, tmesh.Faultf(word.Pos, "attach and %s contradict each other: leave out %[1]s if the interface is an emulator's, attach if a built-in host is behind it", word.Text))
	}
	return errors.Join(faults...)
}

// checkNetwork says whether the addresses fit each other.
func (c *config) checkNetwork() error {
	var faults []error
	if c.addr.IsValid() {
		network := netip.PrefixFrom(c.addr, c.bits)
		if c.bits < 31 && (c.addr == network.Masked().Addr() || c.addr == lastAddr(network)) {
			faults = append(faults, c.inetAt.Faultf(0, "%s is the first or last address of its network %s, which no station has", c.addr, network.Masked()))
		}
		if c.gateway.IsValid() && !network.Contains(c.gateway) {
			faults = append(faults, c.gatewayAt.Faultf(0, "%s is not in the network %s", c.gateway, network.Masked()))
		}
		if c.gateway == c.addr {
			faults = append(faults, c.gatewayAt.Faultf(0, "%s is the interface's own address", c.gateway))
		}
	}
	if c.prefix6.IsValid() && c.gateway6.IsValid() {
		if !c.prefix6.Contains(c.gateway6) && !c.gateway6.IsLinkLocalUnicast() {
			faults = append(faults, c.gateway6At.Faultf(0, "%s is not in the network %s", c.gateway6, c.prefix6.Masked()))
		}
		if c.gateway6 == c.prefix6.Addr() {
			faults = append(faults, c.gateway6At.Faultf(0, "%s is the interface's own address", c.gateway6))
		}
	}
	return errors.Join(faults...)
}

// classBits is the prefix length that an address had before there were netmasks
// (RFC 791, 2.3).
func classBits(a netip.Addr) int {
	switch first := a.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	}
	return 24
}

func lastAddr(network netip.Prefix) netip.Addr {
	a := network.Addr().As4()
	for i := network.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

// network is what the words say of the things that a link's peer may hand out.
func (c *config) network() ethernet.Network {
	n := ethernet.Network{Addr6: c.prefix6, MTU: c.mtu, DNS: c.names}
	if c.addr.IsValid() {
		n.Addr4 = netip.PrefixFrom(c.addr, c.bits)
	}
	return n
}

// host is what the words make of the built-in host.
func (c *config) host(env element.Env) netstack.Config {
	own := c.network()
	hc := netstack.Config{HardwareAddr: c.hwaddr, MTU: c.mtu, Nameservers: c.names, Addrs: own.Addrs()}
	for _, g := range []netip.Addr{c.gateway, c.gateway6} {
		if g.IsValid() {
			hc.Gateways = append(hc.Gateways, g)
		}
	}
	if hc.HardwareAddr == (ethernet.Addr{}) {
		hc.HardwareAddr = env.HardwareAddr(hc.Addrs)
	}
	return hc
}
