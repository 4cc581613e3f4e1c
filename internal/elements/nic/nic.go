// Package nic is the machine's own network interfaces, by the types that TME has
// for their chips and boards: a LANCE (le), an i82586 (ie) and a 3c400 (ec).
//
// An interface with an address, or with a link that may bring it one, has a
// built-in host behind it, which answers on the wire and carries out commands.
// Frames pass between the connection and the host's port and go nowhere else: the
// interface has no device on this computer and opens no socket. One to which an
// emulator is attached is an element of the type by which that is done. Any other
// one that is connected waits for QEMU at a socket that has its name.
package nic

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/netstack"
)

const doc = `With inet or inet6 a built-in host stands behind the interface: an IP stack of its own, inside tmelink, that needs no device and no privilege. It answers ARP, ping and IPv6 neighbours, serves echo and discard (TCP and UDP, ports 7 and 9) and a small page (http, port 80) that names it and gives bytes to test transfers with, and carries out the commands below. Besides the addresses given it has the IPv6 link-local one that follows from its hardware address.

Connected to a link that learns addresses and routes from its peer, as the client of an OpenVPN server does, the built-in host takes them, with the name servers, as if by DHCP; what inet, inet6, mtu and dns give it stays. Commands that need an address then wait for it, a minute at most.

With attach the interface is that of an emulator: of QEMU, say, which runs the machine that the description is of. The emulator may come and go; what is sent to it meanwhile is dropped.

    le0: tme/ic/am7990 attach qemu:unix:/run/le0.sock
    link0 at le0: tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2
    qemu-system-sparc -M SS-5 … -netdev stream,id=n0,server=off,addr.type=unix,addr.path=/run/le0.sock -net nic,netdev=n0

Otherwise, without attach, inet and inet6, a connected interface waits for QEMU at a socket of its own, and what is sent to it before is dropped: MACHINE/ELEMENT.sock in the folder tmelink below $XDG_RUNTIME_DIR, or where that is not set in tmelink-UID in the one for temporary files. "tmelink attach le0 -- qemu-system-sparc …" finds it. Where that cannot be, because the folder is not this user's alone, or another tmelink has the socket, the log says so and the machine goes on without it.

Connections to the parts of a whole machine, such as the bus in "le0 at sbus0 slot 0", are left out with them.`

func init() {
	for _, t := range []element.Type{
		{Path: "tme/ic/am7990", Summary: "an Ethernet interface with a LANCE (le), for a built-in host or an emulator", Example: example("le0", "tme/ic/am7990")},
		{Path: "tme/ic/i82586", Summary: "an Ethernet interface with an i82586 (ie), for a built-in host or an emulator", Example: example("ie0", "tme/ic/i82586")},
		{Path: "tme/bus/multibus/3c400", Summary: "a 3Com 3c400 Ethernet board (ec), for a built-in host or an emulator", Example: example("ec0", `tme/bus/multibus/3c400 ether "02:60:8c:00:00:01"`)},
	} {
		board := strings.HasSuffix(t.Path, "3c400")
		t.Doc = doc
		t.MaxConnections = 1
		t.Unplugged = true
		t.Options = newConfig(board).options()
		t.Commands = commandOptions()
		t.New = func(env element.Env, args element.Args) (element.Element, error) {
			c := newConfig(board)
			if err := c.parse(args); err != nil {
				return nil, err
			}
			if c.attachAt.Name.Text != "" {
				return attach(env, c.attachAt, c.mtu, args.NoEffect)
			}
			return newInterface(env, c), nil
		}
		element.Register(t)
	}
}

func example(name, is string) string {
	return fmt.Sprintf(`%s: %s inet 10.0.77.1 netmask 255.255.255.0 gateway 10.0.77.254
link0 at %[1]s: tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2
command %[1]s ping 10.0.77.2 count 3`, name, is)
}

// Interface is the element.
type Interface struct {
	env  element.Env
	own  ethernet.Network // what the description gives the host
	host *netstack.Host
	port *port
	wait *waiting // for an emulator, where nothing else is behind the interface

	connected bool // Attach was called

	mu       sync.Mutex // guards what follows
	services *services  // nil until Start and after Close
	network  networkState
}

func newInterface(env element.Env, c *config) *Interface {
	i := &Interface{env: env, own: c.network(), host: netstack.New(c.host(env)), network: newNetworkState()}
	i.port = &port{Station: i.host.Port(), of: i}
	i.wait = newWaiting(env)
	return i
}

// plugged says whether a host stands behind the interface.
func (i *Interface) plugged() bool { return len(i.own.Addrs()) > 0 || i.guided() }

// Attach gives the interface's only port.
func (i *Interface) Attach(args element.Args) (ethernet.Port, error) {
	i.connected = true
	return i.port, args.Parse(nil)
}

// Start brings the built-in host and its services up, or waits for an emulator.
func (i *Interface) Start(ctx context.Context) error {
	switch {
	case !i.plugged() && !i.connected:
		i.env.Log.Info("nothing is plugged in")
		return nil
	case !i.plugged():
		if err := i.wait.start(ctx, i.port); err != nil {
			i.env.Log.Warn("nothing is plugged in, and no emulator can be: give the interface attach SPEC for an emulator, or inet ADDR for a built-in host", "err", err)
		}
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.host.Start(); err != nil {
		return err
	}
	var err error
	if i.services, err = serve(i.host, i.env); err != nil {
		return err
	}
	i.env.Log.Info("built-in host is up", "addrs", i.host.Addrs(), "hwaddr", i.host.HardwareAddr())
	if err := i.follow(); err != nil {
		i.env.Log.Warn("the built-in host is not set up as the link's peer asks", "err", err)
	}
	return nil
}

// Close ends the services and the host.
func (i *Interface) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.services != nil {
		i.services.close()
		i.services = nil
	}
	return errors.Join(i.wait.close(), i.host.Close())
}

// Status gives the addresses and how many neighbours the host knows.
func (i *Interface) Status() string {
	if !i.plugged() {
		return i.wait.status()
	}
	var words []string
	for _, a := range i.host.Addrs() {
		words = append(words, a.String())
	}
	status := fmt.Sprintf("%s at %s", strings.Join(words, " "), i.host.HardwareAddr())
	if table, err := i.host.Neighbours(); err == nil {
		known := 0
		for _, n := range table {
			if n.Resolved {
				known++
			}
		}
		status += fmt.Sprintf(", neighbours %d", known)
	}
	return status
}
