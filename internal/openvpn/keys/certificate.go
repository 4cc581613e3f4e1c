package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	certificateLabel = "CERTIFICATE"

	// maxName is how long a common name can be: ub-common-name of RFC 5280, and
	// TLS_USERNAME_LEN of OpenVPN, which cannot read a longer one.
	maxName = 64
	// maxDays keeps the end of a certificate within what everybody can read.
	maxDays = 36500
	// early is how long before it is made a certificate becomes valid, for peers
	// whose clock is slow or in another time zone.
	early = 24 * time.Hour
)

// NewCertificate makes a self-signed certificate for a peer that is known by its
// fingerprint, and the private key to it, both as PEM: an ECDSA key on P-256, for TLS
// servers and clients alike. Name is its common name, 1 to 64 bytes; it is valid
// from a day before now until days after it, 1 to 36500. Of random comes the serial
// number; the key comes from the system's randomness, as Go wants it.
func NewCertificate(random io.Reader, name string, now time.Time, days int) (certPEM, keyPEM []byte, err error) {
	if err := checkName(name); err != nil {
		return nil, nil, err
	}
	if days < 1 || days > maxDays {
		return nil, nil, fmt.Errorf("a certificate cannot be valid for %d days: choose 1 to %d", days, maxDays)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, nil, fmt.Errorf("make a private key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-early),
		NotAfter:              now.AddDate(0, 0, days),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(random, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a private key: %w", err)
	}
	defer clear(raw)
	certPEM = pem.EncodeToMemory(&pem.Block{Type: certificateLabel, Bytes: der})
	return certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a certificate's name has 1 to %d bytes, not %d", maxName, len(name))
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("the certificate's name %q has characters that cannot be printed", name)
	}
	return nil
}

// Fingerprint gives the SHA-256 of a certificate, in the form that --peer-fingerprint
// takes: upper-case hexadecimal with colons. Der is the certificate in DER.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// CertificateFingerprint gives the fingerprint of the first certificate in the text
// of a PEM file, as `openssl x509 -fingerprint -sha256` does. The file may hold other
// things before and behind it, such as the private key.
func CertificateFingerprint(text []byte) (string, error) {
	if err := checkSize(text); err != nil {
		return "", err
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != certificateLabel {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", fmt.Errorf("the certificate is damaged: %w", err)
		}
		return Fingerprint(block.Bytes), nil
	}
	if bytes.Contains(text, []byte(begin+certificateLabel+dashes)) {
		return "", errors.New("the certificate is damaged: copy the file again, from the BEGIN line to the END line")
	}
	return "", fmt.Errorf("no certificate: %s", whatIs(text))
}

// ParseFingerprint reads a SHA-256 fingerprint as --peer-fingerprint takes it: 32
// bytes of two hexadecimal digits each, of either case, with colons between
// (parse_hash_fingerprint, options.c). White space around it is left out.
func ParseFingerprint(text string) (sum [sha256.Size]byte, err error) {
	const want = "the fingerprint has to be 32 pairs of hexadecimal digits with colons between, as in `tmelink key fingerprint FILE`"
	text = strings.TrimSpace(text)
	if len(text) != 3*len(sum)-1 {
		if n := strings.Count(text, ":") + 1; n == 20 || n == 16 {
			return sum, fmt.Errorf("this is an MD5 or SHA-1 fingerprint: %s", want)
		}
		return sum, errors.New(want)
	}
	for i := range sum {
		_, err := hex.Decode(sum[i:i+1], []byte(text[3*i:3*i+2]))
		if err != nil || i > 0 && text[3*i-1] != ':' {
			return [sha256.Size]byte{}, errors.New(want)
		}
	}
	return sum, nil
}
