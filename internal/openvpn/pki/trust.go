package pki

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"time"

	"tmelink/internal/openvpn/keys"
)

// minRSA is the shortest RSA key of OpenSSL's security level 1, which
// --tls-cert-profile legacy is, in bits.
const minRSA = 1024

// checkTrust looks for a way from the peer's certificate to a CA of --ca on which
// everything is valid now, for its purpose, and not revoked.
func (p *Peer) checkTrust(chain []*x509.Certificate, now time.Time) error {
	leaf := chain[0]
	if len(p.Roots) == 0 {
		return p.checkPinned(leaf)
	}
	if err := checkStrength(leaf); err != nil {
		return err
	}
	r := p.role()
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range p.Roots {
		if isRoot(c) {
			roots.AddCert(c)
		} else {
			between.AddCert(c)
		}
	}
	for _, c := range append(chain[1:len(chain):len(chain)], p.Intermediates...) {
		between.AddCert(c)
	}
	ways, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{r.extended},
	})
	if err != nil {
		return p.explain(chain, now, err)
	}
	if err := r.checkPurpose(leaf); err != nil {
		return err
	}
	for _, way := range ways {
		if err = p.checkRevoked(way, now); err == nil {
			return nil
		}
	}
	return err
}

// explain finds what crypto/x509 means by its err: it walks from the peer's
// certificate towards a root and names the first thing that is wrong.
func (p *Peer) explain(chain []*x509.Certificate, now time.Time, err error) error {
	var sent, here []*x509.Certificate = chain[1:], append(p.Roots[:len(p.Roots):len(p.Roots)], p.Intermediates...)
	c := chain[0]
	for range maxChain {
		if wrong := checkDates(c, c == chain[0], contains(here, c), now); wrong != nil {
			return wrong
		}
		if isRoot(c) {
			break
		}
		if wrong := checkStrength(c); wrong != nil {
			return wrong
		}
		next := valid(c, here, now)
		if next == nil {
			next = valid(c, sent, now)
		}
		if next == nil {
			return p.unknownIssuer(chain, c)
		}
		c = next
	}
	if !contains(p.Roots, c) {
		return p.unknownIssuer(chain, c)
	}
	if wrong := p.role().checkPurpose(chain[0]); wrong != nil {
		return wrong
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage {
		return refuse(WrongPurpose, "a CA of the peer's certificate %s may not issue certificates for a TLS %s: the peer must get one from a CA that may", short(chain[0]), p.role().name)
	}
	return refuse(BadChain, "the peer's certificate %s does not lead to a CA of --ca in a valid way (%s): the peer must get a certificate from a CA that may issue it", short(chain[0]), reason(err))
}

// valid is the issuer of c among the candidates, rather one that is valid now: a CA
// that was renewed has several.
func valid(c *x509.Certificate, candidates []*x509.Certificate, now time.Time) *x509.Certificate {
	var good []*x509.Certificate
	for _, ca := range candidates {
		if !now.Before(ca.NotBefore) && !now.After(ca.NotAfter) {
			good = append(good, ca)
		}
	}
	if ca := issuer(c, good); ca != nil {
		return ca
	}
	return issuer(c, candidates)
}

func contains(certificates []*x509.Certificate, c *x509.Certificate) bool {
	for _, other := range certificates {
		if other.Equal(c) {
			return true
		}
	}
	return false
}

// checkDates looks at the validity of the peer's own certificate, or of a CA that
// this host has (here) or the peer sent.
func checkDates(c *x509.Certificate, own, here bool, now time.Time) error {
	what, who := "the CA certificate", "the peer must send a new one"
	switch {
	case own:
		what, who = "the peer's certificate", "the peer must renew it"
	case here:
		who = "this host must give a new one with --ca"
	}
	switch {
	case now.After(c.NotAfter):
		return refuse(Expired, "%s %s expired on %s: %s, or this host's clock (%s) is wrong", what, short(c), moment(c.NotAfter), who, moment(now))
	case now.Before(c.NotBefore):
		return refuse(NotYetValid, "%s %s is not valid before %s: this host's clock (%s) is behind, or %s", what, short(c), moment(c.NotBefore), moment(now), who)
	}
	return nil
}

// checkStrength refuses what can be forged.
func checkStrength(c *x509.Certificate) error {
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSA {
		return refuse(Weak, "the certificate %s has an RSA key of %d bits, and %d is the least: the peer must make a new key and get a certificate for it", short(c), key.N.BitLen(), minRSA)
	}
	if isRoot(c) {
		return nil // nothing rests on its signature
	}
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return refuse(Weak, "the certificate %s is signed with %s, which can be forged: the peer must get one that its CA signs with SHA-256", short(c), c.SignatureAlgorithm)
	}
	return nil
}

// unknownIssuer is the error of a way that ends at c, before any root of ours.
func (p *Peer) unknownIssuer(chain []*x509.Certificate, c *x509.Certificate) error {
	leaf := chain[0]
	name := printable(distinguishedName(c.RawIssuer))
	if isRoot(c) && c == leaf {
		return refuse(UnknownCA, "the peer's certificate %s is self-signed and not in --ca of this host: the peer must use a certificate of that CA, or this host give the peer's fingerprint %s with --peer-fingerprint in place of --ca", short(leaf), keys.Fingerprint(leaf.Raw))
	}
	for _, ca := range p.Roots {
		if bytes.Equal(ca.RawSubject, c.RawIssuer) {
			return refuse(UnknownCA, "the peer's certificate %s does not rest on the CA %s that is known here, but on another of the same name: this host must give that one with --ca, or the peer must get a certificate from this one", short(leaf), name)
		}
	}
	return refuse(UnknownCA, "the peer's certificate %s rests on the CA %s, which this host does not know: give that CA with --ca (or, if it is one between, the peer must send it with --extra-certs), or the peer's fingerprint %s with --peer-fingerprint in place of --ca", short(leaf), name, keys.Fingerprint(leaf.Raw))
}
