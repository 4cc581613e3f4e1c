package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"software.sslmate.com/src/go-pkcs12"
)

// PKCS12 makes our identity of the contents of a PKCS#12 file (--pkcs12; inline it
// is base64, which the caller takes off). Roots are the other certificates in it: with
// no --ca they are the CAs to believe, as in OpenVPN's tls_ctx_load_pkcs12. The CAs
// between are in the identity's chain. password is nil if there is none; a file
// without one is read whatever is given.
func PKCS12(data, password []byte) (tls.Certificate, []*x509.Certificate, error) {
	if len(data) > maxFile {
		return tls.Certificate{}, nil, tooLong(data, maxFile)
	}
	if block, _ := pem.Decode(data); block != nil || !looksPKCS12(data) {
		return tls.Certificate{}, nil, fmt.Errorf("the file is not PKCS#12: %s", stranger(data))
	}
	if err := checkWork(data); err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("the PKCS#12 file: %w", err)
	}
	key, first, others, err := pkcs12.DecodeChain(data, string(password))
	if errors.Is(err, pkcs12.ErrIncorrectPassword) && len(password) > 0 {
		key, first, others, err = pkcs12.DecodeChain(data, "")
	}
	if err != nil {
		return tls.Certificate{}, nil, pkcs12Error(err, password)
	}
	s, err := signer(key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	own := append([]*x509.Certificate{first}, others...)
	at := slices.IndexFunc(own, func(c *x509.Certificate) bool { return fits(s, c) })
	if at < 0 {
		return tls.Certificate{}, nil, errors.New("the PKCS#12 file has no certificate for its private key: export it anew with 'openssl pkcs12 -export -in CERT -inkey KEY'")
	}
	c, err := identity(s, own[at:at+1])
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := slices.Delete(own, at, at+1)
	return Chained(c, roots), roots, nil
}

func pkcs12Error(err error, password []byte) error {
	wrong := errors.Is(err, pkcs12.ErrIncorrectPassword) || errors.Is(err, pkcs12.ErrDecryption)
	switch {
	case wrong && len(password) == 0:
		return errors.New("the PKCS#12 file is encrypted: give its password with --askpass FILE")
	case wrong:
		return errors.New("the password of --askpass does not open the PKCS#12 file")
	}
	return fmt.Errorf("the PKCS#12 file cannot be read (%s): export it anew with 'openssl pkcs12 -export -in CERT -inkey KEY'", reason(err))
}

// looksPKCS12 says whether data begins as a PFX of RFC 7292 does: its version, 3.
func looksPKCS12(data []byte) bool {
	var outer, version asn1.RawValue
	if _, err := asn1.Unmarshal(data, &outer); err != nil || outer.Tag != asn1.TagSequence {
		return false
	}
	if _, err := asn1.Unmarshal(outer.Bytes, &version); err != nil {
		return false
	}
	return version.Tag == asn1.TagInteger && len(version.Bytes) == 1 && version.Bytes[0] == 3
}
