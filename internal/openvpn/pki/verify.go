package pki

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"tmelink/internal/openvpn/keys"
)

// NameType says what --verify-x509-name compares its name with.
type NameType int

// The types of --verify-x509-name.
const (
	NameSubject NameType = iota // "subject": the whole Subject
	NameCommon                  // "name": the CommonName
	NamePrefix                  // "name-prefix": how the CommonName begins
)

// Peer is whom we believe. It is not changed by Verify, which can be called by
// several goroutines.
type Peer struct {
	// Roots are the certificates of --ca. Those that vouch for themselves are
	// believed, the others are CAs between, as OpenSSL has it. With none, the
	// fingerprints decide alone.
	Roots []*x509.Certificate
	// Intermediates are CAs that help to find the way to a root (--extra-certs).
	Intermediates []*x509.Certificate
	// Fingerprints are the SHA-256 of the certificates in DER of which the peer must
	// have one (--peer-fingerprint); none: its CA is enough.
	Fingerprints [][sha256.Size]byte
	// Name and NameType are --verify-x509-name; "": any name.
	Name     string
	NameType NameType
	// KeyUsage is --remote-cert-tls: "server", "client", or "" for none.
	KeyUsage string
	// CRLs are the lists of --crl-verify.
	CRLs []*x509.RevocationList
	// Server is the role of the peer in the TLS handshake.
	Server bool
}

// Verify says whether the certificates that the peer showed, its own first, are
// believed at the time now. That it has the private key is the handshake's matter.
// The error is a *VerifyError.
//
// With fingerprints and no CA nothing of the chain is looked at, and neither are the
// dates, key sizes and purposes of the certificate: whoever listed it knows it
// (verify_hash_no_ca in ssl_verify_openssl.c). With both, both must be satisfied.
func (p *Peer) Verify(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return refuse(NoCertificate, "the peer showed no certificate: it must give its own with --cert and --key, or --pkcs12")
	}
	if len(chain) > maxChain {
		return refuse(BadChain, "the peer showed %d certificates, and a chain has at most %d: the peer must leave out those that do not lead to its CA", len(chain), maxChain)
	}
	leaf := chain[0]
	if len(p.Roots) == 0 && len(p.Fingerprints) == 0 {
		return refuse(UnknownCA, "this host knows nobody to believe, and so not the peer %s: give its CA with --ca, or its fingerprint %s with --peer-fingerprint", short(leaf), keys.Fingerprint(leaf.Raw))
	}
	checks := []func() error{
		func() error { return p.checkFingerprint(leaf) },
		func() error { return p.checkTrust(chain, now) },
		func() error { return p.checkUsage(leaf) },
		func() error { return p.checkName(leaf) },
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Peer) checkFingerprint(leaf *x509.Certificate) error {
	if len(p.Fingerprints) == 0 {
		return nil
	}
	got, found := sha256.Sum256(leaf.Raw), 0
	for i := range p.Fingerprints {
		found |= subtle.ConstantTimeCompare(got[:], p.Fingerprints[i][:])
	}
	if found == 1 {
		return nil
	}
	return refuse(WrongFingerprint, "the peer's certificate %s has the fingerprint %s, which is not in --peer-fingerprint of this host: if it is the right peer, add it there; if not, this host is talking to a stranger", short(leaf), keys.Fingerprint(leaf.Raw))
}

// checkName compares as verify_peer_cert in ssl_verify.c does.
func (p *Peer) checkName(leaf *x509.Certificate) error {
	if p.Name == "" {
		return nil
	}
	subject, common := Subject(leaf), CommonName(leaf)
	var ok bool
	var what, got string
	switch p.NameType {
	case NameSubject:
		ok, what, got = subject == p.Name, "subject", subject
	case NameCommon:
		ok, what, got = common == p.Name, "common name", common
	case NamePrefix:
		ok, what, got = strings.HasPrefix(common, p.Name), "common name", common
	}
	if ok {
		return nil
	}
	const format = "the peer's certificate has the %s %q, and --verify-x509-name of this host wants %s: if it is the right peer, correct the option; if not, the peer must use the certificate of that name"
	wanted := fmt.Sprintf("%q", printable(p.Name))
	if p.NameType == NamePrefix {
		wanted = "one that begins with " + wanted
	}
	return refuse(WrongName, format, what, printable(got), wanted)
}
