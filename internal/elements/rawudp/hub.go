package rawudp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/elements/generic"
	"tmelink/internal/ethernet"
	"tmelink/internal/occasion"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/udp/hub",
		Summary: "a hub for peers that send each frame in a UDP datagram: HECnet's bridge, SIMH, Basilisk II",
		Doc: `One UDP socket serves any number of peers, each of which is a port of the hub: what one of them sends goes to all others and to the elements that are connected to the hub, and never back where it came from. It needs no connection to serve them.

    hub0: tme/host/udp/hub --local 0.0.0.0:4711 10.0.0.2:4711 pdp11.example.net:4711
    xq0 at hub0
    sim> attach xq udp:4713:10.0.0.1:4711

A peer is known by the address and port that it sends from, which a SIMH and HECnet's bridge also receive at; with anyport by its host alone, as a GXemul wants it:

    hub1: tme/host/udp/hub --local 127.0.0.1:15001 127.0.0.1:15000 anyport
    net( local_port(15000) add_remote("127.0.0.1:15001") )

The names of peers are looked up once, at the start. With learn whoever sends a frame becomes a peer until it has been silent for age seconds, up to 256 peers with those that are named; without it others than the named ones are not heard. Datagrams below 14 bytes and above mtu are dropped, frames below 60 bytes are filled up when they come from a connected element.

There are no keys: whoever can send from a peer's address is that peer, and with learn anybody who reaches the port gets every frame. Keep it to networks of which you know everybody, or put a keyed tme/host/openvpn/socket/link between.`,
		Example: "hub0: tme/host/udp/hub --local 0.0.0.0:4711 10.0.0.2:4711\nle0 at hub0\nhub1: tme/host/udp/hub --local 127.0.0.1:4712 learn on age 60",
		Alone:   true,
		Options: (&hubConfig{}).options(),
		New:     newHub,
	})
}

// hubConfig is what the arguments say.
type hubConfig struct {
	local     place
	peers     []place
	learn     bool
	anyPort   bool
	age       time.Duration
	learnSaid bool
	ageAt     tmesh.Pos
	mtu       int
}

func (c *hubConfig) options() []element.Option {
	return []element.Option{
		{Name: "--local", Values: "ADDR:PORT [PEER:PORT…]", Doc: "The address and port of the element's socket, 0.0.0.0 or [::] for any address, and the peers that it knows from the beginning, by name or address.",
			Set: func(v element.Values) (err error) {
				if c.local, err = parsePlace(v, 0); err != nil {
					return err
				}
				for i := 1; v.Has(i); i++ {
					p, err := parsePlace(v, i)
					if err != nil {
						return err
					}
					if p.host == "" {
						return v.Faultf(i, "%q has no host; say whose port it is", v.Text(i))
					}
					c.peers = append(c.peers, p)
				}
				if len(c.peers) > maxPeers {
					return v.Faultf(maxPeers+1, "a hub has at most %d peers", maxPeers)
				}
				return nil
			}},
		{Name: "learn", Values: "on|off", Doc: "Whether others who send become peers; the default is off where peers are named, and on where none is.",
			Set: func(v element.Values) (err error) { c.learn, err = v.OnOff(0); c.learnSaid = true; return }},
		{Name: "age", Values: "SECONDS", Doc: "How long a learned peer is remembered that sends nothing, 1 to 86400; the default is 300.",
			Set: func(v element.Values) error {
				n, err := v.Int(0, 1, 86400)
				c.age, c.ageAt = time.Duration(n)*time.Second, v.Name.Pos
				return err
			}},
		{Name: "anyport", Doc: "Take frames of a named peer from any port of its host, where it is the only one named, and send to the port that is named. GXemul sends each frame from another port.",
			Set: func(element.Values) error { c.anyPort = true; return nil }},
		mtuOption(&c.mtu),
	}
}

// Hub is an element of type tme/host/udp/hub.
type Hub struct {
	*generic.Switch // Attach gives a port of it
	config          hubConfig
	log             *slog.Logger
	counters        ethernet.Counters

	mu     sync.Mutex // held while what follows changes
	wire   *hubWire   // nil: not open
	joined func() error
	closed bool
}

func newHub(env element.Env, args element.Args) (element.Element, error) {
	c := hubConfig{age: 300 * time.Second, mtu: ethernet.MTU}
	fault := args.Parse(c.options())
	if !c.learnSaid {
		c.learn = len(c.peers) == 0
	}
	switch {
	case fault != nil:
	case c.local.port == 0:
		fault = tmesh.Faultf(args.Pos, "--local ADDR:PORT is missing: the address and port that the peers send to, such as --local 0.0.0.0:4711")
	case !c.learn && len(c.peers) == 0:
		fault = tmesh.Faultf(args.Pos, "nobody can use a hub that has no peers and learns none: name one behind --local, or say learn on")
	case !c.learn && c.ageAt.Line > 0:
		fault = tmesh.Faultf(c.ageAt, "age is for learned peers, and the hub learns none: say learn on, or leave it out")
	}
	if fault != nil {
		return nil, fault
	}
	return &Hub{Switch: generic.NewHub(env.Log), config: c, log: env.Log}, nil
}

// Claims is the socket's address.
func (h *Hub) Claims() []element.Claim {
	local := h.config.local.host
	if local == "" {
		local = netip.IPv6Unspecified().String()
	}
	return []element.Claim{{Pos: h.config.local.pos, Proto: "udp", Local: local, Port: h.config.local.port}}
}

