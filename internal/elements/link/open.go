package link

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"tmelink/internal/openvpn"
	"tmelink/internal/transport"
)

// opening is a circuit on its way: what open has made ready for connect.
type opening struct {
	link     *Link
	circuit  *circuit
	way      way
	udp      *transport.UDP
	listener *transport.Listener
	tcp      transport.TCPConfig
	routes   []transport.Route // of a tcp-client, or to the proxy that leads to the peer
	relayed  transport.RelayedConfig
	level    slog.Level // of saying what is being done
}

// open looks up the local address and the addresses of a tour's next way, and opens the
// socket where one can be opened before there is a peer.
func (l *Link) open(ctx context.Context, t *tour) (*opening, error) {
	c := l.config
	var locals []netip.Addr
	if !c.nobind {
		var err error
		if locals, err = transport.ResolveLocal(ctx, c.local, c.family()); err != nil {
			return nil, fmt.Errorf("--local: %w", err)
		}
	}
	peers, err := t.step(ctx, l.names, func(remote netip.Addr) bool {
		_, ok := forRemote(locals, remote)
		return ok || c.nobind
	})
	if err != nil {
		return nil, err
	}
	var routes []transport.Route
	for _, peer := range peers {
		r := transport.Route{To: peer}
		if !c.nobind {
			addr, _ := forRemote(locals, peer.Addr())
			r.Local = netip.AddrPortFrom(addr, c.localPort)
		}
		routes = append(routes, r)
	}
	if len(routes) == 0 {
		routes = []transport.Route{{Local: netip.AddrPortFrom(locals[0], c.localPort)}}
	}
	w := t.way()
	if w.tcp() || w.proxy != nil {
		t.triedAll() // a connection takes what answers first
	}
	return l.openSocket(ctx, w, routes)
}

// forRemote chooses the local address from which a remote one can be reached, of
// an interface's several rather one of the remote's scope (RFC 6724, rule 2).
func forRemote(locals []netip.Addr, remote netip.Addr) (netip.Addr, bool) {
	var found netip.Addr
	for _, a := range locals {
		if !transport.Of(remote).Has(a) {
			continue
		}
		if a.IsLinkLocalUnicast() == remote.IsLinkLocalUnicast() {
			return a, true
		}
		if !found.IsValid() {
			found = a
		}
	}
	return found, found.IsValid()
}

// openSocket opens the socket of a way; routes lead to where it begins, or have but the
// local address.
func (l *Link) openSocket(ctx context.Context, w way, routes []transport.Route) (o *opening, err error) {
	c := l.config
	limit := openvpn.MaxPacket(c.mtu)
	o = &opening{link: l, circuit: newCircuit(w), way: w, routes: routes, tcp: transport.TCPConfig{
		Socket: c.socket, Local: routes[0].Local, MaxPacket: limit, Counters: &l.port.counters, Log: l.log,
	}}
	switch w.proto.mode {
	case openvpn.UDP:
		var introduce func([]byte, netip.AddrPort) bool
		var recognize func([]byte) bool
		if c.security.keyed() {
			introduce, recognize = o.circuit.introduce, o.circuit.recognize
		}
		config := transport.UDPConfig{
			Introduce: introduce, Recognize: recognize,
			Socket: c.socket, Local: routes[0].Local, Float: c.float, Plain: c.noOffload, MaxPacket: limit,
			TooLong:  l.tellTooLong,
			Counters: &l.port.counters, Log: l.log,
		}
		if w.proxy != nil {
			o.relayed = transport.RelayedConfig{
				UDP: config, Proxy: routes, SOCKS: *w.proxy.socks, Remote: w.target(), Timeout: w.timeout,
			}
			break
		}
		for _, r := range routes {
			if r.To.IsValid() && r.Local == routes[0].Local {
				config.Remotes = append(config.Remotes, r.To)
			}
		}
		o.circuit.race = newRace(config.Remotes, c.security.client)
		o.udp, err = transport.OpenUDP(ctx, config)
	case openvpn.TCPServer:
		o.listener, err = l.listen(ctx, o.tcp)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// connect waits for the peer where there must be one, and begins the circuit. The
// opening is used up.
func (o *opening) connect(ctx context.Context) (*circuit, error) {
	conn, err := o.conn(ctx)
	if err != nil {
		return nil, err
	}
	o.circuit.conn = conn
	if o.circuit.session, err = o.link.session(o.way, conn, time.Now()); err != nil {
		conn.Close()
		return nil, err
	}
	o.circuit.begun.Store(o.circuit.session)
	return o.circuit, nil
}

// conn gives the circuit's socket.
func (o *opening) conn(ctx context.Context) (transport.Conn, error) {
	l := o.link
	switch {
	case o.udp != nil:
		o.say(ctx, "link is open", "local", o.udp.Local(), "peer", peerName(o.udp.Peer()))
		return o.udp, nil
	case o.listener != nil:
		l.log.Info("waiting for a peer to connect", "local", o.listener.Local())
		conn, err := l.accept(ctx, o.listener)
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
	if o.way.proxy != nil {
		return o.connThrough(ctx)
	}
	o.say(ctx, "connecting", "peer", addresses(o.routes))
	conn, err := transport.Dial(ctx, o.tcp, o.routes, o.way.timeout)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (o *opening) say(ctx context.Context, what string, args ...any) {
	o.link.log.Log(ctx, o.level, what, args...)
}

// addresses are those that routes lead to.
func addresses(routes []transport.Route) string {
	var all []string
	for _, r := range routes {
		all = append(all, r.To.String())
	}
	return strings.Join(all, ", ")
}

// allowed are the addresses from which a tcp-server takes a connection; nil: any.
func (l *Link) allowed(ctx context.Context) ([]netip.Addr, error) {
	w := l.config.ways[0]
	if w.host.Text == "" {
		return nil, nil
	}
	addrs, err := l.names(ctx, w.host.Text, w.proto.family)
	if err != nil {
		return nil, fmt.Errorf("--remote: %w", err)
	}
	return addrs, nil
}
