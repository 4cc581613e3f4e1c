// Package link is the element type tme/host/openvpn/socket/link: an Ethernet
// cable that runs through a socket, UDP or TCP, to another link, to TME's own,
// or to `openvpn --dev tap`, with keys or without.
//
// A connection's two goroutines read and write the link's port; the port hands
// their batches to the session (package openvpn) and the socket (package
// transport) of the moment, which together are a circuit. A keeper goroutine
// makes circuits one after the other: it opens, connects, watches over the
// peer's silence, and begins again; a talker goroutine sends what the session
// has to say beside the frames. Each circuit goes one of the link's ways to the
// peer (way.go), which the keeper takes in turn (tour.go); while it is not the
// best one, a scout looks for a better beside it (scout.go). A link has no device
// and no address, looks into no frame but for --mssfix, and changes nothing on the
// host.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/occasion"
	"tmelink/internal/openvpn"
	"tmelink/internal/transport"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/openvpn/socket/link",
		Summary: "a cable to another host: Ethernet over UDP or TCP, with keys or without, as openvpn --dev tap",
		Doc: `A link carries every frame that it is handed to its peer, and hands out every frame of its peer. The peer is another link, TME's own, or an OpenVPN:

    openvpn --dev tap --local 10.0.0.2 --remote 10.0.0.1

Over UDP each frame is a datagram. The link works from the start, whether the peer is there or not; without --remote it floats, and drops frames until it has heard its peer. A datagram from elsewhere than --remote is dropped, unless --float is given.

Over TCP one end is the tcp-server, the other the tcp-client. The machine waits until they are connected. Afterwards a connection that breaks is made again, with OpenVPN's pauses, while the machine runs on; frames are dropped meanwhile. A tcp-server takes one peer at a time, with --remote only from that host. Several may have the same address and port: a connection goes to the one whose --remote it comes from, else to the one without. With --port-share a web server has the port as well:

    link0 at tap0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --port 443 --proto tcp-server --remote 10.0.0.2 --port-share 127.0.0.1 8443
    link1 at tap1: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --port 443 --proto tcp-server --remote 10.0.0.3

Several --remote are ways to the peer, the first the best one, and may differ in their protocol; a --connection is a way with a proxy of its own. A way that stays silent (--ping-restart, --keepalive; at its beginning --connect-timeout) gives way to the next one. A link that does not go its best way looks every 20 seconds (--remote-return) whether a better one works again, and changes over. The peer has a link for each protocol, and a switch between them:

    link0 at tap0: tme/host/openvpn/socket/link --dev tap --nobind --remote 10.0.0.1 1194 udp --remote 10.0.0.1 443 tcp-client --connection "remote 10.0.0.1 443 tcp-client
      http-proxy 10.0.0.9 3128" --keepalive 2 6 --connect-timeout 4

    link0 at sw0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --keepalive 2 6
    link1 at sw0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --lport 443 --proto tcp-server --keepalive 2 6

All addresses of a name are tried: over TCP and through proxies one beside the other until one answers, over UDP one after the other, where a --tls-client asks them all.

Several links of one process may have the same --local and --lport, if they ask the same of the socket (--sndbuf, --rcvbuf, --mark, --bind-dev, --offload). Each needs a --remote of its own, by which it is told whose a packet is, and over UDP that includes the port; a link with keys and --float is found by its keys, too, when its peer comes from elsewhere in the midst of a session. One of them may do without --remote, and gets what is of no other's peer:

    link0 at le0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --remote 10.0.0.2
    link1 at le1: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --remote 10.0.0.3
    link2 at le2: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --secret roaming.key --cipher AES-256-CBC

Without keys nothing is encrypted: whoever can read or forge packets on the way can read and forge frames. Keys come in one of three ways, each OpenVPN's own. A value FILE is a file's name, which counts from where the description is, or in quotes what would be in the file, over several lines.

1. Certificates that the ends know by their fingerprints: "tmelink pair HOST-A HOST-B" writes both ends. By hand, "tmelink key certificate a" makes a.crt and a.key, and prints the fingerprint that b gives as --peer-fingerprint; "tmelink key tls-crypt both.key" makes a key for both:

    link0 at le0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --remote 10.0.0.2 --tls-server --cert a.crt --key a.key --tls-crypt both.key --peer-fingerprint 8A:…
    link0 at le0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.2 --remote 10.0.0.1 --tls-client --cert b.crt --key b.key --tls-crypt both.key --peer-fingerprint 57:…

2. Certificates of a CA, also as a client of an OpenVPN in server mode with --dev tap. Its profile can be given as it is; the addresses and routes that the server has for it go to what the link is connected to:

    link0 at le0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --remote 10.0.0.2 --tls-server --ca ca.crt --cert a.crt --key a.key --remote-cert-tls client
    link1 at le1: tme/host/openvpn/socket/link --config office.ovpn

3. A static key that both ends have ("tmelink key secret both.key"). It is never renewed, so that whoever gets it can read all that was ever sent:

    link0 at le0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --remote 10.0.0.2 --secret both.key 0 --cipher AES-256-CBC --auth SHA256
    link0 at le0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.2 --remote 10.0.0.1 --secret both.key 1 --cipher AES-256-CBC --auth SHA256

With certificates one end is the --tls-server and the other the --tls-client, whichever connects to whom. They agree on keys when they find each other, and on new ones every hour (--reneg-sec) without losing a frame; frames are dropped while there is no key. A peer that is known by its keys may come from another address with --float.`,
		Example: `link0 at tap0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --remote 10.0.0.2
link1 at le0: tme/host/openvpn/socket/link --dev tap --local eth0 --proto tcp-server --keepalive 10 60`,
		MaxConnections: 1,
		Options:        newConfig().options(),
		New:            newElement,
	})
}

