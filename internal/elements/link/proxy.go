package link

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport"
	"tmelink/internal/transport/proxy"
)

// proxyWords are what a link's words say of a proxy.
type proxyWords struct {
	option string // that names it: "--http-proxy" or "--socks-proxy"; "": there is none
	pos    tmesh.Pos
	at     proxy.Target
	http   *proxy.HTTP  // nil: it is no HTTP proxy
	socks  *proxy.SOCKS // nil: it is no SOCKS proxy

	version, agent string
	headers        []proxy.Header
	user           contents // of --http-proxy-user-pass
}

const (
	defaultSOCKSPort = 1080 // IANA: socks
	maxProxyHeaders  = 10   // MAX_CUSTOM_HTTP_HEADER of OpenVPN's proxy.h
)

// used gives the words if they name a proxy, else nil.
func (p *proxyWords) used() *proxyWords {
	if p.option == "" {
		return nil
	}
	return p
}

// name is the proxy's, for those who look on.
func (p *proxyWords) name() string {
	kind := "http"
	if p.socks != nil {
		kind = "socks"
	}
	return kind + " proxy " + p.at.String()
}

// proxyOptions are the words that concern proxies.
func (c *config) proxyOptions() []element.Option {
	p := &c.proxy
	return []element.Option{
		{Name: "--http-proxy", Values: "HOST [PORT] [AUTHFILE] [METHOD]", Doc: "Reach the peer through an HTTP proxy, by CONNECT; a tcp-client only. AUTHFILE is a file whose first two lines are the name and the password for the proxy, and METHOD how to show them: `basic` (the default: in the clear), `digest` (MD5 or SHA-256), `ntlm` (version 2; the name may be DOMAIN\\NAME) or `none`. In place of AUTHFILE, `auto` shows what --http-proxy-user-pass has as the proxy asks for it, and `auto-nct` the same, but never in the clear. `--http-proxy auto` alone takes the proxy from the URL in the environment's HTTPS_PROXY, which is not looked at otherwise. The proxy looks up the peer's name.",
			Set: c.setHTTPProxy},
		{Name: "--http-proxy-user-pass", Values: "FILE", Doc: "The file whose first two lines are the name and the password for --http-proxy.", Set: c.contentsInto(&p.user)},
		{Name: "--http-proxy-option", Values: "WHAT VALUE [CONTENT]", Repeat: true, Doc: "What the request to the HTTP proxy has: `VERSION` 1.0, the default, or 1.1; `AGENT` NAME, as whom to introduce the link; `CUSTOM-HEADER` NAME CONTENT, a line more, at most 10 times.",
			Set: c.setHTTPProxyOption},
		{Name: "--socks-proxy", Values: "HOST [PORT] [AUTHFILE]", Doc: "Reach the peer through a SOCKS proxy of version 5, at port 1080 if not given: a tcp-client by CONNECT, and over UDP by UDP ASSOCIATE. AUTHFILE is a file whose first two lines are the name and the password for the proxy. The proxy looks up the peer's name.",
			Set: c.setSOCKSProxy},
	}
}

func (c *config) setHTTPProxy(v element.Values) (err error) {
	p := &c.proxy
	p.http = &proxy.HTTP{Method: proxy.None}
	if v.Text(0) == "auto" && !v.Has(1) {
		p.option, p.pos = "--http-proxy", v.Name.Pos
		return c.fromEnvironment(v)
	}
	if !v.Has(1) {
		return v.Faultf(0, "its port is missing (often 3128 or 8080); `--http-proxy auto` takes both from the environment's HTTPS_PROXY")
	}
	if p.at, err = proxyAt(v, 0); err != nil {
		return err
	}
	p.option, p.pos = "--http-proxy", v.Name.Pos
	if !v.Has(2) {
		return nil
	}
	switch auth := proxy.Method(v.Text(2)); auth {
	case proxy.Auto, proxy.AutoNoClear:
		p.http.Method = auth
		if v.Has(3) {
			return v.Faultf(3, "%q contradicts %s, which finds out what the proxy asks for; leave one of them out", v.Text(3), auth)
		}
		return nil
	case "": // the name and password are elsewhere
	default:
		if p.http.Credentials, err = c.credentials(v, 2); err != nil {
			return err
		}
	}
	switch method := v.Text(3); method {
	case "", "basic":
		p.http.Method = proxy.Basic
	case "digest":
		p.http.Method = proxy.Digest
	case "ntlm", "ntlm2":
		p.http.Method = proxy.NTLM
	case "none":
	default:
		return v.Faultf(3, "%q is not a way to show a password%s; it is none, basic, digest or ntlm", method,
			element.DidYouMean(method, []string{"none", "basic", "digest", "ntlm"}))
	}
	if err := p.http.Check(); err != nil {
		return v.Faultf(2, "%v", err)
	}
	return nil
}

