package hostnet

import (
	"errors"
	"fmt"
	"math"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// uplink finds the interface by which a network leaves: the one asked for, or
// the default route's. Where there is none, why says so.
func (c *Changes) uplink(ip6 bool, asked string) (name, why string, err error) {
	if asked != "" {
		if asked == c.link.Name {
			return "", "", fmt.Errorf("nat by %s: that is the tap device itself, and no way out; name the interface by which this host reaches the outside", asked)
		}
		link, err := c.ns.netlink.LinkByName(asked)
		if err != nil {
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				return "", "", fmt.Errorf("nat by %s: there is no interface of that name", asked)
			}
			return "", "", fmt.Errorf("look up interface %s: %w", asked, err)
		}
		if link.Attrs().Flags&net.FlagLoopback != 0 {
			return "", "", fmt.Errorf("nat by %s: that is the loopback, and no way out; name the interface by which this host reaches the outside", asked)
		}
		return asked, "", nil
	}
	name, err = c.ns.defaultRoute(ip6)
	switch {
	case err != nil:
		return "", "", err
	case name == "":
		return "", "there is no default route", nil
	case name == c.link.Name:
		return "", "the default route goes by the tap device itself", nil
	}
	return name, "", nil
}

// defaultRoute gives the interface of the main table's default route with the
// lowest metric, or "" where there is none.
func (n *Namespace) defaultRoute(ip6 bool) (string, error) {
	family, ipVersion := netlink.FAMILY_V4, "IPv4"
	if ip6 {
		family, ipVersion = netlink.FAMILY_V6, "IPv6"
	}
	routes, err := n.netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return "", fmt.Errorf("list the %s routes: %w", ipVersion, err)
	}
	index, best := 0, math.MaxInt
	for _, r := range routes {
		if !isDefault(r) || r.Priority >= best {
			continue
		}
		hop := r.LinkIndex
		if hop == 0 && len(r.MultiPath) > 0 {
			hop = r.MultiPath[0].LinkIndex
		}
		if hop != 0 {
			index, best = hop, r.Priority
		}
	}
	if index == 0 {
		return "", nil
	}
	link, err := n.netlink.LinkByIndex(index)
	if err != nil {
		return "", fmt.Errorf("look up the default route's interface: %w", err)
	}
	return link.Attrs().Name, nil
}

func isDefault(r netlink.Route) bool {
	if r.Type != 0 && r.Type != unix.RTN_UNICAST {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}
