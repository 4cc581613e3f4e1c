package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestTLSAlertHint lets a peer refuse us in true handshakes.
func TestTLSAlertHint(t *testing.T) {
	e := issue(t, nil, host("own"))
	identity, err := Certificate(certPEM(e), keyPEM(t, e), nil)
	if err != nil {
		t.Fatal(err)
	}
	own := tls.Config{Certificates: []tls.Certificate{identity}, InsecureSkipVerify: true}
	for name, c := range map[string]struct {
		peer func(*tls.Config) // what the other side has otherwise
		us   func(*tls.Config)
		want string
	}{
		"refused": {func(c *tls.Config) {
			c.ClientAuth = tls.RequireAnyClientCert
			c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("no") }
		}, func(*tls.Config) {}, "--peer-fingerprint must know it"},
		"unknown CA": {func(c *tls.Config) {
			c.ClientAuth = tls.RequireAndVerifyClientCert
			c.ClientCAs = x509.NewCertPool()
		}, func(*tls.Config) {}, "does not know the CA of this host's certificate"},
		"no certificate": {func(c *tls.Config) {
			c.ClientAuth = tls.RequireAnyClientCert
		}, func(c *tls.Config) { c.Certificates = nil }, "give --cert and --key"},
		"version": {func(c *tls.Config) {
			c.MinVersion = tls.VersionTLS13
		}, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "--tls-version-min"},
	} {
		peer, us := own.Clone(), own.Clone()
		c.peer(peer)
		c.us(us)
		err := shake(t, peer, us)
		if got := TLSAlertHint(fmt.Errorf("handshake: %w", err)); !strings.Contains(got, c.want) {
			t.Errorf("%s: hint %q for %v, want %q", name, got, err, c.want)
		}
	}
	refusing := own.Clone()
	refusing.VerifyConnection = func(tls.ConnectionState) error { return errors.New("no") }
	err = shake(t, own.Clone(), refusing)
	if got := TLSAlertHint(err); err == nil || got != "" {
		t.Errorf("hint %q where we refused: %v", got, err)
	}
}

// shake lets us, a client, talk to the peer, and returns our error.
func shake(t *testing.T, peer, us *tls.Config) error {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for _, end := range []net.Conn{a, b} {
		if err := end.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		defer a.Close()
		tls.Server(a, peer).Handshake()
	}()
	// TLS 1.3 tells a client what the server thinks of it only after its handshake.
	_, err := tls.Client(b, us).Read(make([]byte, 1))
	return err
}

func TestTLSAlertHintOfOthers(t *testing.T) {
	for alert := range 256 {
		a := tls.AlertError(alert)
		want := alertHints[a]
		if got := TLSAlertHint(&net.OpError{Op: "remote error", Err: a}); got != want {
			t.Errorf("%v: %q", a, got)
		}
		if got := TLSAlertHint(&net.OpError{Op: "local error", Err: a}); got != "" {
			t.Errorf("local %v: %q", a, got)
		}
	}
	for _, err := range []error{nil, io.EOF, errors.New("remote error: tls: bad certificate"), &net.OpError{Op: "remote error"}} {
		if got := TLSAlertHint(err); got != "" {
			t.Errorf("%v: %q", err, got)
		}
	}
}
