package hostnet

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TunNode is the device through which Linux makes TAP devices
// (Documentation/networking/tuntap.rst).
const TunNode = "/dev/net/tun"

// TAP is an open TAP device: a Link whose frames File reads and writes, one a
// call, without packet information and without offloads. File is non-blocking
// and known to Go's poller.
type TAP struct {
	Link
	File *os.File
	// Persistent says that the device was there before and stays when File
	// is closed; otherwise it goes with it.
	Persistent bool
}

// OpenTAP opens the TAP device of a name, which is made if it does not exist;
// for "" it makes the first tapN that is free, from tap0. node is the path of
// the tun driver's device, as a rule TunNode.
func (n *Namespace) OpenTAP(node, name string) (*TAP, error) {
	var tap *TAP
	err := n.Do(func() (err error) {
		tap, err = n.openTAP(node, name)
		return err
	})
	return tap, err
}

func (n *Namespace) openTAP(node, name string) (*TAP, error) {
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	existing, err := n.findTAP(name)
	if err != nil {
		return nil, err
	}
	if existing != nil && existing.Flags&netlink.TUNTAP_MULTI_QUEUE != 0 {
		flags |= unix.IFF_MULTI_QUEUE // the driver wants to be asked for what the device has
	}
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", node, explainNode(err, node))
	}
	got, persistent, err := attach(fd, name, flags)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	link, err := n.netlink.LinkByName(got)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("look up tap device %s: %w", got, err)
	}
	// The descriptor is given to the poller only now: before TUNSETIFF the
	// driver reports an error to whoever polls.
	return &TAP{
		Link:       Link{Name: got, Index: link.Attrs().Index, ns: n},
		File:       os.NewFile(uintptr(fd), got),
		Persistent: persistent,
	}, nil
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

// attach makes fd the device of the name (TUNSETIFF) and turns off the
// offloads that an earlier owner may have left on it.
func attach(fd int, name string, flags uint16) (got string, persistent bool, err error) {
	asked := name
	if asked == "" {
		asked = "tap%d"
	}
	req, err := unix.NewIfreq(asked)
	if err != nil {
		return "", false, fmt.Errorf("open tap device %s: %w", name, err)
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return "", false, explainAttach(err, name)
	}
	got = req.Name()
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, req); err != nil {
		return "", false, fmt.Errorf("read the flags of tap device %s: %w", got, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0); err != nil {
		return "", false, fmt.Errorf("turn off the offloads of tap device %s: %w", got, err)
	}
	return got, req.Uint16()&unix.IFF_PERSIST != 0, nil
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
