package tap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"tmelink/internal/ethernet"
	"tmelink/internal/hostnet"
)

// device is the open device and what was done for it.
type device struct {
	ns      *hostnet.Namespace
	tap     *hostnet.TAP
	changes *hostnet.Changes
	unwatch func()
	mtu     int
	// ready says that the up script, if there is one, has done its work: the
	// down script has something to undo.
	ready bool

	own     hostnet.Mark      // where the description's own changes end
	status  string            // what the description's own changes come to
	wanted  *ethernet.Network // by the last setNetwork
	carried *ethernet.Network // the one that was carried out as a whole
}

func (t *tap) start(ctx context.Context) (err error) {
	d := &t.device
	if d.ns, err = hostnet.OpenNamespace(t.cfg.netns); err != nil {
		return err
	}
	if d.tap, err = d.ns.OpenTAP(hostnet.TAPOptions{
		Node: t.cfg.node, Name: t.cfg.device, Queues: t.cfg.queues, Offload: !t.cfg.noOffload,
	}); err != nil {
		return err
	}
	if err := d.ns.Reclaim(ctx, d.tap.Name, t.env.Log); err != nil {
		t.env.Log.Warn("not all that a killed process left behind could be undone", "err", err)
	}
	d.changes = d.ns.Change(d.tap)
	if err := t.configure(); err != nil {
		return err
	}
	if d.unwatch, err = d.tap.Watch(func(s hostnet.LinkState) {
		t.port.host.Store(&host{addr: s.Addr, enslaved: s.Enslaved})
	}); err != nil {
		return err
	}
	state, err := d.tap.State()
	if err != nil {
		return err
	}
	d.mtu = state.MTU
	if err := t.port.open(d.tap, d.mtu, t.env.Log); err != nil {
		return err
	}
	uplinks, err := t.translate(ctx)
	if err != nil {
		return err
	}
	if err := t.runScript(ctx, "up", t.cfg.up); err != nil {
		return err
	}
	d.ready, d.own = true, d.changes.Mark()
	status := []string{d.tap.Name}
	for _, p := range t.cfg.networks() {
		status = append(status, p.String())
	}
	d.status = strings.Join(append(status, uplinks...), ", ")
	t.say(d.status)
	t.env.Log.Info("tap device is up", "interface", d.tap.Name, "hwaddr", state.Addr, "mtu", d.mtu, "existed", d.tap.Persistent, "offloads", d.tap.Takes)
	if err := t.follow(); err != nil {
		t.env.Log.Warn("the host is not set up as the link's peer asks", "interface", d.tap.Name, "err", err)
	}
	return nil
}

// configure makes the interface as the words ask for. What it has already stays
// untouched, so that a device prepared by somebody else needs no privilege.
func (t *tap) configure() error {
	c, d := &t.cfg, &t.device
	if c.mtu != 0 {
		if err := d.changes.SetMTU(c.mtu); err != nil {
			return err
		}
	}
	if err := t.setHardwareAddr(); err != nil {
		return err
	}
	if c.bridge != "" {
		if err := d.changes.JoinBridge(c.bridge); err != nil {
			return err
		}
		if c.hasAddress() {
			t.env.Log.Warn("an address on a bridge's port is of no use: the bridge itself wants it", "interface", d.tap.Name, "bridge", c.bridge)
		}
	}
	if c.inet.IsValid() {
		if err := d.changes.AddAddress(c.inet, c.broadcast); err != nil {
			return err
		}
	}
	if c.inet6.IsValid() {
		if err := d.changes.AddAddress(c.inet6, netip.Addr{}); err != nil {
			return err
		}
	}
	return d.changes.SetUp()
}

// setHardwareAddr gives the interface the address asked for. A new interface
// that joins a bridge gets one from the top of the range otherwise: a bridge
// takes the lowest address of its ports for its own, and must not change it for
// our sake.
func (t *tap) setHardwareAddr() error {
	d, addr := &t.device, t.cfg.hwaddr
	if addr == (ethernet.Addr{}) {
		if t.cfg.bridge == "" || d.tap.Persistent {
			return nil
		}
		state, err := d.tap.State()
		if err != nil {
			return err
		}
		addr = state.Addr
		addr[0] = 0xfe
	}
	return d.changes.SetHardwareAddr(addr)
}

// translate does AutoNAT and gives words about it for the status. What was not
// asked for by name may fail: then the log says why there is none.
func (t *tap) translate(ctx context.Context) ([]string, error) {
	c, d := &t.cfg, &t.device
	if !c.hasAddress() || c.nat == natNot {
		return nil, nil
	}
	switch {
	case c.nat == natNever:
		t.env.Log.Info("no nat: the description says nat none", "interface", d.tap.Name)
		return []string{"no nat"}, nil
	case c.bridge != "" && c.nat == natAuto:
		t.env.Log.Info("no nat: the interface is a bridge's port", "interface", d.tap.Name, "bridge", c.bridge)
		return []string{"no nat"}, nil
	}
	done, err := d.changes.Masquerade(ctx, hostnet.NAT{Networks: c.networks(), Uplink: c.uplink}, t.env.Log)
	if err != nil && c.nat == natAuto && ctx.Err() == nil {
		t.env.Log.Warn("no nat: it could not be set up", "interface", d.tap.Name, "err", err)
		return []string{"no nat"}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nat for %s: %w", d.tap.Name, err)
	}
	var said []string
	for _, n := range done {
		if n.Uplink == "" {
			t.env.Log.Info("no nat: "+n.Why, "interface", d.tap.Name, "network", n.Network)
			said = append(said, fmt.Sprintf("no nat for %s", n.Network))
			continue
		}
		t.env.Log.Info("nat", "interface", d.tap.Name, "network", n.Network, "uplink", n.Uplink)
		said = append(said, fmt.Sprintf("nat of %s by %s", n.Network, n.Uplink))
	}
	return said, nil
}

// stop takes back what start did, as far as start came.
func (t *tap) stop() error {
	d := &t.device
	var errs []error
	if d.unwatch != nil {
		d.unwatch()
	}
	if d.changes != nil {
		errs = append(errs, d.changes.Undo())
	}
	if d.tap != nil {
		errs = append(errs, d.tap.Close())
	}
	if d.ready {
		errs = append(errs, t.runScript(context.Background(), "down", t.cfg.down))
	}
	if d.ns != nil {
		errs = append(errs, d.ns.Close())
	}
	*d = device{}
	return errors.Join(errs...)
}
