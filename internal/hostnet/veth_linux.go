package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// VethOptions is what is asked of the far end of a veth pair.
type VethOptions struct {
	Name string         // the interface's; "": the first ethN that is free, from eth0
	Addr ethernet.Addr  // its hardware address; zero: a random one
	Inet []netip.Prefix // its IP addresses
	MTU  int            // of both ends
}

// Veth is a veth pair (veth(4)) whose far end is an interface of a namespace, as
// Link. The near end is in a namespace that has no name and nothing else in it, so
// that what comes out there reaches nobody but who opens a packet socket in it.
// Both ends go with that namespace, which the process alone holds: a killed one
// leaves nothing.
type Veth struct {
	Link
	near *Namespace
}

// NearEnd is the name of the near end, which nobody else sees.
const NearEnd = "tmelink"

// maxEth bounds the search for a free name.
const maxEth = 1000

// OpenVeth makes a veth pair with its far end in the namespace, up.
func (n *Namespace) OpenVeth(o VethOptions) (*Veth, error) {
	near, err := newNamespace()
	if err != nil {
		return nil, err
	}
	v := &Veth{near: near}
	if err := v.make(n, o); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func (v *Veth) make(n *Namespace, o VethOptions) error {
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: o.Name, PeerNamespace: netlink.NsFd(int(n.file.Fd()))}
	pair.Name, pair.MTU = NearEnd, o.MTU
	pair.PeerMTU = uint32(o.MTU)
	if o.Addr != (ethernet.Addr{}) {
		pair.PeerHardwareAddr = net.HardwareAddr(o.Addr[:])
	}
	if o.Name == "" {
		pair.PeerName = "eth0"
	}
	err := v.near.netlink.LinkAdd(pair)
	for i := 1; errors.Is(err, unix.EEXIST) && o.Name == "" && i < maxEth; i++ {
		pair.PeerName = fmt.Sprintf("eth%d", i)
		err = v.near.netlink.LinkAdd(pair)
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("make interface %s in network namespace %q: there is one of that name already", pair.PeerName, n.name)
	case err != nil:
		return fmt.Errorf("make interface %s in network namespace %q: %w", pair.PeerName, n.name, explain(err))
	}
	far, err := n.netlink.LinkByName(pair.PeerName)
	if err != nil {
		return fmt.Errorf("look up interface %s: %w", pair.PeerName, err)
	}
	v.Link = Link{Name: pair.PeerName, Index: far.Attrs().Index, ns: n}
	// It goes with the pair, so that nothing has to be undone.
	c := &Changes{ns: n, link: v.Link, fleeting: true}
	for _, p := range o.Inet {
		if err := c.AddAddress(p, netip.Addr{}); err != nil {
			return err
		}
	}
	if err := c.SetUp(); err != nil {
		return err
	}
	near, err := v.near.netlink.LinkByName(NearEnd)
	if err == nil {
		err = v.near.netlink.LinkSetUp(near)
	}
	if err != nil {
		return fmt.Errorf("bring the near end of %s up: %w", pair.PeerName, explain(err))
	}
	return nil
}

// Do calls fn on a thread that is where the near end is.
func (v *Veth) Do(fn func() error) error { return v.near.Do(fn) }

// Close removes the pair.
func (v *Veth) Close() error {
	var errs []error
	if link, err := v.near.netlink.LinkByName(NearEnd); err == nil {
		if err := v.near.netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("remove interface %s: %w", v.Link.Name, explain(err)))
		}
	}
	return errors.Join(append(errs, v.near.Close())...)
}

// newNamespace makes a namespace that goes when it is closed.
func newNamespace() (*Namespace, error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("open the thread's network namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("make a network namespace: %w", explain(err))
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	// An interface there speaks no IPv6 of its own. Where the switch cannot be
	// set, it sends a few frames to say that it is there, and answers nobody.
	os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	if netns.Set(home) == nil { // see Do
		runtime.UnlockOSThread()
	}
	if err != nil {
		return nil, fmt.Errorf("open the new network namespace: %w", err)
	}
	n := &Namespace{name: "of a veth pair", file: file}
	if n.netlink, err = netlink.NewHandleAt(netns.NsHandle(file.Fd()), unix.NETLINK_ROUTE); err != nil {
		file.Close()
		return nil, fmt.Errorf("open netlink in the new network namespace: %w", explain(err))
	}
	return n, nil
}
