package hostnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Changes are what is done to the host on behalf of one TAP device, in order.
// Undo takes all of it back. The methods are called by one goroutine at a time.
type Changes struct {
	ns   *Namespace
	link Link // the TAP device
	// fleeting says that the TAP device goes with its descriptor: what is done
	// to it needs no undo.
	fleeting bool
	entries  []entry // what was done, in the order of doing
	written  bool    // the table stands in the kernel
}

// Change begins the changes on behalf of a TAP device.
func (n *Namespace) Change(tap *TAP) *Changes {
	return &Changes{ns: n, link: tap.Link, fleeting: !tap.Persistent}
}

func (c *Changes) table() string { return tablePrefix + c.link.Name }

// record writes an entry into the journal. It comes before the act, so that a
// process killed in between leaves an undo without an act, never the reverse.
func (c *Changes) record(e entry) error {
	if c.goes(e) {
		c.entries = append(c.entries, e)
		return nil
	}
	nft, err := c.ns.nft()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: c.table(), Family: nftables.TableFamilyINet}
	if !c.written {
		o, err := self()
		if err != nil {
			return err
		}
		t = addTable(nft, c.table(), o)
	}
	addLine(nft, t, e.String())
	switch err := nft.Flush(); {
	case err == nil:
		c.written = true
	case noNftables(err):
		// A kernel without nftables keeps the undo in this process alone.
	default:
		return fmt.Errorf("write to nftables table %s: %w", c.table(), explain(err))
	}
	c.entries = append(c.entries, e)
	return nil
}

// goes says whether an act needs no undo at the end, since it goes with the
// device.
func (c *Changes) goes(e entry) bool {
	return c.fleeting && (e.Link.Name == c.link.Name || isSwitchOf(e.Path, c.link.Name))
}

// noNftables says whether an error means that the kernel has no nftables.
func noNftables(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT)
}

// Undo takes back all changes, the last one first. An act that cannot be undone
// does not keep the others; all errors are reported. A switch that somebody else
// has set since then stays as it is, and what was removed stays away.
func (c *Changes) Undo() error {
	c.entries = slices.DeleteFunc(c.entries, c.goes)
	if len(c.entries) == 0 && !c.written {
		return nil
	}
	var errs []error
	unlock, err := c.ns.lock(context.Background())
	if err == nil {
		defer unlock()
	}
	errs = append(errs, err)
	var others []table
	if c.written {
		others, err = c.ns.tables()
		errs = append(errs, err)
	}
	// What a killed process holds, nobody needs.
	living := slices.DeleteFunc(c.without(others), func(t table) bool { return t.abandoned("") })
	errs = append(errs, c.ns.undo(c.entries, living))
	if c.written {
		errs = append(errs, c.ns.deleteTable(c.table()))
	}
	c.entries, c.written = nil, false
	return errors.Join(errs...)
}

// without leaves the journal of these changes out.
func (c *Changes) without(all []table) []table {
	return slices.DeleteFunc(all, func(t table) bool { return t.name == c.table() })
}

// undo takes entries back. others are the journals that may hold the same
// switches.
func (n *Namespace) undo(entries []entry, others []table) error {
	var errs []error
	for _, e := range slices.Backward(entries) {
		err := n.undoOne(e, others)
		if err != nil && !errors.Is(err, errGone) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("undo %q: %w", e, explain(err)))
		}
	}
	if _, ok := findSwitch([]table{{entries: entries}}, allForwarding6); ok {
		errs = append(errs, n.guard(guarded(others)))
	}
	return errors.Join(errs...)
}

func (n *Namespace) undoOne(e entry, others []table) error {
	if e.Verb == verbSwitch {
		return n.putBack(e, others)
	}
	e.Link.ns = n
	link, err := e.Link.get()
	if err != nil {
		return err
	}
	switch e.Verb {
	case verbUp:
		return n.netlink.LinkSetDown(link)
	case verbMTU:
		mtu, _ := strconv.Atoi(e.Value)
		return n.netlink.LinkSetMTU(link, mtu)
	case verbHardwareAddr:
		addr, err := net.ParseMAC(e.Value)
		if err != nil {
			return err
		}
		return n.netlink.LinkSetHardwareAddr(link, addr)
	case verbAddress:
		p, err := netip.ParsePrefix(e.Value)
		if err != nil {
			return err
		}
		return n.netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)})
	case verbRoute:
		r, err := parseRoute(e.Value)
		if err != nil {
			return err
		}
		return n.netlink.RouteDel(e.Link.route(r))
	case verbMaster:
		index, _ := strconv.Atoi(e.Value)
		return n.netlink.LinkSetMasterByIndex(link, index)
	}
	return fmt.Errorf("unknown verb %q", e.Verb)
}
