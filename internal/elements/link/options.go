package link

import (
	"errors"
	"net/netip"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport"
)

// defaultPort is OpenVPN's (IANA: openvpn).
const defaultPort = 1194

// protocol is what a word of --proto means.
type protocol struct {
	mode   openvpn.Proto
	family transport.Family
}

func (p protocol) tcp() bool { return p.mode != openvpn.UDP }

var protocols = map[string]protocol{
	"udp": {openvpn.UDP, 0}, "udp4": {openvpn.UDP, 4}, "udp6": {openvpn.UDP, 6},
	"tcp-server": {openvpn.TCPServer, 0}, "tcp4-server": {openvpn.TCPServer, 4}, "tcp6-server": {openvpn.TCPServer, 6},
	"tcp-client": {openvpn.TCPClient, 0}, "tcp4-client": {openvpn.TCPClient, 4}, "tcp6-client": {openvpn.TCPClient, 6},
}

// remote is one --remote.
type remote struct {
	host  tmesh.Word
	port  uint16 // 0: that of --rport
	proto *protocol
	word  tmesh.Word // of proto
	block *config    // nil: it is not of a <connection>
}

// config is what a link's words say.
type config struct {
	device, deviceType    string
	local                 string
	localPort, remotePort uint16
	remotes               []remote
	proto                 protocol // where a remote has none of its own
	ways                  []way
	random                bool          // their order
	forced                string        // "udp", "tcp" or "": only ways of it
	lookAgain             time.Duration // for a better way; 0: never
	nobind, float         bool
	timers                openvpn.Timers
	exitNotify            int // attempts; 0: none
	shaper                int // bytes a second; 0: no bound
	retry, retryLimit     time.Duration
	retryMax              int // rounds; 0: no end
	connectTimeout        time.Duration
	resolveFor            time.Duration // at the start; 0: one attempt; below 0: no end
	mtu                   int
	noOffload             bool
	mssfix                mssfix
	mssfixGiven           bool // with a value
	fragment              fragment
	mtuTest               bool
	socket                transport.Socket
	network               netip.Prefix // of --ifconfig
	networkHidden         bool
	network6              bool
	security              security
	keyring               keyring
	proxy                 proxyWords
	portShare             transport.PortShare
	dir                   string // against which file names count

	given map[string]tmesh.Word // every option that was given, well or badly, by its name
}

func newConfig() *config {
	return &config{
		localPort: defaultPort, remotePort: defaultPort,
		proto: protocols["udp"],
		retry: time.Second, retryLimit: 300 * time.Second,
		connectTimeout: 120 * time.Second,
		lookAgain:      20 * time.Second,
		mtu:            1500,
		security:       newSecurity(),
		given:          map[string]tmesh.Word{},
	}
}

