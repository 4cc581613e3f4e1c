package openvpn

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"tmelink/internal/openvpn/controlchannel"
	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/openvpn/keys"
	"tmelink/internal/openvpn/pki"
)

// identity is a certificate with its key and fingerprint.
type identity struct {
	tls         tls.Certificate
	fingerprint [32]byte
}

// newIdentity makes a certificate as `tmelink pair` does, valid around a time.
func newIdentity(t testing.TB, name string, made time.Time, days int) identity {
	t.Helper()
	certPEM, keyPEM, err := keys.NewCertificate(rand.Reader, name, made, days)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.CertificateFingerprint(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := keys.ParseFingerprint(text)
	if err != nil {
		t.Fatal(err)
	}
	return identity{cert, sum}
}

// identities are made once for all tests.
var identities = sync.OnceValue(func() map[string]identity {
	all := map[string]identity{}
	for _, name := range []string{"client", "server", "stranger"} {
		all[name] = newIdentity(&testing.T{}, name, start, 3650)
	}
	return all
})

// trust makes the TLS configuration of an end as a link does.
func (w *world) trust(own identity, peer pki.Peer) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{own.tls},
		InsecureSkipVerify:     true,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			var chain []*x509.Certificate
			for _, der := range raw {
				c, err := x509.ParseCertificate(der)
				if err != nil {
					return err
				}
				chain = append(chain, c)
			}
			return peer.Verify(chain, w.now)
		},
	}
}

// tlsConfig is that of a client or server that knows the other by its fingerprint.
func (w *world) tlsConfig(server bool) *controlchannel.Config {
	own, other := identities()["client"], identities()["server"]
	if server {
		own, other = other, own
	}
	digest, _ := datachannel.LookupDigest("SHA256")
	return &controlchannel.Config{
		Server: server,
		TLS:    w.trust(own, pki.Peer{Fingerprints: [][32]byte{other.fingerprint}, Server: !server}),
		Options: Options{MTU: 1500, Proto: UDP, Keys: &KeyOptions{
			Cipher: cipherNamed("AES-256-GCM"), Digest: digest, Server: server,
		}}.String(),
		Ciphers: ciphersNamed("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"),
		Digest:  digest,
		Window: func() datachannel.Window {
			return datachannel.NewWindow(datachannel.DefaultWindow, datachannel.DefaultLate)
		},
		Platform: "linux", MTU: 1600,
		MaxPacket: 1250, HandWindow: time.Minute, TranWindow: time.Hour, Timeout: 2 * time.Second, RenegTime: time.Hour,
		Random: rand.Reader,
	}
}

func cipherNamed(name string) *datachannel.Cipher {
	c, err := datachannel.LookupCipher(name)
	if err != nil {
		panic(err)
	}
	return c
}

func ciphersNamed(names ...string) (all []*datachannel.Cipher) {
	for _, name := range names {
		all = append(all, cipherNamed(name))
	}
	return all
}

// roots are those of an end that takes an identity's certificate for a CA's.
func roots(i identity) []*x509.Certificate { return []*x509.Certificate{i.tls.Leaf} }

const (
	clientAddr   = "192.0.2.1:1194"
	serverAddr   = "192.0.2.2:1194"
	strangerAddr = "203.0.113.66:6666"
)

// pair makes a client and a server; change alters their configurations before they
// begin.
func (w *world) pair(change func(client, server *Config)) (client, server *end) {
	c, s := Config{TLS: w.tlsConfig(false)}, Config{TLS: w.tlsConfig(true)}
	if change != nil {
		change(&c, &s)
	}
	server = w.add("server", serverAddr, clientAddr, s)
	client = w.add("client", clientAddr, serverAddr, c)
	return client, server
}

// both says when both ends can send.
func both(a, b *end) func() bool { return func() bool { return a.ready() && b.ready() } }

// meet lets two ends agree on keys within so long a time.
func (w *world) meet(a, b *end, within time.Duration) {
	w.t.Helper()
	if !w.run(within, both(a, b)) {
		w.t.Fatalf("no keys within %v: %v %v\n%s%s", within, a.errs, b.errs, a.log, b.log)
	}
}
