package link

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tmelink/internal/openvpn"
	"tmelink/internal/transport"
	"tmelink/internal/transport/proxy"
)

// opening is a circuit on its way: what open has made ready for connect.
type opening struct {
	link     *Link
	circuit  *circuit
	udp      *transport.UDP
	listener *transport.Listener
	tcp      transport.TCPConfig
	peer     netip.AddrPort // of a tcp-client, or the proxy that leads to it
	relayed  transport.RelayedConfig
	through  proxy.Target
}

// open looks up the local address and the next remote, and opens the socket
// where one can be opened before there is a peer.
func (l *Link) open(ctx context.Context) (*opening, error) {
	c := l.config
	var locals []netip.Addr
	if !c.nobind {
		var err error
		if locals, err = transport.ResolveLocal(ctx, c.local, c.proto.family); err != nil {
			return nil, fmt.Errorf("--local: %w", err)
		}
	}
	peers, err := l.tour.step(ctx, l.names, func(remote netip.Addr) bool {
		_, ok := forRemote(locals, remote)
		return ok || c.nobind
	})
	if err != nil {
		return nil, err
	}
	var local netip.AddrPort
	switch {
	case c.nobind:
	case len(peers) > 0:
		addr, _ := forRemote(locals, peers[0].Addr())
		local = netip.AddrPortFrom(addr, c.localPort)
	default:
		local = netip.AddrPortFrom(locals[0], c.localPort)
	}
	return l.openSocket(ctx, local, peers)
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

func (l *Link) openSocket(ctx context.Context, local netip.AddrPort, peers []netip.AddrPort) (o *opening, err error) {
	c := l.config
	limit := openvpn.MaxPacket(c.mtu)
	o = &opening{link: l, circuit: newCircuit(), tcp: transport.TCPConfig{
		Socket: c.socket, Local: local, MaxPacket: limit, Counters: &l.port.counters, Log: l.log,
	}}
	if c.proxied() {
		r := c.remotes[l.tour.at]
		o.through = proxy.Target{Host: r.host.Text, Port: c.portOf(r)}
	}
	switch c.proto.mode {
	case openvpn.UDP:
		family := transport.Of(local.Addr())
		if len(peers) > 0 {
			family = transport.Of(peers[0].Addr())
		}
		var introduce func([]byte, netip.AddrPort) bool
		if c.security.keyed() {
			introduce = o.circuit.introduce
		}
		config := transport.UDPConfig{
			Introduce: introduce,
			Socket:    c.socket, Local: local, Float: c.float, Plain: c.noOffload, MaxPacket: limit,
			Remotes:  slices.DeleteFunc(peers, func(p netip.AddrPort) bool { return !family.Has(p.Addr()) }),
			Counters: &l.port.counters, Log: l.log,
		}
		if c.proxied() {
			o.relayed = transport.RelayedConfig{
				UDP: config, Proxy: peers[0], SOCKS: *c.proxy.socks, Remote: o.through, Timeout: c.connectTimeout,
			}
			break
		}
		o.udp, err = transport.OpenUDP(ctx, config)
	case openvpn.TCPServer:
		o.listener, err = transport.Listen(ctx, o.tcp)
	case openvpn.TCPClient:
		o.peer = peers[0]
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
	o.circuit.through = o.through
	if o.circuit.session, err = o.link.session(time.Now()); err != nil {
		conn.Close()
		return nil, err
	}
	return o.circuit, nil
}

// conn gives the circuit's socket.
func (o *opening) conn(ctx context.Context) (transport.Conn, error) {
	l := o.link
	switch {
	case o.udp != nil:
		l.log.Info("link is open", "local", o.udp.Local(), "peer", peerName(o.udp.Peer()))
		return o.udp, nil
	case o.listener != nil:
		// Like OpenVPN's, the listening socket is closed while a peer is
		// connected: a second one is refused by the kernel.
		defer o.listener.Close()
		defer context.AfterFunc(ctx, func() { o.listener.Close() })()
		l.log.Info("waiting for a peer to connect", "local", o.listener.Local())
		conn, err := o.listener.Accept(func(a netip.Addr) bool { return l.admits(ctx, a) })
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
	if l.config.proxied() {
		return o.connThrough(ctx)
	}
	l.log.Info("connecting", "peer", o.peer)
	conn, err := transport.Dial(ctx, o.tcp, o.peer, l.config.connectTimeout)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// lookUpTime bounds how long a connection may wait until its address is known to
// be the peer's or not.
const lookUpTime = 10 * time.Second

// admits says whether a tcp-server takes a connection from an address, and logs
// each address once that it does not.
func (l *Link) admits(ctx context.Context, from netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	allowed, err := l.allowed(ctx)
	if err == nil && (allowed == nil || slices.ContainsFunc(allowed, func(a netip.Addr) bool { return transport.Matches(a, from) })) {
		return true
	}
	const enough = 1000
	if _, known := l.strangers[from]; !known && len(l.strangers) < enough {
		l.strangers[from] = struct{}{}
		l.log.Warn("closed the connection of another than the peer", "from", from, "peer", l.config.remotes[0].host.Text, "err", err)
	}
	return false
}

// allowed are the addresses from which a tcp-server takes a connection, nil for
// any.
func (l *Link) allowed(ctx context.Context) ([]netip.Addr, error) {
	if len(l.config.remotes) == 0 {
		return nil, nil
	}
	r := l.config.remotes[0]
	addrs, err := l.names(ctx, r.host.Text, l.config.remoteFamily(r))
	if err != nil {
		return nil, fmt.Errorf("--remote: %w", err)
	}
	return addrs, nil
}
