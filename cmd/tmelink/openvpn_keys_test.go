//go:build unix

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// keyCase is one way for tmelink, on host 1, and OpenVPN, on host 2, to share keys.
type keyCase struct {
	name   string
	server bool // tmelink is the TLS server
	tcp    bool
	listen bool   // over TCP tmelink is the one who does
	secret bool   // a static key, and no TLS
	ca     bool   // certificates of a CA, and not fingerprints
	words  string // of both ends
	ours   string // of tmelink
	theirs string // of OpenVPN
	tap    string // more words of tmelink's TAP
	cipher string // what comes of it: AES-256-GCM if empty
	digest string // of a cipher that is not AEAD
	tls    string // TLSv1.3 if empty
}

// keyCases are the roles, with every way to guard the control channel; the ciphers;
// and the ways in which a key can be given.
func keyCases() []keyCase {
	cases := []keyCase{
		{name: "TLS server, UDP, fingerprints", server: true},
		{name: "TLS client, UDP, fingerprints"},
		{name: "TLS server listens, TCP, fingerprints", server: true, tcp: true, listen: true},
		{name: "TLS server connects, TCP, fingerprints", server: true, tcp: true},
		{name: "TLS client connects, TCP, fingerprints", tcp: true},
		{name: "TLS client listens, TCP, fingerprints", tcp: true, listen: true},
		{name: "TLS server, UDP, CA", server: true, ca: true},
		{name: "TLS client, UDP, CA", ca: true},
		{name: "TLS server, TCP, CA", server: true, tcp: true, listen: true, ca: true},
		{name: "TLS client, TCP, CA", tcp: true, ca: true},

		{name: "tls-auth, no direction", server: true, words: "--tls-auth ta"},
		{name: "tls-auth, directions, server", server: true, ours: "--tls-auth ta 0", theirs: "--tls-auth ta 1"},
		{name: "tls-auth, directions, client, SHA512", ours: "--tls-auth openvpn-secret 1", theirs: "--tls-auth openvpn-secret 0", words: "--auth SHA512"},
		{name: "tls-auth, TCP, SHA256", tcp: true, ours: "--tls-auth ta --key-direction 1", theirs: "--tls-auth ta 0", words: "--auth SHA256"},
		{name: "tls-crypt, server", server: true, words: "--tls-crypt tc"},
		{name: "tls-crypt, client", words: "--tls-crypt openvpn-tc"},
		{name: "tls-crypt, TCP", tcp: true, ca: true, words: "--tls-crypt tc"},
		{name: "tls-crypt-v2, server", server: true, ours: "--tls-crypt-v2 v2-server", theirs: "--tls-crypt-v2 v2-client"},
		{name: "tls-crypt-v2, client", ours: "--tls-crypt-v2 v2-client", theirs: "--tls-crypt-v2 v2-server"},
		{name: "tls-crypt-v2 by OpenVPN, server", server: true, ours: "--tls-crypt-v2 openvpn-v2-server", theirs: "--tls-crypt-v2 openvpn-v2-client"},
		{name: "tls-crypt-v2 by OpenVPN, client, TCP", tcp: true, ours: "--tls-crypt-v2 openvpn-v2-client", theirs: "--tls-crypt-v2 openvpn-v2-server"},

		{name: "the peer has --cipher alone", theirs: "--cipher AES-128-GCM", cipher: "AES-256-GCM"},
		{name: "the fallback of both", server: true, ours: "--data-ciphers AES-256-GCM --data-ciphers-fallback AES-192-CBC", theirs: "--data-ciphers CHACHA20-POLY1305 --data-ciphers-fallback AES-192-CBC", cipher: "AES-192-CBC", digest: "SHA1"},
		{name: "the server's order", server: true, ours: "--data-ciphers CHACHA20-POLY1305:AES-128-GCM", theirs: "--data-ciphers AES-128-GCM:CHACHA20-POLY1305", cipher: "CHACHA20-POLY1305"},
		{name: "the server's order, theirs", ours: "--data-ciphers CHACHA20-POLY1305:AES-128-GCM", theirs: "--data-ciphers AES-128-GCM:CHACHA20-POLY1305", cipher: "AES-128-GCM"},

		{name: "a key with a password", ca: true, ours: "--key locked.key --askpass password"},
		{name: "PKCS #12", ca: true, ours: "--pkcs12 client.p12 --askpass password"},
		{name: "TLS 1.2 here", ours: "--tls-version-max 1.2", tls: "TLSv1.2"},
		{name: "TLS 1.2 there", server: true, theirs: "--tls-version-max 1.2", tls: "TLSv1.2"},
	}
	for i, cipher := range []string{"AES-128-GCM", "AES-192-GCM", "CHACHA20-POLY1305"} {
		cases = append(cases, keyCase{name: cipher, server: i%2 == 0, tcp: i == 1, words: "--data-ciphers " + cipher, cipher: cipher})
	}
	for i, cipher := range []string{"AES-128-CBC", "AES-192-CBC", "AES-256-CBC"} {
		for j, digest := range []string{"SHA1", "SHA256", "SHA512"} {
			c := keyCase{cipher: cipher, digest: digest, server: (i+j)%2 == 0, tcp: i == j}
			c.name = fmt.Sprintf("%s, %s", cipher, digest)
			c.words = fmt.Sprintf("--data-ciphers %s --auth %s", cipher, digest)
			cases = append(cases, c)

			c.secret = true
			c.tcp, c.listen = (i+j)%3 == 0, j == 0
			c.name = "static key, " + c.name
			c.words = fmt.Sprintf("--cipher %s --auth %s", cipher, digest)
			switch j {
			case 0:
				c.words += " --secret secret"
			case 1:
				c.ours, c.theirs = "--secret secret 0", "--secret secret 1"
			case 2:
				c.ours, c.theirs = "--secret openvpn-secret --key-direction 1", "--secret openvpn-secret 0"
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// TestOpenVPNWithKeys joins a TAP by a private link to the real OpenVPN: pings and
// 10 MB by checksum both ways, and both ends say that they use the cipher that is
// to come of their words.
func TestOpenVPNWithKeys(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	keys := keyset(t)
	for _, c := range keyCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newDuo(t, keys)
			e.start(t, c)
			bothWays(t, e.hosts[0], e.hosts[1])
			e.expectSuite(t, c)
			complaints(t, e.peer.Output())
			if err := e.ours.Stop(); err != nil {
				t.Errorf("tmelink, ended by SIGTERM: %v", err)
			}
		})
	}
}

// duo is the two hosts of a case, 192.168.0.1 and 192.168.0.2, with what runs there.
type duo struct {
	keys  string // a keyset's folder
	hosts [2]*nstest.Host
	ours  *nstest.Process // tmelink, whose TAP is 10.0.77.1
	peer  *nstest.Process // openvpn, whose TAP is 10.0.77.2
}

func newDuo(t *testing.T, keys string) *duo {
	t.Helper()
	e := &duo{keys: keys, hosts: [2]*nstest.Host{nstest.New(t, "h1"), nstest.New(t, "h2")}}
	nstest.Cable(t, e.hosts[0], "eth0", "192.168.0.1/24", e.hosts[1], "eth0", "192.168.0.2/24")
	return e
}

// start starts both ends of a case, first the one that the other calls.
func (e *duo) start(t *testing.T, c keyCase) {
	t.Helper()
	first := c.server
	if c.tcp {
		first = c.listen
	}
	if first {
		e.startOurs(t, c)
		e.ours.Expect(t, map[bool]string{true: "waiting for a peer", false: "link is open"}[c.tcp], 30*time.Second)
		e.startPeer(t, c)
		return
	}
	e.startPeer(t, c)
	e.peer.Expect(t, map[bool]string{true: "Listening for incoming", false: "link remote"}[c.tcp], 30*time.Second)
	e.startOurs(t, c)
}

func (e *duo) startOurs(t *testing.T, c keyCase) {
	t.Helper()
	f, err := os.CreateTemp(e.keys, "*.tme")
	try(t, err)
	defer f.Close()
	fmt.Fprintf(f, "tap0: tme/host/tun/tap inet 10.0.77.1 netmask 255.255.255.0 nat none hwaddr 02:00:00:00:00:01 %s\n"+
		"link0 at tap0: tme/host/openvpn/socket/link --dev tap --local 192.168.0.1 --remote 192.168.0.2 %s\n",
		c.tap, strings.Join(c.options(t, e.keys, true), " "))
	e.ours = e.hosts[0].Start("tmelink", "run", f.Name())
}

func (e *duo) startPeer(t *testing.T, c keyCase) {
	t.Helper()
	args := []string{"--cd", e.keys, "--dev", "tap0", "--lladdr", "02:00:00:00:00:02", "--ifconfig", "10.0.77.2", "255.255.255.0",
		"--local", "192.168.0.2", "--remote", "192.168.0.1", "--connect-retry", "1", "2", "--verb", "4"}
	if c.tcp && !c.listen || !c.tcp {
		args = append(args, "--bind")
	}
	e.peer = e.hosts[1].Start("openvpn", append(args, c.options(t, e.keys, false)...)...)
}

// options are the words of one end that concern keys and transport.
func (c keyCase) options(t *testing.T, keys string, ours bool) []string {
	var words []string
	add := func(format string, args ...any) {
		words = append(words, strings.Fields(fmt.Sprintf(format, args...))...)
	}
	extra := c.words + " " + c.theirs
	if ours {
		extra = c.words + " " + c.ours
	}
	switch {
	case c.tcp && c.listen == ours:
		add("--proto tcp-server")
	case c.tcp:
		add("--proto tcp-client")
	}
	if !c.secret {
		me, other := "client", "server"
		if c.server == ours {
			me, other = other, me
		}
		add("--tls-%s", me)
		if me == "server" {
			add("--dh none")
		}
		file := me
		if c.ca {
			file = "ca-" + me
			add("--remote-cert-tls %s --verify-x509-name %s name", other, other)
		} else {
			add("--peer-fingerprint %s", fingerprint(t, keys, other))
		}
		if !strings.Contains(extra, "--pkcs12") {
			add("--cert %s.crt", file)
			if c.ca {
				add("--ca ca.crt")
			}
			if !strings.Contains(extra, "--key ") {
				add("--key %s.key", file)
			}
		}
	}
	add("%s", extra)
	return words
}

// expectSuite fails the test unless both ends say that they use the case's cipher.
func (e *duo) expectSuite(t *testing.T, c keyCase) {
	t.Helper()
	suite := orElse(c.cipher, "AES-256-GCM")
	theirs := []string{fmt.Sprintf("Cipher '%s' initialized", suite)}
	if c.digest != "" {
		theirs = append(theirs, fmt.Sprintf("message hash '%s' for HMAC", c.digest))
		suite += " with " + c.digest
	}
	if !c.secret {
		version := orElse(c.tls, "TLSv1.3")
		theirs = append(theirs, "Control Channel: "+version)
		said := suite
		if c.digest != "" {
			said = strconv.Quote(suite)
		}
		e.ours.Expect(t, fmt.Sprintf("cipher=%s tls=%q", said, strings.Replace(version, "v", " ", 1)), time.Second)
	}
	for _, want := range theirs {
		e.peer.Expect(t, want, time.Second)
	}
	e.ours.Signal(syscall.SIGUSR2)
	e.ours.Expect(t, ", "+suite+", ", 10*time.Second)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
