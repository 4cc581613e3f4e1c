package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"tmelink/internal/ethernet"
)

// A network that is handed out
//
// The host's station on the wire may be set up by the far end of the link that
// the device is connected to. What that asks for is done behind the description's
// own changes and taken back to there before the next, so that what comes never
// mixes with what was. The description's own words win, and a bridge's port
// takes nothing: it has no station behind it.

// setNetwork has the host set up as n asks, at once or when the device is open.
func (t *tap) setNetwork(n *ethernet.Network) error {
	if n != nil {
		if err := n.Check(); err != nil {
			return fmt.Errorf("set up the host as the link's peer asks: %w", err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.device.wanted = n
	if !t.device.ready {
		return nil
	}
	return t.follow()
}

// follow takes back what was carried out of an earlier network and carries out
// the one that is wanted now. The same one again disturbs nothing.
func (t *tap) follow() error {
	d := &t.device
	if d.wanted != nil && d.carried.Equal(d.wanted) {
		return nil
	}
	before := d.changes.Mark()
	err := d.changes.UndoTo(d.own)
	if before != d.own && d.wanted == nil {
		t.env.Log.Info("the host is no longer set up as the link's peer asked", "interface", d.tap.Name)
	}
	d.carried = nil
	t.say(d.status)
	if d.wanted == nil {
		return err
	}
	if err = errors.Join(err, t.carryOut(*d.wanted)); err == nil {
		d.carried = d.wanted
	}
	return err
}

// carryOut does what of a network concerns this host, as far as it can be done.
func (t *tap) carryOut(n ethernet.Network) error {
	d := &t.device
	state, err := d.tap.State()
	if err != nil {
		return err
	}
	if state.Enslaved {
		t.env.Log.Info("what the link's peer hands out is left aside: the interface is a bridge's port", "interface", d.tap.Name, "addrs", n.Addrs())
		return nil
	}
	n, aside := n.Yield(ethernet.Network{Addr4: t.cfg.inet, Addr6: t.cfg.inet6, MTU: t.cfg.mtu})
	if n.MTU > d.mtu {
		aside, n.MTU = append(aside, fmt.Sprintf("mtu %d", n.MTU)), 0
	}
	if aside != nil {
		t.env.Log.Info("part of what the link's peer hands out is left aside: the description says otherwise", "interface", d.tap.Name, "aside", strings.Join(aside, ", "), "mtu", d.mtu)
	}
	errs := []error{t.lowerMTU(n)}
	status := []string{d.status}
	for _, p := range n.Addrs() {
		if err := d.changes.AddAddress(p, netip.Addr{}); err != nil {
			errs = append(errs, err)
			continue
		}
		status = append(status, p.String())
	}
	routes, err := t.addRoutes(n.Routes)
	errs = append(errs, err)
	if routes > 0 {
		status = append(status, fmt.Sprintf("routes %d", routes))
	}
	t.say(strings.Join(status, ", "))
	t.env.Log.Info("the host is set up as the link's peer asks", "interface", d.tap.Name, "addrs", n.Addrs(), "mtu", n.MTU, "routes", routes, "dns", n.DNS, "domain", n.Domain)
	return errors.Join(errs...)
}

// maxRouteErrors is how many routes an error tells of.
const maxRouteErrors = 3

// addRoutes adds what routes can be added and says how many they are.
func (t *tap) addRoutes(routes []ethernet.Route) (added int, err error) {
	var errs []error
	for _, r := range routes {
		err := r.Check()
		if err == nil {
			err = t.device.changes.AddRoute(r)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	added = len(routes) - len(errs)
	if more := len(errs) - maxRouteErrors; more > 0 {
		errs = append(errs[:maxRouteErrors], fmt.Errorf("and %d more routes likewise", more))
	}
	return added, errors.Join(errs...)
}

// lowerMTU gives the interface a network's MTU. The port goes on taking what it
// took before. Below IPv6's least MTU the kernel forgets an interface's IPv6
// addresses, those too that somebody has given to a device that stays.
func (t *tap) lowerMTU(n ethernet.Network) error {
	d := &t.device
	switch {
	case n.MTU == 0:
		return nil
	case n.MTU < minMTU6 && (t.cfg.inet6.IsValid() || n.Addr6.IsValid() || d.tap.Persistent):
		return fmt.Errorf("set the mtu of %s to %d: that is too small for IPv6, which needs %d", d.tap.Name, n.MTU, minMTU6)
	}
	return d.changes.SetMTU(n.MTU)
}