// fromEnvironment takes the proxy from HTTPS_PROXY, in capitals or small letters as
// other programs take it.
func (c *config) fromEnvironment(v element.Values) (err error) {
	p := &c.proxy
	name, text := "HTTPS_PROXY", os.Getenv("HTTPS_PROXY")
	if text == "" {
		name, text = "https_proxy", os.Getenv("https_proxy")
	}
	if text == "" {
		return v.Faultf(0, "HTTPS_PROXY is not set in the environment; set it to a URL such as http://proxy.example:3128, or write HOST and PORT")
	}
	p.http.Method = proxy.Auto
	if p.at, p.http.Credentials, err = proxy.ParseURL(text); err != nil {
		return v.Faultf(0, "%s of the environment: %v", name, err)
	}
	if err := transport.CheckHost(p.at.Host); err != nil {
		return v.Faultf(0, "%s of the environment: %v", name, err)
	}
	return nil
}

func (c *config) setSOCKSProxy(v element.Values) (err error) {
	p := &c.proxy
	p.socks = &proxy.SOCKS{}
	if p.at, err = proxyAt(v, defaultSOCKSPort); err != nil {
		return err
	}
	if v.Has(2) {
		if p.socks.Credentials, err = c.credentials(v, 2); err != nil {
			return err
		}
		if err := p.socks.Check(); err != nil {
			return v.Faultf(2, "%v", err)
		}
	}
	p.option, p.pos = "--socks-proxy", v.Name.Pos
	return nil
}

// proxyAt reads HOST [PORT].
func proxyAt(v element.Values, port uint16) (at proxy.Target, err error) {
	if err := transport.CheckHost(v.Text(0)); err != nil {
		return at, v.Faultf(0, "%v", err)
	}
	if v.Has(1) {
		if port, err = v.Port(1); err != nil {
			return at, err
		}
	}
	return proxy.Target{Host: v.Text(0), Port: port}, nil
}

// credentials reads a file with a name and a password.
func (c *config) credentials(v element.Values, i int) (*proxy.Credentials, error) {
	if v.Text(i) == "stdin" {
		return nil, v.Faultf(i, "there is nobody to ask; give a file whose first two lines are the name and the password")
	}
	f, err := c.read(v, i)
	if err != nil {
		return nil, err
	}
	defer wipe(&f)
	return credentialsIn(f), nil
}

func credentialsIn(f contents) *proxy.Credentials {
	lines := f.firstLines(2)
	return &proxy.Credentials{User: lines[0], Password: lines[1]}
}

func (c *config) setHTTPProxyOption(v element.Values) error {
	p := &c.proxy
	what := v.Text(0)
	switch what {
	case "VERSION":
		if p.version = v.Text(1); p.version != "1.0" && p.version != "1.1" {
			return v.Faultf(1, "%q is not a version of HTTP with CONNECT that is carried out; it is 1.0 or 1.1", p.version)
		}
	case "AGENT":
		p.agent = v.Text(1)
		if err := (proxy.Header{Name: "User-Agent", Value: p.agent}).Check(); err != nil {
			return v.Faultf(1, "%v", err)
		}
	case "CUSTOM-HEADER", "EXT1", "EXT2": // the last two are those of OpenVPN's elder versions
		h := proxy.Header{Name: v.Text(1), Value: v.Text(2)}
		if !v.Has(2) {
			var ok bool
			if h.Name, h.Value, ok = strings.Cut(h.Name, ":"); !ok {
				return v.Faultf(1, "%q is a header's name without its content; write NAME CONTENT", v.Text(1))
			}
			h.Value = strings.TrimLeft(h.Value, " ")
		}
		if err := h.Check(); err != nil {
			return v.Faultf(1, "%v", err)
		}
		if len(p.headers) == maxProxyHeaders {
			return v.Faultf(1, "there are %d headers already; more are not taken", maxProxyHeaders)
		}
		p.headers = append(p.headers, h)
		return nil
	default:
		return v.Faultf(0, "there is no %q; it is VERSION, AGENT or CUSTOM-HEADER%s", what, element.DidYouMean(what, []string{"VERSION", "AGENT", "CUSTOM-HEADER"}))
	}
	if v.Has(2) {
		return v.Faultf(2, "%s takes one value; put it in quotes if it has blanks", what)
	}
	return nil
}

