package pki

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// maxChain is how many certificates a chain has at most (MAX_CERT_DEPTH of
// OpenVPN's ssl_verify.h).
const maxChain = 16

// Certificate makes our identity of the files of --cert and --key, both in PEM. The
// certificate is the first of its file, others behind it are sent along; the two may
// be one file. The key is RSA, ECDSA or Ed25519 in PKCS#8 or in OpenSSL's older
// forms; password is for an encrypted one, nil if there is none, and is not kept.
func Certificate(certPEM, keyPEM []byte, password []byte) (tls.Certificate, error) {
	chain, err := Roots(certPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("the certificate: %w", err)
	}
	key, err := privateKey(keyPEM, password)
	if err != nil {
		return tls.Certificate{}, err
	}
	return identity(key, chain)
}

// identity joins a key and its certificate, the first of the chain.
func identity(key crypto.Signer, chain []*x509.Certificate) (tls.Certificate, error) {
	if !fits(key, chain[0]) {
		return tls.Certificate{}, fmt.Errorf("the private key does not fit the certificate (%s): give the --key that this certificate was made for; the host's own certificate must be the first of its file", Subject(chain[0]))
	}
	identity := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		identity.Certificate = append(identity.Certificate, c.Raw)
	}
	return identity, nil
}

func fits(key crypto.Signer, c *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

// signer gives the private key that a parser returned, if it can be used.
func signer(key any) (crypto.Signer, error) {
	if s, ok := key.(crypto.Signer); ok {
		return s, nil
	}
	return nil, errors.New("the private key is of a kind that cannot sign: make an ECDSA, RSA or Ed25519 one")
}

// Chained gives the identity with the CAs between its certificate and the root
// behind it, as far as they are among those given. One that has a chain already
// stays as it is. OpenSSL does the same with what is in --ca, so that a peer needs
// to know the root only.
func Chained(identity tls.Certificate, from []*x509.Certificate) tls.Certificate {
	if len(identity.Certificate) != 1 || identity.Leaf == nil {
		return identity
	}
	chain := [][]byte{identity.Leaf.Raw}
	for c := identity.Leaf; len(chain) < maxChain; {
		c = issuer(c, from)
		if c == nil || isRoot(c) {
			break
		}
		chain = append(chain, c.Raw)
	}
	identity.Certificate = chain
	return identity
}

// issuer finds who signed c, nil if it is not among the candidates.
func issuer(c *x509.Certificate, candidates []*x509.Certificate) *x509.Certificate {
	if isRoot(c) {
		return nil
	}
	for _, ca := range candidates {
		if bytes.Equal(ca.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	return nil
}

// isRoot says whether a certificate vouches for itself: OpenSSL's EXFLAG_SS. A CA's
// old key vouching for its new one has the same name twice, but not the same key.
func isRoot(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) &&
		(len(c.AuthorityKeyId) == 0 || len(c.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId))
}
