package link

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport"
)

// parse reads a link's words. Its faults are *tmesh.Fault, all of them joined.
func parse(args element.Args, dir string) (*config, error) {
	c := newConfig()
	c.dir = dir
	args, err := c.withProfiles(args)
	if err != nil {
		return nil, err
	}
	for _, w := range slices.Backward(args.Words) {
		if strings.HasPrefix(w.Text, "--") {
			c.given[w.Text] = w
		}
	}
	wrong := args.Parse(c.options())
	faults := []error{wrong}
	c.ways = c.makeWays()
	check := func(err error) { faults = append(faults, err) }
	check(c.checkDevice())
	check(c.checkBinding(args.Pos))
	check(c.checkRemotes())
	check(c.checkTimers())
	check(c.checkProxies())
	check(c.checkPortShare())
	if wrong == nil { // else half of what the keys are made of may be missing
		faulty := c.checkKeys()
		check(faulty)
		if faulty == nil { // else it is not known what sealing adds to a packet
			check(c.checkFragment())
			check(c.checkDatagram())
		}
	}
	check(c.checkMTUTest())
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	c.noteIdle(args.NoEffect)
	return c, nil
}

// at makes a fault at an option that was given.
func (c *config) at(option, format string, args ...any) error {
	return tmesh.Faultf(c.given[option].Pos, option+": "+format, args...)
}

func (c *config) has(option string) bool {
	_, ok := c.given[option]
	return ok
}

func (c *config) checkDevice() error {
	what := c.deviceType
	option := "--dev-type"
	if what == "" {
		what, option = c.device, "--dev"
	}
	if what == "" || what == "tap" || option == "--dev" && strings.HasPrefix(what, "tap") {
		return nil
	}
	return c.at(option, "%q is not a TAP; a link carries Ethernet frames: say --dev tap, here and at the peer", what)
}

func (c *config) checkBinding(missing tmesh.Pos) error {
	switch {
	case !c.nobind && !c.has("--local"):
		return tmesh.Faultf(missing, "--local is missing: the address, name or interface of this host that the link is to use "+
			"(0.0.0.0 for every one; or --nobind with a --remote)")
	case !c.nobind:
		return nil
	case c.has("--local"):
		return c.at("--nobind", "it contradicts --local; leave one of them out")
	case c.has("--bind"):
		return c.at("--nobind", "it contradicts --bind; leave one of them out")
	case c.has("--lport"):
		return c.at("--nobind", "it contradicts --lport; leave one of them out")
	case c.mode() == openvpn.TCPServer:
		return c.at("--nobind", "a tcp-server must be bound for its peer to find it; give --local instead")
	case !c.has("--remote"):
		return c.at("--nobind", "without --remote neither end could find the other; give one, or --local instead")
	}
	return nil
}

func (c *config) checkRemotes() error {
	var faults []error
	bad := func(at tmesh.Pos, format string, args ...any) {
		faults = append(faults, tmesh.Faultf(at, "--remote: "+format, args...))
	}
	first := c.ways[0]
	if first.proto.mode == openvpn.TCPClient && !c.has("--remote") && !c.has("--connection") {
		faults = append(faults, c.at("--proto", "a tcp-client needs a --remote to connect to"))
	}
	if c.forced != "" && first.transport() != c.forced {
		faults = append(faults, c.at("--proto-force", "there is no way of this protocol; give a --remote that has it, or leave it out"))
	}
	if c.tcp() && c.float {
		faults = append(faults, c.at("--float", "a TCP connection cannot float; leave it out, or use --proto udp"))
	}
	local, _ := netip.ParseAddr(c.local)
	if family := c.family(); local.IsValid() && !family.Has(local) {
		faults = append(faults, c.at("--local", "%s is not an %s address, as --proto wants", local, family))
	}
	zoned := c.socket.Device != ""
	if !zoned && lacksZone(local) {
		faults = append(faults, c.at("--local", "%s is on every link; write its interface behind it: %s%%eth0", local, local))
	}
	zoned = zoned || !local.IsValid() && c.local != "" || local.Zone() != ""
	for i, w := range c.ways {
		server := w.proto.mode == openvpn.TCPServer
		if i > 0 && (server || first.proto.mode == openvpn.TCPServer) {
			bad(w.host.Pos, "a tcp-server has one peer, and no other way to it; leave this one out")
			continue
		}
		addr, err := netip.ParseAddr(w.host.Text)
		if err != nil || w.proxy != nil { // what can be reached from there is the proxy's matter
			continue
		}
		switch {
		case !w.proto.family.Has(addr):
			bad(w.host.Pos, "%s is not an %s address, as the protocol wants", addr, w.proto.family)
		case local.IsValid() && transport.Of(local) != transport.Of(addr):
			bad(w.host.Pos, "%s cannot be reached from %s of --local: one is IPv4, the other IPv6", addr, local)
		case !zoned && lacksZone(addr) && !server:
			bad(w.host.Pos, "%s is on every link; write the interface of this host behind it: %s%%eth0", addr, addr)
		case addr == local && w.port == c.localPort && !server:
			bad(w.host.Pos, "%s port %d is the link's own end; give one of them another port", addr, c.localPort)
		}
	}
	return errors.Join(faults...)
}

// lacksZone says whether an address does not say on which link it is (RFC 4007).
func lacksZone(a netip.Addr) bool {
	return a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == ""
}

// noteIdle lists the options that were given and have no effect together with
// the others.
func (c *config) noteIdle(idle *[]tmesh.Word) {
	if idle == nil {
		return
	}
	var names []string
	connects := func(w way) bool { return w.proto.mode == openvpn.TCPClient || w.proxy != nil }
	if len(c.ways) == 1 {
		names = append(names, "--remote-random", "--remote-return")
		if !connects(c.ways[0]) {
			names = append(names, "--connect-timeout", "--server-poll-timeout")
		}
	}
	if c.mode() == openvpn.TCPServer {
		names = append(names, "--rport")
	}
	if c.tcp() {
		names = append(names, "--offload")
	}
	if c.udp() {
		names = append(names, "--socket-flags")
	}
	if len(c.remotes) == 0 {
		names = append(names, "--float", "--rport")
	}
	if len(c.remotes) > 0 || c.tcp() || c.timers.Silence == 0 {
		names = append(names, "--ping-timer-rem")
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if word, ok := c.given[name]; ok {
			*idle = append(*idle, word)
		}
	}
}

func sorted(options []element.Option) []element.Option {
	slices.SortFunc(options, func(a, b element.Option) int { return strings.Compare(a.Name, b.Name) })
	return options
}
