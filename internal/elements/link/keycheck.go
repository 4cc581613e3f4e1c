package link

import (
	"errors"
	"strings"
	"time"

	"tmelink/internal/openvpn/keys"
)

// checkKeys finds contradictions between the words that concern keys.
func (c *config) checkKeys() error {
	s := &c.security
	var faults []error
	bad := func(option, format string, args ...any) { faults = append(faults, c.at(option, format, args...)) }
	switch {
	case s.server && s.client:
		bad("--tls-client", "it contradicts --tls-server; one end is the server and the other the client")
	case s.secret.given() && s.tls():
		bad("--secret", "it contradicts --tls-server and --tls-client; with these both ends need certificates, and no static key")
	case s.pull && !s.client:
		bad("--pull", "only a --tls-client can be told what to do")
	case s.secret.given():
		faults = append(faults, c.checkSecret())
	case s.tls():
		faults = append(faults, c.checkTLS())
	default:
		faults = append(faults, c.checkUnkeyed())
	}
	return errors.Join(faults...)
}

// needKeys are the words that have no meaning without TLS, and those of them that
// have one with a static key.
var (
	needTLS = strings.Fields(`--ca --cert --key --pkcs12 --extra-certs --askpass --peer-fingerprint --verify-x509-name
		--remote-cert-tls --crl-verify --tls-version-min --tls-version-max --tls-auth --tls-crypt --tls-crypt-v2 --dh
		--reneg-sec --reneg-bytes --reneg-pkts --hand-window --tran-window --tls-timeout --max-packet-size
		--data-ciphers --ncp-ciphers --data-ciphers-fallback --tls-exit --single-session --auth-user-pass --auth-retry`)
	needKeys = strings.Fields(`--key-direction --replay-window`)
)

// minReneg is the shortest time between two keys.
const minReneg = 2 * time.Second

func (c *config) checkUnkeyed() error {
	var faults []error
	for _, option := range append(needTLS, needKeys...) {
		if c.has(option) {
			faults = append(faults, c.at(option, "it is of no use without keys: say --tls-server at one end and --tls-client at the other, or give both a --secret; `tmelink pair` writes it all"))
			break
		}
	}
	for option, none := range map[string]bool{"--cipher": c.security.cipher == nil, "--auth": c.security.digest == nil} {
		if c.has(option) && !none {
			faults = append(faults, c.at(option, "without keys a link speaks in the clear; give both ends keys (`tmelink pair` writes them), or leave it out"))
		}
	}
	return errors.Join(faults...)
}

func (c *config) checkSecret() error {
	s := &c.security
	var faults []error
	for _, option := range needTLS {
		if c.has(option) {
			faults = append(faults, c.at(option, "it concerns TLS, and has no effect with --secret; leave it out"))
		}
	}
	switch {
	case s.digest == nil:
		faults = append(faults, c.at("--auth", "packets must be authenticated; say SHA256 at both ends"))
	case s.cipher == nil && c.has("--cipher"):
		faults = append(faults, c.at("--cipher", "with --secret frames are always encrypted; say AES-256-CBC at both ends"))
	case s.cipher == nil:
		faults = append(faults, c.at("--secret", "OpenVPN's default cipher, BF-CBC, is refused as broken: say --cipher AES-256-CBC at both ends"))
	case s.cipher.AEAD():
		faults = append(faults, c.at("--cipher", "%s needs a new key for each session, which a static key is not; say AES-256-CBC at both ends, or use TLS", s.cipher.Name))
	}
	if len(faults) == 0 {
		faults = append(faults, c.readSecret())
	}
	return errors.Join(faults...)
}

// direction is that of a static key: behind its file's name, or of --key-direction.
func (c *config) direction(option, text string) (keys.Direction, error) {
	if text == "" {
		option, text = "--key-direction", c.security.keyDir.Text
	}
	switch text {
	case "":
		return keys.Both, nil
	case "0":
		return keys.Normal, nil
	case "1":
		return keys.Inverse, nil
	}
	return keys.Both, c.at(option, "the direction %q is neither 0 nor 1", text)
}

func (c *config) checkTLS() error {
	s := &c.security
	var faults []error
	bad := func(option, format string, args ...any) { faults = append(faults, c.at(option, format, args...)) }
	role := "--tls-server"
	if s.client {
		role = "--tls-client"
		if c.has("--client") {
			role = "--client"
		}
	}
	given := 0
	for _, f := range []contents{s.tlsAuth, s.tlsCrypt, s.tlsCryptV2} {
		if f.given() {
			given++
		}
	}
	switch {
	case given > 1:
		bad(role, "--tls-auth, --tls-crypt and --tls-crypt-v2 exclude each other; keep the last one")
	case !s.ca.given() && !s.pkcs12.given() && len(s.fingerprints) == 0:
		bad(role, "whom to let in? Give the peer's fingerprint with --peer-fingerprint, or a CA with --ca")
	case s.pkcs12.given() && (s.cert.given() || s.key.given()):
		bad("--pkcs12", "it has certificate and key; leave --cert and --key out")
	case s.cert.given() != s.key.given():
		bad(role, "--cert and --key belong together; give both")
	case !s.cert.given() && !s.pkcs12.given() && !(s.pull && s.user.given()):
		bad(role, "this end has no certificate to show: give --cert and --key, or --pkcs12; `tmelink key certificate NAME` makes them")
	case s.digest == nil:
		bad("--auth", "packets must be authenticated; leave it out")
	case s.versionMax != 0 && s.versionMax < s.versionMin:
		bad("--tls-version-max", "it is below --tls-version-min; leave it out")
	case c.has("--reneg-sec") && s.reneg != 0 && s.reneg < minReneg:
		bad("--reneg-sec", "the next key would be begun before the last one is agreed on; it is 0 for never, or at least %v", minReneg)
	}
	if s.user.given() && s.user.firstLines(1)[0] == "" {
		bad("--auth-user-pass", "the first line must be the user's name, the second the password")
	}
	faults = append(faults, c.readKeys())
	return errors.Join(faults...)
}
