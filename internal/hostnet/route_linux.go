package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// Mark is a moment in the doing of changes.
type Mark int

// Mark gives the present moment, for UndoTo.
func (c *Changes) Mark() Mark { return Mark(len(c.entries)) }

// UndoTo takes back what was done to the interface after a moment, the last act
// first, as Undo does, and strikes it from the journal. No switch may be among it.
func (c *Changes) UndoTo(m Mark) error {
	if len(c.entries) <= int(m) {
		return nil
	}
	err := c.ns.undo(c.entries[m:], nil)
	return errors.Join(err, c.strike(m))
}

// strike forgets what was done after a moment, and writes the journal anew. It
// comes after the undo, as record comes before the act.
func (c *Changes) strike(m Mark) error {
	c.entries = c.entries[:m]
	if !c.written {
		return nil
	}
	nft, err := c.ns.nft()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	o, err := self()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: c.table(), Family: nftables.TableFamilyINet}
	nft.FlushChain(&nftables.Chain{Name: journalChain, Table: t})
	addLine(nft, t, o.String())
	for _, e := range c.entries {
		if !c.goes(e) {
			addLine(nft, t, e.String())
		}
	}
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", c.table(), explain(err))
	}
	return nil
}

// AddRoute adds a route by the interface to the main table. One that is there
// already stays as it is; where it leads elsewhere, that is an error.
func (c *Changes) AddRoute(r ethernet.Route) error {
	if _, err := c.link.get(); err != nil {
		return err
	}
	mark := c.Mark()
	if err := c.record(entry{Verb: verbRoute, Link: c.link, Value: formatRoute(r)}); err != nil {
		return err
	}
	err := c.ns.netlink.RouteAdd(c.link.route(r))
	if errors.Is(err, unix.EEXIST) {
		return errors.Join(c.strike(mark), c.sameRoute(r))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("add a route to %s by %s: %w", r.To, c.link.Name, explain(err)), c.strike(mark))
	}
	return nil
}

// sameRoute is nil where the route that is in r's place is as r wants it.
func (c *Changes) sameRoute(r ethernet.Route) error {
	wanted := c.link.route(r)
	family := netlink.FAMILY_V4
	if r.To.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	there, err := c.ns.netlink.RouteListFiltered(family, &netlink.Route{LinkIndex: wanted.LinkIndex, Gw: wanted.Gw},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_GW)
	if err != nil {
		return fmt.Errorf("list the routes by %s: %w", c.link.Name, err)
	}
	for _, o := range there {
		// The kernel gives an IPv6 route without a metric this one
		// (IP6_RT_PRIO_USER, include/net/ip6_fib.h).
		metric := r.Metric
		if metric == 0 && r.To.Addr().Is6() {
			metric = 1024
		}
		if o.Priority == metric && (isDefault(o) && r.To.Bits() == 0 || o.Dst != nil && o.Dst.String() == r.To.String()) {
			return nil
		}
	}
	return fmt.Errorf("add a route to %s by %s: this host has another one of metric %d, which stays", r.To, c.link.Name, r.Metric)
}

// route is a route by the interface as netlink takes it.
func (l Link) route(r ethernet.Route) *netlink.Route {
	nr := &netlink.Route{LinkIndex: l.Index, Dst: ipNet(r.To), Priority: r.Metric, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC}
	if r.Via.IsValid() {
		nr.Gw = r.Via.AsSlice()
	} else {
		nr.Scope = unix.RT_SCOPE_LINK
	}
	return nr
}

// formatRoute writes a route as a word of the journal.
func formatRoute(r ethernet.Route) string {
	via := ""
	if r.Via.IsValid() {
		via = r.Via.String()
	}
	return fmt.Sprintf("%s,%s,%d", r.To, via, r.Metric)
}

func parseRoute(word string) (r ethernet.Route, err error) {
	f := strings.Split(word, ",")
	if len(f) != 3 {
		return r, errors.New("not a route")
	}
	if r.To, err = netip.ParsePrefix(f[0]); err != nil {
		return r, err
	}
	if f[1] != "" {
		if r.Via, err = netip.ParseAddr(f[1]); err != nil {
			return r, err
		}
	}
	metric, err := strconv.ParseUint(f[2], 10, 31)
	if err != nil {
		return r, err
	}
	r.Metric = int(metric)
	return r, r.Check()
}
