package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// Link is a network interface. Name and Index together name it: an interface
// that was removed and made again is another one.
type Link struct {
	Name  string
	Index int
	ns    *Namespace
}

// LinkState is what an interface is like at one moment.
type LinkState struct {
	Addr ethernet.Addr // its hardware address
	MTU  int
	Up   bool // administratively
	// Enslaved says that its frames belong to a bridge, bond or the like and
	// not to the host's IP stack.
	Enslaved bool
}

// errGone is the error of work on an interface that was removed.
var errGone = errors.New("the interface was removed")

// State reads what the interface is like now.
func (l Link) State() (LinkState, error) {
	link, err := l.get()
	if err != nil {
		return LinkState{}, err
	}
	return stateOf(link.Attrs()), nil
}

func stateOf(a *netlink.LinkAttrs) LinkState {
	s := LinkState{MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, Enslaved: a.MasterIndex != 0}
	copy(s.Addr[:], a.HardwareAddr)
	if _, vrf := a.Slave.(*netlink.VrfSlave); vrf {
		s.Enslaved = false // a VRF's interfaces keep their IP stack
	}
	return s
}

// get finds the interface, and refuses another one that has taken its index.
func (l Link) get() (netlink.Link, error) {
	link, err := l.ns.netlink.LinkByIndex(l.Index)
	if errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("%s: %w", l.Name, errGone)
	}
	if err != nil {
		return nil, fmt.Errorf("look up interface %s: %w", l.Name, err)
	}
	if link.Attrs().Name != l.Name {
		return nil, fmt.Errorf("%s: %w or renamed", l.Name, errGone)
	}
	return link, nil
}

// SetMTU gives the interface an MTU in bytes.
func (c *Changes) SetMTU(mtu int) error {
	link, err := c.link.get()
	if err != nil || link.Attrs().MTU == mtu {
		return err
	}
	if err := c.record(entry{Verb: verbMTU, Link: c.link, Value: fmt.Sprint(link.Attrs().MTU)}); err != nil {
		return err
	}
	if err := c.ns.netlink.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set the mtu of %s to %d: %w", c.link.Name, mtu, explain(err))
	}
	return nil
}

// SetHardwareAddr gives the interface a hardware address.
func (c *Changes) SetHardwareAddr(a ethernet.Addr) error {
	link, err := c.link.get()
	if err != nil || stateOf(link.Attrs()).Addr == a {
		return err
	}
	if err := c.record(entry{Verb: verbHardwareAddr, Link: c.link, Value: stateOf(link.Attrs()).Addr.String()}); err != nil {
		return err
	}
	if err := c.ns.netlink.LinkSetHardwareAddr(link, a[:]); err != nil {
		return fmt.Errorf("set the hardware address of %s to %s: %w", c.link.Name, a, explain(err))
	}
	return nil
}

// AddAddress gives the interface an IP address with its prefix. broadcast is
// IPv4's, or the zero Addr for the network's last address. An IPv6 address is
// usable at once: nobody else is on the TAP device's wire yet, so it is not
// looked for (RFC 4862, 5.4).
func (c *Changes) AddAddress(p netip.Prefix, broadcast netip.Addr) error {
	link, err := c.link.get()
	if err != nil {
		return err
	}
	there, err := c.ns.netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", c.link.Name, err)
	}
	for _, a := range there {
		if a.IPNet.String() == p.String() {
			return nil
		}
	}
	if err := c.record(entry{Verb: verbAddress, Link: c.link, Value: p.String()}); err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: ipNet(p)}
	if broadcast.IsValid() {
		addr.Broadcast = broadcast.AsSlice()
	}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := c.ns.netlink.AddrAdd(link, addr); err != nil {
		if p.Addr().Is6() && errors.Is(err, unix.EACCES) {
			return fmt.Errorf("add address %s to %s: %w (IPv6 is off there: `sysctl net.ipv6.conf.%s.disable_ipv6=0`, and default before it is made)", p, c.link.Name, err, c.link.Name)
		}
		return fmt.Errorf("add address %s to %s: %w", p, c.link.Name, explain(err))
	}
	return nil
}

// JoinBridge makes the interface a port of an existing bridge.
func (c *Changes) JoinBridge(name string) error {
	bridge, err := c.ns.netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("join bridge %s: there is no interface of that name; make it with `ip link add %s type bridge`", name, name)
	}
	if err != nil {
		return fmt.Errorf("look up bridge %s: %w", name, err)
	}
	if bridge.Type() != "bridge" {
		return fmt.Errorf("join bridge %s: that interface is no bridge, its kind is %s", name, bridge.Type())
	}
	link, err := c.link.get()
	if err != nil || link.Attrs().MasterIndex == bridge.Attrs().Index {
		return err
	}
	if err := c.record(entry{Verb: verbMaster, Link: c.link, Value: fmt.Sprint(link.Attrs().MasterIndex)}); err != nil {
		return err
	}
	if err := c.ns.netlink.LinkSetMaster(link, bridge); err != nil {
		return fmt.Errorf("make %s a port of bridge %s: %w", c.link.Name, name, explain(err))
	}
	return nil
}

// SetUp brings the interface up.
func (c *Changes) SetUp() error {
	link, err := c.link.get()
	if err != nil || stateOf(link.Attrs()).Up {
		return err
	}
	if err := c.record(entry{Verb: verbUp, Link: c.link}); err != nil {
		return err
	}
	if err := c.ns.netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", c.link.Name, explain(err))
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
