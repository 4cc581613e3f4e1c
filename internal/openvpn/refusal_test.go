package openvpn

import (
	"strings"
	"testing"
	"time"

	"tmelink/internal/openvpn/controlchannel"
	"tmelink/internal/openvpn/pki"
)

func TestWrongWrappingKeys(t *testing.T) {
	one, other := wrappings(t), wrappings(t)
	for name, c := range map[string]struct {
		client, server controlchannel.Wrapping
		says           string // at the server
	}{
		"tls-crypt":             {one[4].client, other[4].server, "--tls-crypt key"},
		"tls-auth":              {one[1].client, other[1].server, "--tls-auth"},
		"direction":             {one[2].client, one[2].client, "--tls-auth"},
		"tls-crypt-v2":          {one[5].client, other[5].server, "tls-crypt-v2"},
		"client without":        {one[0].client, one[4].server, "--tls-crypt"},
		"client without, auth":  {one[0].client, one[1].server, "--tls-auth"},
		"client without v2":     {one[4].client, one[5].server, "no tls-crypt-v2 key"},
		"server without v2":     {one[5].client, one[4].server, "no server key for that"},
		"tls-auth for tlscrypt": {one[1].client, one[4].server, "--tls-crypt"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			client, server := w.pair(func(cl, s *Config) { cl.TLS.Wrapping, s.TLS.Wrapping = c.client, c.server })
			w.run(2*time.Minute, nil)
			if client.ready() || server.ready() || w.path("server", "client").count > 0 {
				t.Error("the server has answered")
			}
			if !server.logged("ignored a packet", c.says) || strings.Count(server.log.String(), "\n") > 7 {
				t.Errorf("the server's log:\n%s", server.log)
			}
			if !client.logged("--hand-window") || len(client.errs) != 1 {
				t.Errorf("the client's log: %v\n%s", client.errs, client.log)
			}
		})
	}
}

func TestSameRoles(t *testing.T) {
	w := newWorld(t, 1)
	server := w.add("server", serverAddr, clientAddr, Config{TLS: w.tlsConfig(false)})
	client := w.add("client", clientAddr, serverAddr, Config{TLS: w.tlsConfig(false)})
	w.run(time.Minute, nil)
	if !server.logged("a tls-client like this end") || !client.logged("make one of them the --tls-server") {
		t.Errorf("%s%s", client.log, server.log)
	}
}

func TestWrongCertificates(t *testing.T) {
	known := func(name string) pki.Peer {
		return pki.Peer{Fingerprints: [][32]byte{identities()[name].fingerprint}}
	}
	expired := newIdentity(t, "expired", start.AddDate(0, 0, -20), 10)
	for name, c := range map[string]struct {
		change         func(w *world, client, server *controlchannel.Config)
		client, server []string // what the logs say
	}{
		"the server does not know the client": {func(w *world, c, s *controlchannel.Config) {
			s.TLS = w.trust(identities()["server"], known("stranger"))
		}, []string{"the peer refused this host's certificate", "its --ca or --peer-fingerprint must know it"}, []string{"CN=client", "not in --peer-fingerprint of this host: if it is the right peer, add it there"}},
		"the client does not know the server": {func(w *world, c, s *controlchannel.Config) {
			c.TLS = w.trust(identities()["client"], known("stranger"))
		}, []string{"CN=server", "not in --peer-fingerprint of this host"}, []string{"the peer refused this host's certificate"}},
		"the client shows none": {func(w *world, c, s *controlchannel.Config) {
			c.TLS.Certificates = nil
		}, []string{"the peer wants a certificate and this host showed none"}, []string{"client didn't provide a certificate"}},
		"no version in common": {func(w *world, c, s *controlchannel.Config) {
			c.TLS.MaxVersion, s.TLS.MinVersion = 0x303, 0x304
		}, []string{"--tls-version-min of one side must be lower"}, []string{"unsupported versions"}},
		"the client's has expired": {func(w *world, c, s *controlchannel.Config) {
			c.TLS.Certificates[0] = expired.tls
			s.TLS = w.trust(identities()["server"], pki.Peer{Roots: roots(expired)})
		}, []string{"this host's certificate"}, []string{"expired"}},
		"the server's has expired": {func(w *world, c, s *controlchannel.Config) {
			s.TLS.Certificates[0] = expired.tls
			c.TLS = w.trust(identities()["client"], pki.Peer{Roots: roots(expired), Server: true})
		}, []string{"expired"}, []string{"this host's certificate"}},
		"the clock is wrong": {func(w *world, c, s *controlchannel.Config) {
			s.TLS = w.trust(identities()["server"], pki.Peer{Roots: roots(identities()["client"])})
			w.now = w.now.AddDate(-30, 0, 0)
		}, []string{"this host's certificate"}, []string{"not valid"}},
	} {
		for _, version := range []uint16{0x303, 0x304} {
			if version == 0x303 && (name == "no version in common" || name == "the client shows none") {
				continue // which TLS 1.2 has no alert for
			}
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, 1)
				client, server := w.pair(func(cl, s *Config) {
					c.change(w, cl.TLS, s.TLS)
					if name != "no version in common" {
						cl.TLS.TLS.MaxVersion = version
					}
				})
				w.run(20*time.Second, nil)
				if client.ready() || server.ready() {
					t.Error("there are keys")
				}
				if !client.logged(c.client...) || !server.logged(c.server...) || len(client.errs) != 1 || server.session == nil {
					t.Errorf("version %x: client %v:\n%s\nserver %v:\n%s", version, client.errs, client.log, server.errs, server.log)
				}
				if n := strings.Count(client.log.String(), "no keys"); n != 1 {
					t.Errorf("the client says %d times why", n)
				}
				if n := strings.Count(server.log.String(), "no keys"); n != 1 {
					t.Errorf("the server says %d times why", n)
				}
			})
		}
	}
}
