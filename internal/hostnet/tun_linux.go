package hostnet

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

// TunNode is the device through which Linux makes TAP devices
// (Documentation/networking/tuntap.rst).
const TunNode = "/dev/net/tun"

// TAPOptions is what is asked of a TAP device.
type TAPOptions struct {
	Node   string // the path of the tun driver's device; "": TunNode
	Name   string // the interface's; "": the first tapN that is free, from tap0
	Queues int    // how many descriptors it has; 0 is 1
	// Offload has the kernel leave checksums and segmentation to us, as far
	// as it can, and puts a header before each frame: see TAP.Virtio.
	Offload bool
}

// TAP is an open TAP device: a Link whose frames Files read and write, one a
// call, without packet information.
type TAP struct {
	Link
	// Files are the device's queues, one at least. They are non-blocking and
	// known to Go's poller.
	Files []*os.File
	// Persistent says that the device was there before and stays when it is
	// closed; otherwise it goes with it.
	Persistent bool
	// Virtio says that ethernet.VirtioLen bytes stand before each frame, read
	// or written. Without it every frame is finished.
	Virtio bool
	// Takes is what the kernel takes unfinished.
	Takes ethernet.Offloads

	node  string
	flags uint16 // without those of offloads
}

// OpenTAP opens a TAP device, which is made if it does not exist. What the
// kernel does not grant of the offloads is left out; see TAP.Takes.
func (n *Namespace) OpenTAP(o TAPOptions) (*TAP, error) {
	var tap *TAP
	err := n.Do(func() (err error) {
		tap, err = n.openTAP(o)
		return err
	})
	return tap, err
}

func (n *Namespace) openTAP(o TAPOptions) (*TAP, error) {
	existing, err := n.findTAP(o.Name)
	if err != nil {
		return nil, err
	}
	tap := &TAP{Link: Link{Name: o.Name, ns: n}, Virtio: o.Offload, node: o.Node}
	if tap.node == "" {
		tap.node = TunNode
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if o.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	if existing != nil {
		if existing.Flags&netlink.TUNTAP_MULTI_QUEUE != 0 {
			flags |= unix.IFF_MULTI_QUEUE // the driver wants to be asked for what the device has
		} else if o.Queues > 1 {
			return nil, fmt.Errorf("open tap device %s: it was made for one queue; make it with `ip tuntap add %s mode tap multi_queue`, or leave queues out", o.Name, o.Name)
		}
	}
	tap.flags = flags
	fds, err := tap.attachAll(max(o.Queues, 1))
	if err != nil {
		closeAll(fds)
		return nil, err
	}
	link, err := n.netlink.LinkByName(tap.Name)
	if err != nil {
		closeAll(fds)
		return nil, fmt.Errorf("look up tap device %s: %w", tap.Name, err)
	}
	tap.Index = link.Attrs().Index
	// The descriptors are given to the poller only now: before TUNSETIFF the
	// driver reports an error to whoever polls.
	for _, fd := range fds {
		tap.Files = append(tap.Files, os.NewFile(uintptr(fd), tap.Name))
	}
	return tap, nil
}

// attachAll opens the device's queues. It gives those that are open with an
// error, too.
func (tap *TAP) attachAll(queues int) (fds []int, err error) {
	for range queues {
		fd, err := unix.Open(tap.node, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fds, fmt.Errorf("open %s: %w", tap.node, explainNode(err, tap.node))
		}
		fds = append(fds, fd)
		if err := tap.attach(fd); err != nil {
			return fds, err
		}
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// Close closes the device, and takes back what was asked of one that stays.
func (tap *TAP) Close() error {
	var errs []error
	for _, f := range tap.Files {
		errs = append(errs, f.Close())
	}
	if tap.Persistent && tap.Virtio {
		errs = append(errs, tap.ns.Do(func() error { return tap.ns.plain(tap.node, tap.Name) }))
	}
	return errors.Join(errs...)
}

// plain gives a persistent device the flags that it was made with, and no
// offloads: the driver keeps those of whoever had it last. They mean nothing,
// since whoever opens a device says what he wants, but a host shows them. Another
// one who has the device now needs nothing of that.
func (n *Namespace) plain(node, name string) error {
	existing, err := n.findTAP(name)
	if err != nil || existing == nil || existing.Flags&netlink.TUNTAP_VNET_HDR == 0 || existing.NonPersist || existing.Queues > 0 {
		return nil
	}
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", node, err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TAP | uint16(existing.Flags&(netlink.TUNTAP_MULTI_QUEUE|netlink.TUNTAP_NO_PI)))
	switch err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); {
	case errors.Is(err, unix.EBUSY):
		return nil
	case err != nil:
		return fmt.Errorf("restore the flags of tap device %s: %w", name, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0); err != nil {
		return fmt.Errorf("turn off the offloads of tap device %s: %w", name, err)
	}
	return nil
}

// findTAP looks for an interface of the name and refuses one that is no TAP
// device. It gives nil where there is none.
func (n *Namespace) findTAP(name string) (*netlink.Tuntap, error) {
	if name == "" {
		return nil, nil
	}
	link, err := n.netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up interface %s: %w", name, err)
	}
	tap, ok := link.(*netlink.Tuntap)
	if !ok || tap.Mode != netlink.TUNTAP_MODE_TAP {
		return nil, fmt.Errorf("open tap device %s: the interface of that name is no tap device; take another name, or tme/host/bsd/bpf for an interface that exists", name)
	}
	return tap, nil
}

// attach makes fd a queue of the device (TUNSETIFF) and settles the offloads,
// in place of those that an earlier owner may have left on it. The first queue
// finds out what the kernel grants, and the name.
func (tap *TAP) attach(fd int) error {
	flags := tap.flags
	asked := tap.Name
	if asked == "" {
		asked = "tap%d"
	}
	if tap.Virtio {
		flags |= unix.IFF_VNET_HDR
	}
	req, err := unix.NewIfreq(asked)
	if err != nil {
		return fmt.Errorf("open tap device %s: %w", tap.Name, err)
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return explainAttach(err, tap.Name)
	}
	tap.Name = req.Name()
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, req); err != nil {
		return fmt.Errorf("read the flags of tap device %s: %w", tap.Name, err)
	}
	tap.Persistent = req.Uint16()&unix.IFF_PERSIST != 0
	if tap.Virtio {
		// QEMU, say, may have left another length.
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, ethernet.VirtioLen); err != nil {
			return fmt.Errorf("set the header's length on tap device %s: %w", tap.Name, err)
		}
	}
	return tap.setOffloads(fd)
}

