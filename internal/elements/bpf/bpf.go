// Package bpf is the element type tme/host/bsd/bpf: a machine's place on an
// Ethernet interface of the host, by a packet socket (Linux) or /dev/bpf (the
// BSDs and macOS).
//
// What the interface receives, what the host sends on it and what other packet
// sockets send on it flows to the machine; what the machine sends goes out on
// the interface as it is. A machine never gets its own frames back, also not as
// the copies that the owner of a TAP reflects (see sources). The package
// changes nothing on the host but the promiscuous mode of the interface, which
// the kernel ends with the socket; it makes no interface and configures none, but
// for the type tme/host/netns (netns*.go), whose packet socket is on a veth pair
// that package hostnet makes and removes.
package bpf

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/bsd/bpf",
		Summary: "a place on an Ethernet interface of the host, by packet sockets",
		Doc: "The machine takes part in the Ethernet of an interface of the host: a network card's, a bridge's, or the TAP of another element or program. " +
			"It hears what the interface receives, what the host itself sends there and what other packet sockets send, as far as it is for the machine's addresses, for broadcast or for a group that it joined. Behind a link or a switch, and with promisc, it hears everything. The host itself hears the machine only on a TAP whose owner reflects, as tme/host/tun/tap does: on a network card or a bridge the kernel sends a packet socket's frames out and not up. To talk to the host there, join its bridge with tme/host/tun/tap bridge NAME.\n\n" +
			"On a TAP whose owner reflects to the host what packet sockets put on it, the copies are told by their source addresses: what was sent from an address here, or seen going out, is not taken in again for 5 seconds.\n\n" +
			"Where the interface does not exist yet, as when another machine's TAP is to make it, start waits up to 5 seconds for it. An interface that goes down is waited for; one that is removed ends the connection.\n\n" +
			"Needs root or CAP_NET_RAW on Linux, and the right to open /dev/bpf elsewhere. Windows has no packet sockets.",
		Example:        "tap1: tme/host/tun/tap inet 10.0.77.1 netmask 255.255.255.0\nbpf1 at le0: tme/host/bsd/bpf interface tap0",
		MaxConnections: 1,
		Options:        options(&config{}),
		New:            New,
	})
}

// config is what the arguments say.
type config struct {
	iface   string        // "": the first that is up and has an address
	delay   time.Duration // 0: none
	buffer  int           // bytes; 0: as much as is good for the platform
	promisc bool
}

func options(c *config) []element.Option {
	return []element.Option{
		{Name: "interface", Values: "NAME", Doc: "The interface of the host. The default is the first one that is up, is not a loopback, carries Ethernet and has an address.",
			Set: func(v element.Values) (err error) { c.iface, err = v.InterfaceName(0); return }},
		{Name: "delay", Values: "USEC", Doc: "Hold back what comes in, so that no frame reaches the machine earlier than USEC microseconds (0 to 1000000) after it came; 10000 helps guests whose drivers do not expect an answer at once.",
			Set: func(v element.Values) error {
				n, err := v.Int(0, 0, 1000000)
				c.delay = time.Duration(n) * time.Microsecond
				return err
			}},
		{Name: "promisc", Doc: "Hand over every frame of the interface, whatever addresses the machine listens to.",
			Set: func(element.Values) error { c.promisc = true; return nil }},
		{Name: "rbufsz", Values: "BYTES", Doc: "The size of the kernel's receive buffer, 4096 to 67108864. The default is 7 MiB on Linux and 512 KiB elsewhere, or what the host allows of it.",
			Set: func(v element.Values) (err error) { c.buffer, err = v.Int(0, 4096, 64<<20); return }},
	}
}

// Element is a packet socket. It has one port.
type Element struct {
	port *port
}

// New makes an element of type tme/host/bsd/bpf from its arguments.
func New(env element.Env, args element.Args) (element.Element, error) {
	var c config
	if err := args.Parse(options(&c)); err != nil {
		return nil, err
	}
	return &Element{port: newPort(c, env.Log)}, nil
}

// Attach gives the port. Its side of a connection has no arguments.
func (e *Element) Attach(args element.Args) (ethernet.Port, error) {
	return e.port, args.Parse(nil)
}

// How long Start waits for an interface: appearWait until there is one of the
// name, and settleWait for it to come up, because who makes a TAP gives it its
// MTU before that. An interface that stays down is taken as it is.
const (
	appearWait = 5 * time.Second
	settleWait = 500 * time.Millisecond
	lookEvery  = 20 * time.Millisecond
)

// Start opens the socket on the interface.
func (e *Element) Start(ctx context.Context) error {
	p := e.port
	name := p.conf.iface
	if name == "" {
		ifi, err := firstInterface()
		if err != nil {
			return err
		}
		name = ifi.Name
	}
	ifi, err := e.await(ctx, name)
	if err != nil {
		return err
	}
	if err := p.open(ifi); err != nil {
		return err
	}
	p.log.Info("on interface "+name, "mtu", ifi.MTU)
	return nil
}

// await waits for the interface. Whether the element may open one at all is
// asked first, so that nobody waits for a refusal.
func (e *Element) await(ctx context.Context, name string) (*net.Interface, error) {
	if err := allowed(); err != nil {
		return nil, fmt.Errorf("listen on interface %q: %w", name, err)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	began := time.Now()
	var appeared time.Time
	for said := false; ; {
		ifi, err := net.InterfaceByName(name)
		switch {
		case err == nil && appeared.IsZero():
			appeared = time.Now()
			fallthrough
		case err == nil:
			if ifi.Flags&net.FlagUp != 0 || time.Since(appeared) > settleWait {
				return ifi, nil
			}
		case time.Since(began) > appearWait:
			return nil, noInterface(name)
		case !said:
			said = true
			e.port.log.Info("waiting for interface " + name)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for interface %q: %w", name, context.Cause(ctx))
		}
	}
}

// Close closes the port.
func (e *Element) Close() error { return e.port.Close() }

// Status says on which interface the element is.
func (e *Element) Status() string { return e.port.status() }

// firstInterface picks an interface as TME does: the first in the order of
// their numbers that is up, is not a loopback and has an address. One without
// a hardware address cannot carry Ethernet and is passed over.
func firstInterface() (*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the host's interfaces: %w", err)
	}
	slices.SortFunc(all, func(a, b net.Interface) int { return a.Index - b.Index })
	for _, ifi := range all {
		if ifi.Flags&net.FlagUp == 0 || ifi.Flags&net.FlagLoopback != 0 || len(ifi.HardwareAddr) != 6 {
			continue
		}
		if addrs, err := ifi.Addrs(); err == nil && len(addrs) > 0 {
			return &ifi, nil
		}
	}
	return nil, fmt.Errorf("no Ethernet interface of this host is up and has an address: name one with interface NAME (there %s)", listed(all))
}

func noInterface(name string) error {
	all, _ := net.Interfaces()
	names := make([]string, len(all))
	for i, ifi := range all {
		names[i] = ifi.Name
	}
	return fmt.Errorf("this host has no interface %q, and none came within %v (there %s)%s",
		name, appearWait, listed(all), element.DidYouMean(name, names))
}

// listed names some interfaces: "is lo" or "are lo, eth0".
func listed(all []net.Interface) string {
	var names []string
	for _, ifi := range all {
		if len(names) == 8 {
			names = append(names, "…")
			break
		}
		names = append(names, ifi.Name)
	}
	switch len(names) {
	case 0:
		return "is none"
	case 1:
		return "is " + names[0]
	}
	return "are " + strings.Join(names, ", ")
}
