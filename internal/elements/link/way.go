package link

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport"
	"tmelink/internal/transport/proxy"
)

// way is one of the ways to the peer, of which a link goes one at a time: a --remote
// or a <connection>, with all that may differ between them. The first is the best.
type way struct {
	host    tmesh.Word // of --remote; its text is empty where the peer comes by itself
	port    uint16
	proto   protocol
	proxy   *proxyWords // nil: there is none
	timeout time.Duration
}

// makeWays gives what the words say of where the peer is, one way at least.
func (c *config) makeWays() []way {
	if len(c.remotes) == 0 {
		return []way{{proto: c.proto, proxy: c.proxy.used(), timeout: c.connectTimeout}}
	}
	var ways []way
	for _, r := range c.remotes {
		w := way{host: r.host, port: r.port, proto: c.proto, proxy: c.proxy.used(), timeout: c.connectTimeout}
		if w.port == 0 {
			w.port = c.remotePort
		}
		if r.proto != nil {
			family := w.proto.family
			w.proto = *r.proto
			if w.proto.family == 0 {
				w.proto.family = family
			}
		}
		if b := r.block; b != nil {
			if p := b.proxy.used(); p != nil {
				w.proxy = p
			}
			if b.has("--connect-timeout") || b.has("--server-poll-timeout") {
				w.timeout = b.connectTimeout
			}
		}
		ways = append(ways, w)
	}
	if c.forced == "" {
		return ways
	}
	kept := slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return w.transport() != c.forced })
	if len(kept) == 0 {
		return ways // which is a fault
	}
	return kept
}

// mode is the role of the link's sockets: a tcp-server has one way.
func (c *config) mode() openvpn.Proto { return c.ways[0].proto.mode }

// tcp says whether every way is TCP, and udp whether every one is UDP.
func (c *config) tcp() bool { return !slices.ContainsFunc(c.ways, way.udp) }
func (c *config) udp() bool { return !slices.ContainsFunc(c.ways, way.tcp) }

func (w way) tcp() bool { return w.proto.tcp() }
func (w way) udp() bool { return !w.proto.tcp() }

// transport is the way's protocol below the link's.
func (w way) transport() string {
	if w.tcp() {
		return "tcp"
	}
	return "udp"
}

// target is whom a proxy is to reach.
func (w way) target() proxy.Target { return proxy.Target{Host: w.host.Text, Port: w.port} }

// relayHeader is how long the header can be, in bytes, that a SOCKS proxy wants before
// each datagram: for the peer's name at first, and then for an address of IPv6.
func (w way) relayHeader() int {
	if w.proxy == nil || w.tcp() {
		return 0
	}
	return max(proxy.HeaderIPv6, len(proxy.AppendHeader(nil, w.target())))
}

// String names the way: "udp a.example port 1194", and the proxy that it leads through.
func (w way) String() string {
	text := w.transport() + " " + w.host.Text + fmt.Sprintf(" port %d", w.port)
	if w.host.Text == "" {
		text = w.transport() + " whoever comes"
	}
	if w.proxy != nil {
		text += " through the " + w.proxy.name()
	}
	return text
}

// family is that of all ways, 0 if they differ.
func (c *config) family() transport.Family {
	for _, w := range c.ways[1:] {
		if w.proto.family != c.ways[0].proto.family {
			return 0
		}
	}
	return c.ways[0].proto.family
}

// wayOptions are the words that concern the ways to the peer.
func (c *config) wayOptions() []element.Option {
	return []element.Option{
		{Name: "--remote", Values: "HOST [PORT] [PROTO]", Repeat: true, Doc: "The peer. Several are ways to it, the first of them the best: each is tried with all its addresses, one after the other until one leads to the peer. They may differ in their protocol, so that TCP is the way where UDP is closed. On another than the best one it is tried every --remote-return seconds whether a better one works again. Without --remote a UDP link floats: whoever sends is the peer; and a tcp-server takes any peer.",
			Set: c.setRemote},
		{Name: "--connection", Values: "OPTION…", Repeat: true, Doc: "A way to the peer with words of its own: in quotes, over several lines, what stands between <connection> and </connection> in a profile, one option in each line and without dashes. It has one `remote`, and where they differ from the link's `port`, `rport`, `proto`, `http-proxy` and its options, `socks-proxy` and `connect-timeout`. Other options are the link's and stand outside.",
			Set: c.setConnection},
		{Name: "--remote-random", Doc: "Try the ways in an order that is made by chance at the start; then none is better than another.",
			Set: func(element.Values) error { c.random = true; return nil }},
		{Name: "--proto-force", Values: "udp|tcp", Doc: "Use only the ways of this protocol.",
			Set: func(v element.Values) error {
				if v.Text(0) != "udp" && v.Text(0) != "tcp" {
					return v.Faultf(0, "%q is neither udp nor tcp", v.Text(0))
				}
				c.forced = v.Text(0)
				return nil
			}},
		{Name: "--remote-return", Values: "SECONDS", Doc: "How often a link that does not go its best way looks whether a better one works again, 20 if not given; it changes over without losing the other before. 0 is never. Not OpenVPN's, which stays where it is. A UDP way without keys works if something is heard, so that the ends must ping.",
			Set: func(v element.Values) (err error) { c.lookAgain, err = v.Seconds(0); return err }},
	}
}

// setConnection takes a block, whose options are words that begin with "--".
func (c *config) setConnection(v element.Values) error {
	b := newConfig()
	b.dir = c.dir
	options := b.blockOptions()
	known := map[string]bool{}
	for _, o := range options {
		known[o.Name] = true
	}
	args := element.Args{Pos: v.Name.Pos}
	for _, w := range v.Words {
		if known[w.Text] {
			w.Quoted = false
			b.given[w.Text] = w
		}
		args.Words = append(args.Words, w)
	}
	if err := args.Parse(options); err != nil {
		return err
	}
	if len(b.remotes) != 1 { // a list of words, not a text
		return tmesh.Faultf(v.Name.Pos, "--connection: it has one remote, and this one has %d", len(b.remotes))
	}
	if err := b.checkProxyWords(); err != nil {
		return err
	}
	r := b.remotes[0]
	r.block = b
	if r.port == 0 && (b.has("--rport") || b.has("--port")) {
		r.port = b.remotePort
	}
	if r.proto == nil && b.has("--proto") {
		r.proto, r.word = &b.proto, b.given["--proto"]
	}
	c.remotes = append(c.remotes, r)
	return nil
}

// blockOptions are the options of a <connection>.
func (c *config) blockOptions() []element.Option {
	return slices.DeleteFunc(c.options(), func(o element.Option) bool {
		return !OwnOfConnection(strings.TrimPrefix(o.Name, "--")) && (o.Set != nil || o.Refused != "")
	})
}

// OwnOfConnection says of an option, named without dashes, whether each <connection>
// may have its own; others are the link's.
func OwnOfConnection(name string) bool {
	switch name {
	case "remote", "port", "rport", "proto", "http-proxy", "http-proxy-user-pass", "http-proxy-option",
		"socks-proxy", "connect-timeout", "server-poll-timeout":
		return true
	}
	return false
}