// Bits of TUNSETOFFLOAD (linux/if_tun.h).
const (
	tunChecksum = 0x01
	tunTSO4     = 0x02
	tunTSO6     = 0x04
	tunECN      = 0x08
	tunUSO4     = 0x20
	tunUSO6     = 0x40
)

// offloadSets are what is asked for, one after the other. USO came with Linux
// 6.2; a kernel that knows a set at all grants all of it.
var offloadSets = []struct {
	bits  int
	takes ethernet.Offloads
}{
	{tunChecksum | tunTSO4 | tunTSO6 | tunECN | tunUSO4 | tunUSO6, ethernet.Checksum | ethernet.TSO4 | ethernet.TSO6 | ethernet.USO},
	{tunChecksum | tunTSO4 | tunTSO6 | tunECN, ethernet.Checksum | ethernet.TSO4 | ethernet.TSO6},
	{tunChecksum | tunTSO4 | tunTSO6, ethernet.Checksum | ethernet.TSO4 | ethernet.TSO6},
	{tunChecksum, ethernet.Checksum},
	{0, 0},
}

func (tap *TAP) setOffloads(fd int) error {
	sets := offloadSets
	if !tap.Virtio {
		sets = sets[len(sets)-1:]
	}
	var err error
	for _, s := range sets {
		if err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, s.bits); err == nil {
			tap.Takes = s.takes
			return nil
		}
	}
	return fmt.Errorf("set the offloads of tap device %s: %w", tap.Name, err)
}

func explainNode(err error, node string) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w (the tun driver is missing: `modprobe tun`, and in a container hand the device in)", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (run it with sudo, or let this user open the device: `chmod 0666 %s`)", err, node)
	}
	return err
}

func explainAttach(err error, name string) error {
	shown := name
	if shown == "" {
		shown = "tap0"
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("open tap device %s: %w (run it with sudo, or give the program the privilege with `setcap cap_net_admin+ep PROGRAM`, or name a persistent device of yours, made once with `ip tuntap add %s mode tap user USER`)", name, err, shown)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("open tap device %s: %w (another process has it: stop that one, or take another name)", name, err)
	}
	return fmt.Errorf("open tap device %s: %w", name, err)
}
