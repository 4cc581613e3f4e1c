package link

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"tmelink/internal/openvpn"
	"tmelink/internal/openvpn/controlchannel"
	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
	"tmelink/internal/openvpn/pki"
)

// keyring is what the link's key files hold, read.
type keyring struct {
	static   *datachannel.Key
	wrapping controlchannel.Wrapping
	identity []tls.Certificate
	peer     pki.Peer
}

// readSecret makes the key of --secret. It is one for the link's whole life, so
// that packet ids go on where a new circuit begins.
func (c *config) readSecret() error {
	s := &c.security
	defer wipe(&s.secret)
	static, err := keys.ParseStatic(s.secret.data)
	if err != nil {
		return c.at("--secret", "%v", err)
	}
	dir, err := c.direction("--secret", s.secretDir.Text)
	if err != nil {
		return err
	}
	out, in := static.Pair(dir)
	suite, form := datachannel.Suite{Cipher: s.cipher, Digest: s.digest}, datachannel.StaticForm()
	c.keyring.static = &datachannel.Key{
		Sealer: datachannel.NewSealer(suite, form, out),
		Opener: datachannel.NewOpener(suite, form, in, s.newWindow()),
	}
	static.Wipe()
	return nil
}

func (s *security) newWindow() datachannel.Window { return datachannel.NewWindow(s.window, s.late) }

// readKeys reads the files for TLS.
func (c *config) readKeys() error {
	s := &c.security
	defer wipe(&s.key, &s.pkcs12, &s.askpass, &s.tlsAuth, &s.tlsCrypt, &s.tlsCryptV2)
	return errors.Join(c.readWrapping(), c.readIdentity(), c.readAuthorities())
}

// wipe forgets what secret files held.
func wipe(files ...*contents) {
	for _, f := range files {
		clear(f.data)
	}
}

func (c *config) readWrapping() (err error) {
	s, w := &c.security, &c.keyring.wrapping
	switch {
	case s.tlsAuth.given():
		w.Digest = s.digest
		if w.Auth, err = keys.ParseStatic(s.tlsAuth.data); err != nil {
			return c.at("--tls-auth", "%v", err)
		}
		w.Dir, err = c.direction("--tls-auth", s.authDir.Text)
		return err
	case s.tlsCrypt.given():
		if w.Crypt, err = keys.ParseStatic(s.tlsCrypt.data); err != nil {
			return c.at("--tls-crypt", "%v", err)
		}
	case s.tlsCryptV2.given() && s.server:
		if w.ServerV2, err = keys.ParseServerV2(s.tlsCryptV2.data); err != nil {
			return c.at("--tls-crypt-v2", "%v", err)
		}
	case s.tlsCryptV2.given():
		if w.ClientV2, err = keys.ParseClientV2(s.tlsCryptV2.data); err != nil {
			return c.at("--tls-crypt-v2", "%v", err)
		}
	}
	return nil
}

func (c *config) readIdentity() error {
	s := &c.security
	var password []byte
	if s.askpass.given() {
		password = []byte(s.askpass.firstLines(1)[0])
	}
	var identity tls.Certificate
	var roots []*x509.Certificate
	var err error
	switch {
	case s.pkcs12.given():
		data := s.pkcs12.data
		if s.pkcs12.path == "" { // inline
			if data, err = base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(data), nil))); err != nil {
				return c.at("--pkcs12", "what stands inline is not base64: %v", err)
			}
		}
		if identity, roots, err = pki.PKCS12(data, password); err != nil {
			return c.at("--pkcs12", "%v", err)
		}
	case s.cert.given() && s.key.given():
		if identity, err = pki.Certificate(s.cert.data, s.key.data, password); err != nil {
			return c.at("--cert", "%v", err)
		}
	default:
		return nil // checkTLS has found out whether there must be one
	}
	c.keyring.peer.Roots = roots
	if s.extra.given() {
		extra, err := pki.Roots(s.extra.data)
		if err != nil {
			return c.at("--extra-certs", "%v", err)
		}
		identity = pki.Chained(identity, extra)
		c.keyring.peer.Intermediates = extra
	}
	c.keyring.identity = []tls.Certificate{identity}
	return nil
}

func (c *config) readAuthorities() (err error) {
	s, p := &c.security, &c.keyring.peer
	p.Fingerprints, p.Name, p.NameType, p.KeyUsage, p.Server = s.fingerprints, s.name, s.nameType, s.usage, s.client
	if s.ca.given() {
		if p.Roots, err = pki.Roots(s.ca.data); err != nil {
			return c.at("--ca", "%v", err)
		}
		for i := range c.keyring.identity {
			c.keyring.identity[i] = pki.Chained(c.keyring.identity[i], p.Roots)
		}
	}
	if s.crl.given() {
		if p.CRLs, err = pki.ParseCRL(s.crl.data); err != nil {
			return c.at("--crl-verify", "%v", err)
		}
	}
	return nil
}

