// Package pki says who we are and whom we believe in OpenVPN's TLS mode: it reads
// our certificate and private key, and decides about the certificate that the peer
// showed.
//
// The contents of files flow in (Certificate, PKCS12, Roots, ParseCRL) and come out
// as what crypto/tls takes and what a Peer is made of; the peer's certificates flow
// into Peer.Verify, and an error comes out that says which side must change what. The
// package opens no file and no socket, reads no clock, asks for no password and
// writes no log; no key and no password is in an error of it.
//
// The decisions are those of OpenVPN 2.6 with OpenSSL 3 (ssl_verify.c,
// ssl_verify_openssl.c, ssl_openssl.c) and its default --tls-cert-profile, legacy:
// no MD5 and no SHA-1 in signatures, RSA of 1024 bits and more. Where they differ,
// this package is the stricter one, and the place says so.
package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// maxFile bounds a file with keys or certificates, in bytes. A bundle of all CAs of
// the web has a quarter of this.
const maxFile = 1 << 20

// The labels of PEM blocks that are read here (RFC 7468; OpenSSL's pem.h).
const (
	labelCertificate = "CERTIFICATE"
	labelX509        = "X509 CERTIFICATE"
	labelPKCS8       = "PRIVATE KEY"
	labelEncrypted   = "ENCRYPTED PRIVATE KEY"
	labelRSA         = "RSA PRIVATE KEY"
	labelEC          = "EC PRIVATE KEY"
	labelCRL         = "X509 CRL"
)

// strangers says, for the label of a PEM block that stands where another was
// wanted, what the file is and where it belongs.
var strangers = map[string]string{
	labelCertificate:                  "a certificate: it belongs to --cert, a CA's to --ca",
	labelX509:                         "a certificate: it belongs to --cert, a CA's to --ca",
	"TRUSTED CERTIFICATE":             "a certificate in OpenSSL's own form: convert it with 'openssl x509 -in FILE'",
	labelPKCS8:                        "a private key: it belongs to --key",
	labelEncrypted:                    "an encrypted private key: it belongs to --key",
	labelRSA:                          "a private key: it belongs to --key",
	labelEC:                           "a private key: it belongs to --key",
	"DSA PRIVATE KEY":                 "a DSA key, which TLS no longer takes: make an ECDSA or RSA one",
	"OPENSSH PRIVATE KEY":             "an SSH key: make a key for TLS, or convert it with 'ssh-keygen -p -m PKCS8 -f FILE'",
	"PUBLIC KEY":                      "a bare public key, of no use here",
	"CERTIFICATE REQUEST":             "a request for a certificate: the CA must sign it first, and what it returns belongs to --cert",
	"NEW CERTIFICATE REQUEST":         "a request for a certificate: the CA must sign it first, and what it returns belongs to --cert",
	labelCRL:                          "a revocation list: it belongs to --crl-verify",
	"DH PARAMETERS":                   "Diffie-Hellman parameters: they belong to --dh",
	"PKCS7":                           "a PKCS#7 bundle: convert it with 'openssl pkcs7 -print_certs -in FILE'",
	"OpenVPN Static key V1":           "an OpenVPN static key: it belongs to --tls-crypt, --tls-auth or --secret",
	"OpenVPN tls-crypt-v2 client key": "a tls-crypt-v2 key: it belongs to --tls-crypt-v2 of the client",
	"OpenVPN tls-crypt-v2 server key": "a tls-crypt-v2 key: it belongs to --tls-crypt-v2 of the server",
}

// stranger says what data, in which nothing of the wanted kind was found, is instead.
func stranger(data []byte) string {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if s, ok := strangers[block.Type]; ok {
			return "it is " + s
		}
	}
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return "it is empty"
	case looksPKCS12(data):
		return "it is PKCS#12: it belongs to --pkcs12"
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return "it is a certificate in DER: convert it with 'openssl x509 -inform DER -in FILE'"
	}
	if _, err := x509.ParseRevocationList(data); err == nil {
		return "it is a revocation list in DER: convert it with 'openssl crl -inform DER -in FILE'"
	}
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		return "its PEM is damaged: the lines from BEGIN to END must be complete"
	}
	return "it is not PEM (no line '-----BEGIN …')"
}

// Roots reads the certificates of a file in PEM, as --ca and --extra-certs have it,
// in their order, at least one. Other blocks are passed over.
func Roots(caPEM []byte) ([]*x509.Certificate, error) {
	if len(caPEM) > maxFile {
		return nil, tooLong(caPEM, maxFile)
	}
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(caPEM); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != labelCertificate && block.Type != labelX509 {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the file cannot be read (%s): its issuer must make it anew", len(certificates)+1, reason(err))
		}
		certificates = append(certificates, c)
	}
	if len(certificates) == 0 {
		return nil, fmt.Errorf("there is no certificate in the file: %s", stranger(caPEM))
	}
	return certificates, nil
}

func tooLong(data []byte, most int) error {
	return fmt.Errorf("the file has %d bytes, more than the %d of any such file: is it the right one?", len(data), most)
}

// reason is a library's error without the name of the library, on one printable line.
func reason(err error) string {
	s := err.Error()
	for _, library := range []string{"x509: ", "pkcs8: ", "pkcs12: ", "asn1: "} {
		s = strings.TrimPrefix(s, library)
	}
	return printable(s)
}