// options are the words of a link, which set the config.
func (c *config) options() []element.Option {
	options := []element.Option{
		{Name: "--dev", Values: "NAME", Doc: "`tap` or `tapN`. A link carries Ethernet, so that it must be a TAP; the name matters nowhere else.",
			Set: func(v element.Values) error { c.device = v.Text(0); return nil }},
		{Name: "--dev-type", Values: "TYPE", Doc: "`tap`, where --dev does not begin with it.",
			Set: func(v element.Values) error { c.deviceType = v.Text(0); return nil }},
		{Name: "--local", Values: "HOST", Doc: "The address to be bound on this host: an IP address, a name, or the name of an interface, whose first address it is. It must be given, unless --nobind is. At an interface the link begins anew when its address becomes another one; so that the peer hears of that at once, give --ping or --keepalive.",
			Set: func(v element.Values) error { c.local = v.Text(0); return transport.CheckHost(c.local) }},
		{Name: "--proto", Values: "PROTO", Doc: "`udp` (the default), `tcp-server` or `tcp-client`; with `udp4`, `tcp4-server`, `udp6` and so on only IPv4 or IPv6 addresses are used.",
			Set: func(v element.Values) error {
				p, err := parseProto(v, 0)
				if err == nil {
					c.proto = p
				}
				return err
			}},
		{Name: "--port", Values: "PORT", Doc: "The port at both ends; 1194 if not given.",
			Set: func(v element.Values) (err error) {
				c.localPort, err = v.Port(0)
				c.remotePort = c.localPort
				return err
			}},
		{Name: "--lport", Values: "PORT", Doc: "The port at this end. 0 is any free one.",
			Set: func(v element.Values) error {
				n, err := v.Int(0, 0, 65535)
				c.localPort = uint16(n)
				return err
			}},
		{Name: "--rport", Values: "PORT", Doc: "The port at the peer's end.",
			Set: func(v element.Values) (err error) { c.remotePort, err = v.Port(0); return err }},
		{Name: "--bind", Doc: "Bind the local address and port, as is done anyway with --local.",
			Set: func(element.Values) error { return nil }},
		{Name: "--nobind", Doc: "Do not bind: any local address and port will do. It wants a --remote.",
			Set: func(element.Values) error { c.nobind = true; return nil }},
		{Name: "--float", Doc: "The peer of --remote may change its address and port: whoever sends is the peer. UDP only. An end that moves needs --ping or --keepalive, or it is not heard from its new place until it has a frame to send. An openvpn with TLS that is not in server mode takes no data from a new address: an end that moves away from it needs --ping-restart as well, and begins anew.",
			Set: func(element.Values) error { c.float = true; return nil }},
		{Name: "--connect-retry", Values: "SECONDS [MAX]", Doc: "The pause before the next attempt to connect, 1 if not given. It doubles with each attempt after the fifth at each remote, up to MAX seconds, 300 if not given.",
			Set: c.setConnectRetry},
		{Name: "--connect-retry-max", Values: "N", Doc: "Give up after N attempts at each remote without success; `infinite`, the default, is never.",
			Set: func(v element.Values) (err error) {
				if v.Text(0) != "infinite" {
					c.retryMax, err = v.Int(0, 1, 1<<20)
				}
				return err
			}},
		{Name: "--connect-timeout", Values: "SECONDS", Doc: "How long a tcp-client waits for one connection, 120 if not given; that is also how long a proxy may take for its answer, and, where there are several ways, how long a way may be silent at its beginning before the next one is tried.",
			Set: c.setConnectTimeout},
		{Name: "--server-poll-timeout", Values: "SECONDS", Doc: "The older name of --connect-timeout.",
			Set: c.setConnectTimeout},
		{Name: "--resolv-retry", Values: "SECONDS", Doc: "How long names are looked up again at the start when that fails; `infinite` is for ever. If it is not given, a name that does not resolve at the start is an error. Later they are looked up again in any case, every 5 seconds.",
			Set: c.setResolveRetry},
		{Name: "--tun-mtu", Values: "BYTES", Doc: "The largest payload of a frame, 1500 if not given; the same at both ends.",
			Set: func(v element.Values) (err error) { c.mtu, err = v.Int(0, minMTU, maxMTU); return err }},
		{Name: "--mssfix", Values: "[BYTES] [mtu|fixed]", Doc: "Have the TCP connections inside the frames send segments so short that the link's packets become at most BYTES long: with `mtu` together with the IP and UDP headers around them, without it not counting these; with `fixed` the IP packets inside the frames. 0 is no bound. The default is 1492 mtu; with --fragment that many bytes mtu; otherwise, where --tun-mtu is not 1500, its value and `fixed`. A path that reports to take less lowers the bound.",
			Set: c.setMSSFix},
		{Name: "--fragment", Values: "BYTES [mtu]", Doc: "Carry frames that are too long for one packet in several, each of at most BYTES, with `mtu` together with the IP and UDP headers around it. It must be given at both ends, and is for frames that are not TCP, or longer than the path takes: what makes them is not told to make shorter ones. If one packet of a frame is lost, the frame is. A path that reports to take less shortens the packets. UDP only.",
			Set: c.setFragment},
		{Name: "--mtu-disc", Values: "no|maybe|yes", Doc: "What becomes of a packet that is longer than the path takes: with `no` it goes in IP fragments, and routers may make them; with `maybe`, the default for UDP, it does where this host knows of it, and routers tell if it does not; with `yes` it is not sent, counted as too-long, and told of once. Linux only.",
			Set: c.setMTUDisc},
		{Name: "--mtu-test", Doc: "Find out, in three to four minutes, how long packets may be that arrive at the peer and here, and tell it in the log. UDP only.",
			Set: func(element.Values) error { c.mtuTest = true; return nil }},
		{Name: "--offload", Values: "on|off", Doc: "Whether a UDP socket is handed many datagrams as one where the kernel can cut and join them (UDP_SEGMENT, UDP_GRO). Default: on, as far as the kernel grants it. Not OpenVPN's: off is for kernels and network cards that do it wrong. Linux only.",
			Set: func(v element.Values) error {
				on, err := v.OnOff(0)
				c.noOffload = !on
				return err
			}},
		{Name: "--sndbuf", Values: "BYTES", Doc: "The size of the socket's send buffer. The default for UDP on Linux is 7 MiB, or what the host allows of it; else it is the host's.",
			Set: func(v element.Values) (err error) {
				c.socket.SendBuffer, err = v.Int(0, 0, maxSocketBuffer)
				return err
			}},
		{Name: "--rcvbuf", Values: "BYTES", Doc: "The size of the socket's receive buffer. The default is as with --sndbuf.",
			Set: func(v element.Values) (err error) {
				c.socket.ReceiveBuffer, err = v.Int(0, 0, maxSocketBuffer)
				return err
			}},
		{Name: "--socket-flags", Values: "FLAG…", Doc: "`TCP_NODELAY`, which is set anyway.",
			Set: func(v element.Values) error {
				for i := range v.Words {
					if v.Text(i) != "TCP_NODELAY" {
						return v.Faultf(i, "there is no socket flag %q; TCP_NODELAY is the only one", v.Text(i))
					}
				}
				return nil
			}},
		{Name: "--mark", Values: "N", Doc: "The mark of the socket's packets, for the host's policy routing (SO_MARK). Linux only.",
			Set: func(v element.Values) (err error) { c.socket.Mark, err = v.Int(0, 0, 1<<31-1); return err }},
		{Name: "--bind-dev", Values: "INTERFACE", Doc: "Send and receive through this interface only (SO_BINDTODEVICE). Linux only.",
			Set: func(v element.Values) (err error) { c.socket.Device, err = v.InterfaceName(0); return err }},
		{Name: "--ifconfig", Values: "ADDR NETMASK", Doc: "The network that the peer's OpenVPN was given with its --ifconfig: told to it when it asks, so that it does not warn of a difference. The link itself has no address.",
			Set: c.setIfconfig},
		{Name: "--ifconfig-ipv6", Values: "ADDR/LEN [REMOTE]", Doc: "The same for IPv6.",
			Set: func(v element.Values) error { c.network6 = true; _, err := v.Prefix6(0); return err }},
		{Name: "--ifconfig-nowarn", Doc: "Do not tell the peer the network of --ifconfig.",
			Set: func(element.Values) error { c.networkHidden = true; return nil }},
		{Name: "--mode", Values: "MODE", Doc: "`p2p`: a link has one peer.",
			Set: func(v element.Values) error {
				if v.Text(0) != "p2p" {
					return errors.New("only p2p is carried out: a link has one peer; give each peer a link of its own, and join them with a tme/generic/switch")
				}
				return nil
			}},
	}
	options = append(options, c.wayOptions()...)
	options = append(options, c.timerOptions()...)
	options = append(options, c.keyOptions()...)
	options = append(options, c.proxyOptions()...)
	options = append(options, c.shareOption())
	options = append(options, withoutEffect()...)
	options = append(options, refused()...)
	return options
}