// checkProxyWords finds what contradicts the words of a proxy, and completes it.
func (c *config) checkProxyWords() error {
	p := &c.proxy
	if p.http != nil && p.socks != nil {
		return c.at("--socks-proxy", "it contradicts --http-proxy; a way goes through one proxy")
	}
	if p.http == nil {
		for _, option := range []string{"--http-proxy-user-pass", "--http-proxy-option"} {
			if c.has(option) {
				return c.at(option, "it is of no use without --http-proxy; give that, or leave it out")
			}
		}
	}
	if p.used() == nil { // and a fault if there should be
		return nil
	}
	return c.completeHTTPProxy()
}

// checkProxies looks whether the proxies can lead to the peer.
func (c *config) checkProxies() error {
	faults := []error{c.checkProxyWords()}
	told := map[*proxyWords]bool{}
	for _, w := range c.ways {
		if w.proxy != nil && !told[w.proxy] {
			err := c.checkProxyWay(w)
			told[w.proxy] = err != nil
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// checkProxyWay looks whether a proxy can lead to the peer.
func (c *config) checkProxyWay(w way) error {
	p := w.proxy
	var faults []error
	bad := func(format string, args ...any) {
		faults = append(faults, tmesh.Faultf(p.pos, p.option+": "+format, args...))
	}
	addr, _ := netip.ParseAddr(p.at.Host)
	local, _ := netip.ParseAddr(c.local)
	switch {
	case w.proto.mode == openvpn.TCPServer:
		bad("a tcp-server waits for its peer, which a proxy does not lead to it; leave it out, or let this end be the tcp-client")
	case p.http != nil && w.udp():
		bad("an HTTP proxy carries TCP alone: say --proto tcp-client here and tcp-server at the peer, or use a --socks-proxy; or have it in the --connection of a way that is TCP")
	case w.host.Text == "" && w.udp(): // a tcp-client must have one anyway
		bad("it must be told whom to reach; give a --remote")
	case addr.IsValid() && local.IsValid() && transport.Of(local) != transport.Of(addr):
		bad("%s cannot be reached from %s of --local: one is IPv4, the other IPv6", addr, local)
	case addr.IsValid() && !w.proto.family.Has(addr):
		bad("%s is not an %s address, as --proto wants", addr, w.proto.family)
	}
	switch a, _ := netip.ParseAddr(w.host.Text); {
	case a.Zone() != "":
		bad("%s has the name of an interface of this host behind it, which says nothing to a proxy; give --remote an address without", a)
	case lacksZone(a):
		bad("%s is on every link, so that a proxy could not tell which is meant; give --remote another address", a)
	}
	return errors.Join(faults...)
}

// completeHTTPProxy puts together what several words say.
func (c *config) completeHTTPProxy() error {
	p := &c.proxy
	if p.http == nil {
		return nil
	}
	p.http.Version, p.http.Agent, p.http.Headers = p.version, p.agent, p.headers
	if p.version == "" {
		p.http.Version = "1.0"
	}
	if p.user.data != nil { // it is given, and has been read
		defer wipe(&p.user)
		p.http.Credentials = credentialsIn(p.user)
		if err := p.http.Check(); err != nil {
			return c.at("--http-proxy-user-pass", "%v", err)
		}
		if p.http.Method == proxy.None {
			return c.at("--http-proxy-user-pass", "--http-proxy does not say how to show it; put auto behind its port")
		}
	}
	if m := p.http.Method; p.http.Credentials == nil && m != proxy.None && m != proxy.Auto && m != proxy.AutoNoClear {
		return c.at("--http-proxy", "%s needs a name and a password; give a file with --http-proxy-user-pass", m)
	}
	return nil
}

// connThrough gives the circuit's socket where a proxy leads to the peer.
func (o *opening) connThrough(ctx context.Context) (transport.Conn, error) {
	p, peer := o.way.proxy, o.way.target()
	o.say(ctx, "asking the proxy for the way", "peer", peer, "proxy", p.name())
	if o.way.udp() {
		conn, err := transport.Associate(ctx, o.relayed)
		if err != nil {
			return nil, err
		}
		o.say(ctx, "link is open", "local", conn.Local(), "peer", peer)
		return conn, nil
	}
	var by proxy.Connector = p.socks
	if p.http != nil {
		by = p.http
	}
	conn, err := transport.DialThrough(ctx, o.tcp, o.routes, by, peer, o.way.timeout)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// peerName says who the peer is of a circuit, and through which proxy.
func (c *circuit) peerName() string {
	if c.way.proxy == nil {
		return peerName(c.conn.Peer())
	}
	return c.way.target().String() + " through a proxy"
}
