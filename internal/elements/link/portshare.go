package link

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/transport"
)

// shareOption is the word for a port that a link shares with another server.
func (c *config) shareOption() element.Option {
	return element.Option{Name: "--port-share", Values: "HOST PORT [DIR]", Doc: "Pass connections to a tcp-server's port that do not begin as OpenVPN's on to the server at HOST and PORT, byte for byte: a web server, over HTTPS or HTTP, then has the same port as the link. In DIR a file tells of each of them, as long as it lasts: its name is the address and port that the server sees the connection come from, its content those of the client. A connection that says nothing for 5 seconds is taken for the peer's, but not by a --tls-server, whose peer always speaks first. Links with the same port must have the same --port-share, or none.",
		Set: c.setPortShare}
}

func (c *config) setPortShare(v element.Values) (err error) {
	s := &c.portShare
	if err := transport.CheckHost(v.Text(0)); err != nil {
		return v.Faultf(0, "%v", err)
	}
	s.Host = v.Text(0)
	if s.Port, err = v.Port(1); err != nil {
		return err
	}
	if !v.Has(2) {
		return nil
	}
	if s.Journal = v.Text(2); !filepath.IsAbs(s.Journal) {
		s.Journal = filepath.Join(c.dir, s.Journal)
	}
	switch info, err := os.Stat(s.Journal); {
	case err != nil:
		return v.Faultf(2, "%v", readError(s.Journal, err))
	case !info.IsDir():
		return v.Faultf(2, "%s is not a directory", s.Journal)
	}
	return nil
}

// tlsHello is how a connection over HTTPS begins (RFC 8446, section 5.1).
var tlsHello = []byte{22, 3, 1}

// checkPortShare finds what a port cannot be shared with.
func (c *config) checkPortShare() error {
	if c.portShare == (transport.PortShare{}) { // or badly given
		return nil
	}
	if c.mode() != openvpn.TCPServer {
		return c.at("--port-share", "only a tcp-server has a port that could be shared; say --proto tcp-server, or leave it out")
	}
	var faults []error
	if c.beginning().Judge(tlsHello) != openvpn.Foreign {
		faults = append(faults, c.at("--port-share", "with a --tun-mtu of %d a connection over HTTPS could be a frame by its first bytes; give the link keys with --tls-server and --tls-client, or make the --tun-mtu smaller than %d",
			c.mtu, mtuLikeTLS()))
	}
	host, _ := netip.ParseAddr(c.portShare.Host)
	local, _ := netip.ParseAddr(c.local)
	here := c.portShare.Host == c.local || local.IsUnspecified() && (host.IsLoopback() || host.IsUnspecified() || c.portShare.Host == "localhost")
	if here && c.portShare.Port == c.localPort {
		faults = append(faults, c.at("--port-share", "%v is the link's own port; give the other server another one", c.portShare))
	}
	return errors.Join(faults...)
}

// mtuLikeTLS is the smallest MTU at which a packet can be as long as a TLS hello says
// that it is, read as a length.
func mtuLikeTLS() int {
	mtu := minMTU
	for openvpn.MaxPacket(mtu) < int(tlsHello[0])<<8|int(tlsHello[1]) {
		mtu++
	}
	return mtu
}

// beginning is how the peer's connections begin.
func (c *config) beginning() openvpn.Beginning {
	return openvpn.Beginning{ByClient: c.security.server, ByServer: c.security.client, MaxPacket: openvpn.MaxPacket(c.mtu)}
}

// listen gives a tcp-server's listening socket: the one that it has, as long as its
// address is the same.
func (l *Link) listen(ctx context.Context, c transport.TCPConfig) (*transport.Listener, error) {
	if l.listener != nil && l.listener.Asked() == c.Local {
		return l.listener, l.listener.Again(ctx)
	}
	l.stopListening()
	config := transport.ListenConfig{TCPConfig: c, Share: l.config.portShare, Beginning: l.config.beginning()}
	if l.config.ways[0].host.Text != "" {
		config.Remote = l.allowed
	}
	var err error
	l.listener, err = transport.Listen(ctx, config)
	return l.listener, err
}

// listenAgain opens a tcp-server's socket before the pause after a connection: who
// comes meanwhile is not refused. An error is told by what opens it afterwards.
func (l *Link) listenAgain(ctx context.Context) {
	if l.listener != nil {
		l.listener.Again(ctx)
	}
}

func (l *Link) stopListening() {
	if l.listener != nil {
		l.listener.Close()
		l.listener = nil
	}
}