// Start opens the socket.
func (h *Hub) Start(ctx context.Context) error {
	var named []netip.AddrPort
	family := transport.Family(0)
	if a, err := netip.ParseAddr(h.config.local.host); err == nil && a != netip.IPv6Unspecified() {
		family = transport.Of(a)
	}
	for _, p := range h.config.peers {
		addrs, err := transport.ResolveHost(ctx, p.host, family)
		if err != nil {
			return fmt.Errorf("find the peer %s of the hub: %w", p, err)
		}
		named = append(named, netip.AddrPortFrom(addrs[0], p.port))
	}
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp", h.config.local.String())
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return fmt.Errorf("open a hub at udp %s: %w", h.config.local, err)
	}
	udp := conn.(*net.UDPConn)
	h.mu.Lock()
	defer h.mu.Unlock()
	maxFrame := ethernet.FrameLen(h.config.mtu)
	h.wire = &hubWire{
		conn: udp, learns: h.config.learn, peers: newPeers(named, h.config.anyPort, h.config.age), began: time.Now(), log: h.log, drops: &h.counters.Read,
		in:    newReceiver(udp, maxFrame, &h.counters.Read, h.log),
		relay: newSender(udp, &h.counters.Write, h.log), out: newSender(udp, &h.counters.Write, h.log),
		strangers: occasion.New(3, time.Minute), newcomers: occasion.New(20, time.Minute),
	}
	h.joined = h.Join(h.wire, maxFrame, &h.counters.Write)
	h.log.Info("hub at udp "+h.config.local.String(), "peers", named, "learn", h.config.learn)
	return nil
}

// Close ends the hub.
func (h *Hub) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	err := h.Switch.Close()
	if h.wire != nil {
		h.wire.Close()
		err = errors.Join(err, h.joined())
	}
	return err
}

// Status says who the peers are.
func (h *Hub) Status() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return "closed"
	case h.wire == nil:
		return "not open"
	}
	all := h.wire.peers.list(h.wire.now())
	var names []string
	for i, a := range all {
		if i == 8 {
			names = append(names, "…")
			break
		}
		names = append(names, a.String())
	}
	return fmt.Sprintf("hub at udp %s, %d peers (%s), %d frames to and %d from them dropped", h.config.local, len(all), strings.Join(names, " "),
		h.counters.Write.Total(), h.counters.Read.Total())
}

// Sketch shows the hub and its peers.
func (h *Hub) Sketch() element.Sketch {
	s := element.Sketch{Kind: element.SwitchKind, Local: "udp " + h.config.local.String(), Detail: []string{"udp " + h.config.local.String()}}
	for _, p := range h.config.peers {
		s.Detail = append(s.Detail, "peer "+p.String())
	}
	return s
}

// hubWire is a hub's socket with all peers behind it, as a wire of its switch.
type hubWire struct {
	conn   *net.UDPConn
	learns bool
	peers  *peers
	began  time.Time // what the peers' times count from
	log    *slog.Logger
	drops  *ethernet.Drops

	// Of the goroutine that reads.
	in        *receiver
	relay     *sender
	frames    [1]ethernet.Frame
	strangers occasion.Occasion
	newcomers occasion.Occasion

	out *sender // of the goroutine that writes
}

func (w *hubWire) now() time.Duration { return time.Since(w.began) }

// ReadFrames waits for a frame of a peer, which has gone to the other peers when it
// is given.
func (w *hubWire) ReadFrames() ([]ethernet.Frame, error) {
	for {
		data, from, err := w.in.receive()
		if err != nil {
			return nil, err
		}
		now := w.now()
		sender, ok := w.admits(from, now)
		if !ok {
			continue
		}
		if err := w.peers.each(now, func(p *peer) error {
			if p.addr == sender {
				return nil
			}
			return w.relay.send(data, p.addr)
		}); err != nil {
			return nil, err
		}
		w.frames[0] = ethernet.Frame{Data: data}
		return w.frames[:], nil
	}
}

// admits says whether a sender is a peer, or has become one, and what its address is.
func (w *hubWire) admits(from netip.AddrPort, now time.Duration) (sender netip.AddrPort, ok bool) {
	if p := w.peers.heard(from, now); p != nil {
		return p.addr, true
	}
	if w.learns && w.peers.learn(from, now) {
		if n := w.newcomers.Due(time.Now()); n > 0 {
			w.log.Info("a peer has come", "peer", from, "times", n)
		}
		return from, true
	}
	w.drops.Add(ethernet.Stranger, 1)
	if n := w.strangers.Due(time.Now()); n > 0 {
		why := "the hub does not learn"
		if w.learns {
			why = fmt.Sprintf("there are %d peers already", maxPeers)
		}
		w.log.Warn("dropped what another than the peers sent", "from", from, "reason", why, "times", n)
	}
	return from, false
}

// WriteFrames sends frames of connected elements to every peer.
func (w *hubWire) WriteFrames(frames []ethernet.Frame) error {
	now := w.now()
	return w.peers.each(now, func(p *peer) error {
		for i := range frames {
			if err := w.out.send(frames[i].Data, p.addr); err != nil {
				return err
			}
		}
		return nil
	})
}

// Close closes the socket.
func (w *hubWire) Close() error { return w.conn.Close() }

var (
	_ element.Claimer  = (*Hub)(nil)
	_ element.Reporter = (*Hub)(nil)
)
