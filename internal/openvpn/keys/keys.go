// Package keys is OpenVPN's key files as bytes: static keys (--secret,
// --tls-auth, --tls-crypt), the server's and the clients' keys of tls-crypt-v2,
// self-signed certificates and their fingerprints.
//
// The text of a file flows in and comes out as a key, and the other way round; new
// keys are made of the randomness that the caller hands over. The package opens no
// file and no socket and reads no clock. It never shows a key: what formats, logs or
// encodes one as JSON gets a placeholder, and no error repeats what a file holds. Fmt
// does not ask a key that lies in an unexported field of something else: behind a
// pointer %v and %+v show its address, otherwise all of it.
//
// The sources are those of OpenVPN 2.6 (crypto.c, tls_crypt.c, options.c), the
// documents of tls-crypt-v2 that come with it, and openvpn(8).
package keys

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// MaxFile is how long the text of a key file can be, in bytes. OpenVPN's own are
// below 3 kB; the rest is room for comments and chains of certificates.
const MaxFile = 64 << 10

const notShown = "[key not shown]"

// hidden is part of everything that holds a key, and keeps it out of output.
type hidden struct{}

// String gives a placeholder.
func (hidden) String() string { return notShown }

// Format writes a placeholder, whatever the verb.
func (hidden) Format(f fmt.State, _ rune) { io.WriteString(f, notShown) }

// LogValue gives a placeholder.
func (hidden) LogValue() slog.Value { return slog.StringValue(notShown) }

// MarshalJSON gives a placeholder.
func (hidden) MarshalJSON() ([]byte, error) { return []byte(`"` + notShown + `"`), nil }

// GoString gives a placeholder.
func (hidden) GoString() string { return notShown }

// checkSize refuses a text that is no key file by its size, before any of it is read.
func checkSize(text []byte) error {
	if len(text) > MaxFile {
		return fmt.Errorf("this is longer than %d bytes, and no key file", MaxFile)
	}
	return nil
}

// decodePEM gives the bytes of the first PEM block, which must have the type that
// is wanted: OpenVPN looks no further either.
func decodePEM(text []byte, want string) ([]byte, error) {
	if err := checkSize(text); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	switch {
	case block != nil && block.Type == want:
		return block.Bytes, nil
	case block == nil && bytes.Contains(text, []byte(begin+want+dashes)):
		return nil, fmt.Errorf("the %s is damaged: copy the file again, from the BEGIN line to the END line", want)
	default:
		return nil, fmt.Errorf("no %s: %s", want, whatIs(text))
	}
}

const (
	begin  = "-----BEGIN "
	dashes = "-----"
)

// kinds names what a file is by the label of its BEGIN line.
var kinds = map[string]string{
	staticLabel:                     "an OpenVPN static key (--secret, --tls-auth or --tls-crypt)",
	serverV2Label:                   "a tls-crypt-v2 server key",
	clientV2Label:                   "a tls-crypt-v2 client key",
	certificateLabel:                "a certificate",
	"CERTIFICATE REQUEST":           "a certificate request",
	"X509 CRL":                      "a list of revoked certificates",
	"DH PARAMETERS":                 "Diffie-Hellman parameters",
	"EC PARAMETERS":                 "parameters of an elliptic curve",
	"PUBLIC KEY":                    "a public key",
	"OpenVPN auth-token server key": "a key for auth-tokens",
}

// whatIs says what a text is that is not the key which was looked for.
func whatIs(text []byte) string {
	if len(bytes.TrimSpace(text)) == 0 {
		return "the file is empty"
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return "the file is binary or UTF-16: it has to be plain text"
	}
	for line := range bytes.Lines(text) {
		label, isBegin := strings.CutPrefix(string(bytes.TrimSpace(line)), begin)
		label, isWhole := strings.CutSuffix(label, dashes)
		if !isBegin || !isWhole {
			continue
		}
		if kind := kinds[label]; kind != "" {
			return "the file is " + kind
		}
		if strings.HasSuffix(label, "PRIVATE KEY") {
			return "the file is a certificate's private key"
		}
		return "the file is a PEM file of another kind"
	}
	return "the file has no BEGIN line of any key"
}