const (
	minMTU = 100 // TUN_MTU_MIN of OpenVPN's mtu.h
	// maxMTU is what fits a UDP datagram over IPv4 together with a header and
	// two VLAN tags.
	maxMTU          = 65507 - 22
	maxSocketBuffer = 1 << 30
)

func parseProto(v element.Values, i int) (protocol, error) {
	word := v.Text(i)
	p, ok := protocols[word]
	switch {
	case ok:
		return p, nil
	case word == "tcp" || word == "tcp4" || word == "tcp6":
		return p, v.Faultf(i, "%q leaves open who connects: say %s-server at one end and %s-client at the other", word, word, word)
	}
	var names []string
	for name := range protocols {
		names = append(names, name)
	}
	return p, v.Faultf(i, "there is no protocol %q; it is udp, tcp-server or tcp-client%s", word, element.DidYouMean(word, names))
}

func (c *config) setRemote(v element.Values) error {
	r := remote{host: v.Words[0]}
	var faults []error
	if err := transport.CheckHost(v.Text(0)); err != nil {
		faults = append(faults, v.Faultf(0, "%v", err))
	}
	if v.Has(1) {
		port, err := v.Port(1)
		r.port = port
		faults = append(faults, err)
	}
	if v.Has(2) {
		p, err := parseProto(v, 2)
		if err == nil {
			r.proto, r.word = &p, v.Words[2]
		}
		faults = append(faults, err)
	}
	c.remotes = append(c.remotes, r)
	return errors.Join(faults...)
}

func (c *config) setConnectRetry(v element.Values) (err error) {
	if c.retry, err = v.Seconds(0); err == nil && v.Has(1) {
		c.retryLimit, err = v.Seconds(1)
	}
	return err
}

func (c *config) setConnectTimeout(v element.Values) error {
	n, err := v.Int(0, 1, 86400)
	c.connectTimeout = time.Duration(n) * time.Second
	return err
}

func (c *config) setResolveRetry(v element.Values) (err error) {
	if v.Text(0) == "infinite" {
		c.resolveFor = -1
		return nil
	}
	c.resolveFor, err = v.Seconds(0)
	return err
}

func (c *config) setIfconfig(v element.Values) error {
	addr, errAddr := v.Addr4(0)
	ones, errMask := v.Netmask(1)
	c.network = netip.PrefixFrom(addr, ones)
	return errors.Join(errAddr, errMask)
}
