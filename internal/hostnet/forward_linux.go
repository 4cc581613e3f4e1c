package hostnet

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// forward lets the kernel forward between the TAP device and the uplink.
//
// IPv4 asks the switch of the interface by which a packet comes in
// (net.ipv4.conf.X.forwarding; ip_route_input_slow, net/ipv4/route.c), so that
// the two interfaces' switches are enough. IPv6 has such a switch from Linux
// 6.17 on (force_forwarding; Documentation/networking/ip-sysctl.rst).
//
// IPv4's switch is on with any number but 0, and gets a 2. Who turns forwarding
// on for all interfaces later, as container engines do when they start, makes it
// a 1 (inet_forward_change, net/ipv4/devinet.c), by which Undo knows that it is
// not its own to turn off any more.
func (c *Changes) forward(t Translation, others []table, log *slog.Logger) error {
	pattern, on := "ipv4/conf/%s/forwarding", "2"
	if t.Network.Addr().Is6() {
		pattern, on = "ipv6/conf/%s/"+forwardOne6, "1"
		_, err := c.ns.readSwitch(fmt.Sprintf(pattern, c.link.Name))
		if errors.Is(err, os.ErrNotExist) {
			return c.forwardAll6(others, log)
		}
	}
	for _, iface := range []string{c.link.Name, t.Uplink} {
		if err := c.switchOn(fmt.Sprintf(pattern, iface), on, others); err != nil {
			return err
		}
	}
	return nil
}

// forwardAll6 turns on IPv6 forwarding on a kernel that has one switch for all
// interfaces (ip6_forward, net/ipv6/ip6_output.c, asks conf/all/forwarding alone).
//
// Turning it on makes every interface a router's, and routers do not listen to
// router advertisements: the kernel would drop the default routes learnt from
// them (rt6_purge_dflt_routers, net/ipv6/route.c), except where accept_ra is 2.
// So accept_ra goes from 1 to 2 first. Turning it off makes every interface a
// host's, so those that were a router's before are noted first. And the guard
// keeps everybody else's packets from being forwarded too.
func (c *Changes) forwardAll6(others []table, log *slog.Logger) error {
	if holder := withSwitch(others, allForwarding6); holder != nil {
		return c.shareAll6(*holder, others)
	}
	now, err := c.ns.readSwitch(allForwarding6)
	if err != nil {
		return fmt.Errorf("read %s: %w", sysctlName(allForwarding6), err)
	}
	if now == "1" {
		return nil
	}
	interfaces, err := c.ns.interfaces6()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		path := "ipv6/conf/" + i + "/accept_ra"
		if ra, err := c.ns.readSwitch(path); err == nil && ra == "1" {
			if err := c.setSwitch(path, "1", "2"); err != nil {
				return err
			}
		}
	}
	for _, i := range interfaces {
		path := "ipv6/conf/" + i + "/forwarding"
		if on, err := c.ns.readSwitch(path); err == nil && on == "1" {
			if err := c.record(entry{Verb: verbSwitch, Path: path, Value: "1", New: "0"}); err != nil {
				return err
			}
		}
	}
	// The guard must stand when the switch is on, and be known to a journal
	// before it stands.
	if err := c.record(entry{Verb: verbSwitch, Path: allForwarding6, Value: now, New: "1"}); err != nil {
		return err
	}
	if err := c.ns.guard(append(guarded(others), c.link.Name)); err != nil {
		return err
	}
	log.Info("this kernel has one switch of IPv6 forwarding for all interfaces: it is on now, and a rule drops what is not for a tap device", "table", "inet "+guardTable)
	return c.ns.writeSwitch(allForwarding6, "1")
}

const allForwarding6 = "ipv6/conf/all/forwarding"

// forwardOne6 is a variable so that tests can look for a switch that no kernel
// has, as an old kernel has none.
var forwardOne6 = "force_forwarding"

// shareAll6 takes a journal's IPv6 switches over, so that whoever is the last to
// end puts them back.
func (c *Changes) shareAll6(holder table, others []table) error {
	for _, e := range holder.entries {
		if e.Verb == verbSwitch && strings.HasPrefix(e.Path, "ipv6/") {
			if err := c.record(e); err != nil {
				return err
			}
		}
	}
	return c.ns.guard(append(guarded(others), c.link.Name))
}

// interfaces6 names all that have switches of IPv6, `default` included.
func (n *Namespace) interfaces6() ([]string, error) {
	var names []string
	err := n.Do(func() error {
		dir, err := os.ReadDir(filepath.Join(sysctlDir, "ipv6/conf"))
		for _, d := range dir {
			if d.Name() != "all" {
				names = append(names, d.Name())
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the interfaces with IPv6: %w", err)
	}
	return names, nil
}
