package netstack

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"tmelink/internal/ethernet"
)

// SetNetwork gives the host what n has besides its Config, in place of what the
// last call gave; nil gives nothing. n has no address of a family and no MTU that
// the host was configured with otherwise (see ethernet.Network.Yield); an MTU is
// from MinMTU to Config.MTU. Connections through what stays stay. What can be
// carried out is; the error tells of the rest.
func (h *Host) SetNetwork(n *ethernet.Network) error {
	var next ethernet.Network
	if n != nil {
		next = *n
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stack == nil {
		return errDown
	}
	return h.change(next)
}

// change gives a running host a network in place of the one that it has.
func (h *Host) change(next ethernet.Network) error {
	errs := []error{h.changeMTU(next.MTU)}
	was := h.given.Addrs()
	for _, p := range was {
		if !slices.Contains(next.Addrs(), p) {
			if err := h.stack.RemoveAddress(nicID, toAddress(p.Addr())); err != nil {
				errs = append(errs, fmt.Errorf("take the address %s from the host: %s", p, err))
			}
		}
	}
	for _, at := range []*netip.Prefix{&next.Addr4, &next.Addr6} {
		if !at.IsValid() || slices.Contains(was, *at) {
			continue
		}
		if err := addAddress(h.stack, *at); err != nil {
			errs, *at = append(errs, err), netip.Prefix{}
		}
	}
	next.Routes = slices.DeleteFunc(slices.Clone(next.Routes), func(r ethernet.Route) bool {
		err := r.Check()
		errs = append(errs, err)
		return err != nil
	})
	h.given = next
	addrs := slices.Concat([]netip.Prefix{linkLocal(h.cfg.HardwareAddr)}, h.cfg.Addrs, next.Addrs())
	h.stack.SetRouteTable(routesOf(h.cfg, addrs, next.Routes))
	errs = append(errs, h.port.listenToGroups(h.stack, addrs))
	wanted := groupsOf(addrs)
	for _, group := range groupsOf(was) {
		if !slices.Contains(wanted, group) {
			h.port.filter.Remove(groupAddr(group))
		}
	}
	return errors.Join(errs...)
}

// changeMTU has the host send packets of at most so many bytes, or of what it was
// configured with for 0. What it takes stays the same.
func (h *Host) changeMTU(mtu int) error {
	var fault error
	switch {
	case mtu == 0:
		mtu = h.cfg.MTU
	case mtu < MinMTU || mtu > h.cfg.MTU:
		fault = fmt.Errorf("give the host an mtu of %d: it takes one from %d to %d", mtu, MinMTU, h.cfg.MTU)
		mtu = h.cfg.MTU
	}
	if err := h.stack.SetNICMTU(nicID, uint32(mtu)); err != nil {
		return fmt.Errorf("give the host an mtu of %d: %s", mtu, err)
	}
	return fault
}

// domain is where a name without a dot is looked for, or "".
func (h *Host) domain() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.given.Domain
}

// routesOf are a host's routes: its addresses' networks, the configured gateways,
// and behind them further ones. The stack sorts them by the length of their
// prefix and takes the first of the same length that has been given to it.
func routesOf(cfg Config, addrs []netip.Prefix, further []ethernet.Route) (routes []tcpip.Route) {
	for _, p := range addrs {
		routes = append(routes, tcpip.Route{Destination: subnet(p), NIC: nicID})
	}
	for _, groups := range []tcpip.Subnet{header.IPv4EmptySubnet, header.IPv6EmptySubnet} {
		for _, gateway := range cfg.Gateways {
			if toAddress(gateway).BitLen() == groups.ID().BitLen() {
				routes = append(routes, tcpip.Route{Destination: groups, Gateway: toAddress(gateway), NIC: nicID})
			}
		}
	}
	byMetric := slices.SortedStableFunc(slices.Values(further), func(a, b ethernet.Route) int { return cmp.Compare(a.Metric, b.Metric) })
	for _, r := range byMetric {
		route := tcpip.Route{Destination: subnet(r.To), NIC: nicID}
		if r.Via.IsValid() {
			route.Gateway = toAddress(r.Via)
		}
		routes = append(routes, route)
	}
	return routes
}

func subnet(p netip.Prefix) tcpip.Subnet {
	return tcpip.AddressWithPrefix{Address: toAddress(p.Addr()), PrefixLen: p.Bits()}.Subnet()
}