// tlsConfig is what a circuit agrees on keys with.
func (l *Link) tlsConfig() *tls.Config {
	c := l.config
	config := &tls.Config{
		MinVersion: c.security.versionMin, MaxVersion: c.security.versionMax,
		Certificates: c.keyring.identity,
		// The chain is looked at by package pki, which knows OpenVPN's rules.
		InsecureSkipVerify:     true,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
	}
	config.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		return l.believes(raw, config.Time)
	}
	return config
}

// believes says whether the link's peer is who showed these certificates.
func (l *Link) believes(raw [][]byte, clock func() time.Time) error {
	var chain []*x509.Certificate
	for _, der := range raw {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		chain = append(chain, cert)
	}
	peer := l.config.keyring.peer
	peer.CRLs = l.revoked()
	now := time.Now()
	if clock != nil {
		now = clock()
	}
	return peer.Verify(chain, now)
}

// revoked reads the list of --crl-verify again, because it may have changed. One
// that cannot be read any more is as it was last.
func (l *Link) revoked() []*x509.RevocationList {
	crl, last := l.config.security.crl, l.config.keyring.peer.CRLs
	if !crl.given() || crl.path == "" {
		return last
	}
	data, err := readFile(crl.path)
	if err == nil {
		var lists []*x509.RevocationList
		if lists, err = pki.ParseCRL(data); err == nil {
			return lists
		}
	}
	l.log.Warn("--crl-verify: the list that was read last is used on", "err", err)
	return last
}

// control is how a circuit agrees on keys, nil for a link without TLS.
func (l *Link) control(w way, options string) *controlchannel.Config {
	c, s := l.config, &l.config.security
	if !s.tls() {
		return nil
	}
	config := &controlchannel.Config{
		Server: s.server, KnowsPeer: w.host.Text != "" && w.udp(), Wrapping: c.keyring.wrapping, TLS: l.tlsConfig(), Options: options,
		Ciphers: s.ciphers, Fallback: s.fallback, Digest: s.digest, Window: s.newWindow,
		Pull: s.pull, Platform: runtime.GOOS, MTU: c.mtu, Settled: l.settled,
		MaxPacket: s.maxPacket, HandWindow: s.hand, TranWindow: s.tran, Timeout: s.tlsTimeout,
		RenegTime: s.reneg, RenegBytes: s.renegBytes, RenegPackets: s.renegPackets,
		Single: s.single, Random: rand.Reader, Failing: &l.failing, Log: l.log,
	}
	if config.Fallback == nil && !s.pull {
		config.Fallback = s.cipher
	}
	if s.user.given() {
		lines := s.user.firstLines(2)
		config.User, config.Password = lines[0], lines[1]
	}
	return config
}

// settled hears what a server says.
func (l *Link) settled(said *controlchannel.Settings) {
	if len(said.Ignored) > 0 {
		l.log.Warn("the server says things that a link does not do", "options", said.Ignored)
	}
	if said.Shaper > 0 {
		l.port.shaper.Store(newShaper(said.Shaper))
	}
	network := said.Network
	if network.Equal(nil) {
		return
	}
	l.port.guide(&network, l.log)
}

// warnOfKeys says once, at start, what a user should know of the link's secrecy.
func (l *Link) warnOfKeys() {
	c, log := l.config, l.log
	switch {
	case c.security.secret.given():
		log.Warn("a static key has no forward secrecy: whoever gets it can read all that was ever sent; `tmelink pair` makes keys that are agreed on anew by TLS")
	case !c.security.keyed() && !c.stays():
		log.Warn("frames travel in the clear: whoever is on the way can read and forge them; `tmelink pair` makes the link private")
	}
}

// stays says whether the link's packets stay on this host, whatever way it goes.
func (c *config) stays() bool {
	isLoopback := func(host string) bool {
		addr, err := netip.ParseAddr(host)
		return host == "localhost" || err == nil && addr.IsLoopback()
	}
	return !slices.ContainsFunc(c.ways, func(w way) bool {
		if w.proxy != nil {
			return !isLoopback(w.proxy.at.Host) || !isLoopback(w.host.Text)
		}
		return !isLoopback(w.host.Text) && !isLoopback(c.local)
	})
}

// keyOptionString is what the link's option string says of keys, nil for nothing.
func (c *config) keyOptionString() *openvpn.KeyOptions {
	s := &c.security
	if !s.keyed() {
		return nil
	}
	k := &openvpn.KeyOptions{
		Cipher: s.cipher, Digest: s.digest, Secret: s.secret.given(), Server: s.server, Pull: s.pull, Auth: s.tlsAuth.given(),
	}
	for _, dir := range []string{s.secretDir.Text, s.authDir.Text, s.keyDir.Text} {
		if k.Direction == "" {
			k.Direction = dir
		}
	}
	return k
}