// Link is the element, for a protocol that needs no peer to begin with.
type Link struct {
	config *config
	log    *slog.Logger
	port   *port
	tour   tour
	names  resolver
	addrs  func(iface string, family transport.Family) ([]netip.Addr, error)

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	first   chan struct{} // closed when the peer is connected for the first time

	listener *transport.Listener // of a tcp-server; the keeper's
	went     *way                // by the last circuit; the keeper's
	failures failures            // to reach the peer; the keeper's
	failing  occasion.Occasion   // of log lines on negotiations; the talker's

	mu    sync.Mutex
	state state
}

// state is what Status tells.
type state struct {
	doing    string // "open", "connected", "waiting for the connection"
	circuit  *circuit
	since    time.Time
	restarts int
	changes  int // of the way
}

// tcpLink is a Link whose machine waits for the peer.
type tcpLink struct{ *Link }

func newElement(env element.Env, args element.Args) (element.Element, error) {
	c, err := parse(args, env.Dir)
	if err != nil {
		return nil, err
	}
	if c.random {
		rand.Shuffle(len(c.ways), func(i, j int) { c.ways[i], c.ways[j] = c.ways[j], c.ways[i] })
	}
	l := &Link{
		config: c, log: env.Log, port: newPort(c, env.Log), tour: newTour(c.ways), names: transport.ResolveHost, addrs: transport.InterfaceAddrs,
		first: make(chan struct{}), failing: occasion.New(6, time.Minute),
		state: state{doing: "not started", since: time.Now()},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.port.closing = l.cancel
	if c.ways[0].tcp() {
		return tcpLink{l}, nil
	}
	return l, nil
}

// Attach gives the link's port. There are no words for a single connection.
func (l *Link) Attach(args element.Args) (ethernet.Port, error) {
	if l.config.security.pull {
		return guidePort{l.port}, args.Parse(nil)
	}
	return l.port, args.Parse(nil)
}

// Start looks up the names and opens the socket. A TCP connection is made
// afterwards; see Wait.
func (l *Link) Start(ctx context.Context) error {
	begin := time.Now()
	for {
		o, err := l.openAny(ctx)
		if err == nil {
			l.warnOfKeys()
			l.running.Go(func() { l.keep(o) })
			if o.udp != nil && l.config.ways[0].udp() {
				<-l.first // at once: nobody need be there
			}
			return nil
		}
		again := l.config.resolveFor < 0 || time.Since(begin) < l.config.resolveFor
		if !again || !isLookup(err) {
			return err
		}
		l.log.Warn("a name does not resolve", "err", err, "again", openEvery)
		if !sleep(ctx, openEvery) {
			return err
		}
	}
}

// openEvery is the pause before a name that does not resolve, or a socket that
// cannot be opened, is tried again: that of OpenVPN's --resolv-retry
// (openvpn_getaddrinfo in its socket.c).
const openEvery = 5 * time.Second

func isLookup(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// openAny opens a socket for the first of the remotes whose name resolves.
func (l *Link) openAny(ctx context.Context) (*opening, error) {
	if l.config.mode() == openvpn.TCPServer {
		// It is asked for whom to let in when somebody comes; a name that is
		// wrong from the beginning is better told now.
		if _, err := l.allowed(ctx); err != nil {
			return nil, err
		}
	}
	var errs []error
	for range l.config.ways {
		o, err := l.open(ctx, &l.tour)
		if err == nil {
			return o, nil
		}
		errs = append(errs, err)
		if !isLookup(err) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// Close ends the link.
func (l *Link) Close() error {
	l.port.Close()
	l.running.Wait()
	return nil
}

// WaitingFor names the peer.
func (l tcpLink) WaitingFor() string {
	c, w := l.config, l.config.ways[0]
	if w.proto.mode == openvpn.TCPClient {
		return fmt.Sprintf("tcp peer %s port %d", w.host.Text, w.port)
	}
	who := "a tcp peer"
	if w.host.Text != "" {
		who = "tcp peer " + w.host.Text
	}
	return fmt.Sprintf("%s at %s port %d", who, c.local, c.localPort)
}

// Wait returns when the peer is connected for the first time. An error that no
// waiting would mend is returned at once.
func (l tcpLink) Wait(ctx context.Context) error {
	select {
	case <-l.first:
		return nil
	case <-l.ctx.Done():
		return l.port.ended()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Status says who the peer is and how the link fares.
func (l *Link) Status() string {
	l.mu.Lock()
	s := l.state
	l.mu.Unlock()
	now := time.Now()
	whom := ""
	if s.circuit != nil {
		whom = fmt.Sprintf("%s %v, peer %s, %s, ", s.circuit.way.transport(), s.circuit.conn.Local(), s.circuit.peerName(), s.circuit.session.Secrecy())
		if s.circuit.session.Spoken() {
			whom += fmt.Sprintf("heard %v ago, ", s.circuit.session.Heard(now).Round(time.Second))
		}
	}
	text := fmt.Sprintf("%s%s for %v, restarts %d", whom, s.doing, now.Sub(s.since).Round(time.Second), s.restarts)
	if len(l.config.ways) > 1 {
		text += fmt.Sprintf(", changes of way %d", s.changes)
	}
	return text
}

// Restart looks for the peer again, as after its silence.
func (l *Link) Restart(reason string) {
	if c := l.port.circuit.Load(); c != nil {
		c.fail(fmt.Errorf("begun anew: %s", reason))
	}
}

// Traffic is what the link's sockets have carried.
func (l *Link) Traffic() (read, written uint64) {
	return l.port.received.Load(), l.port.sent.Load()
}

// peerName is a peer's address, or what stands for it while it is not known.
func peerName(p netip.AddrPort) string {
	if !p.IsValid() {
		return "not known yet"
	}
	return p.String()
}

func (l *Link) setState(doing string, c *circuit, restarts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = state{doing: doing, circuit: c, since: time.Now(), restarts: l.state.restarts + restarts, changes: l.state.changes}
}

// sleep waits and says whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// session begins the talk with the peer of a new circuit.
func (l *Link) session(w way, conn transport.Conn, now time.Time) (*openvpn.Session, error) {
	c := l.config
	var cut fragment
	goodbyes := 0
	if w.udp() {
		cut, goodbyes = c.fragment, c.exitNotify
	}
	options := openvpn.Options{MTU: c.mtu, Proto: w.proto.mode, IPv6: c.network6, Fragments: cut.bytes != 0, Keys: c.keyOptionString()}
	if !c.networkHidden && !c.security.pull {
		options.Network = c.network
	}
	return openvpn.NewSession(openvpn.Config{
		Options: options, Timers: c.timers, Goodbyes: goodbyes,
		PacketLimit: func() int { return cut.limit(conn) }, MTUTest: c.mtuTest && w.udp(),
		Static: c.keyring.static, TLS: l.control(w, options.String()), MuteReplays: c.security.muteReplays,
		Dropped: &l.port.counters.Read, Unsent: &l.port.counters.Write, Log: l.log,
	}, now)
}

var (
	_ ethernet.Bounded  = (*port)(nil)
	_ element.Claimer   = (*Link)(nil)
	_ element.Reporter  = (*Link)(nil)
	_ element.Restarter = (*Link)(nil)
	_ element.Carrier   = (*Link)(nil)
	_ element.Claimer   = tcpLink{}
	_ element.Reporter  = tcpLink{}
	_ element.Waiter    = tcpLink{}
	_ transport.Conn    = (*transport.UDP)(nil)
	_ transport.Conn    = (*transport.TCP)(nil)
)
