package proxy

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// digestChallenge is what a proxy says for RFC 7616.
type digestChallenge struct {
	realm, nonce, opaque string
	hasOpaque            bool
	algorithm            string // as the proxy writes it, "" where it does not
	hash                 func() hash.Hash
	session              bool // the algorithm is of the -sess kind
	stale                bool // the nonce was too old, and nothing else wrong
}

// bestDigest gives the strongest of the digest challenges that can be answered:
// SHA-256 before MD5, with the quality of protection auth.
func bestDigest(offered []challenge) (best digestChallenge, ok bool) {
	for _, c := range offered {
		if c.scheme != "digest" || c.params["nonce"] == "" || !slices.ContainsFunc(strings.Split(c.params["qop"], ","), func(q string) bool {
			return strings.EqualFold(strings.TrimSpace(q), "auth")
		}) {
			continue
		}
		d := digestChallenge{
			realm: c.params["realm"], nonce: c.params["nonce"], algorithm: c.params["algorithm"],
			stale: strings.EqualFold(c.params["stale"], "true"),
		}
		d.opaque, d.hasOpaque = c.params["opaque"]
		var name string
		name, d.session = strings.CutSuffix(strings.ToUpper(d.algorithm), "-SESS")
		switch name {
		case "SHA-256":
			d.hash = sha256.New
			return d, true
		case "", "MD5":
			d.hash = md5.New
			if !ok {
				best, ok = d, true
			}
		}
	}
	return best, ok
}

// newNonce is ours: text from 16 random bytes.
func newNonce() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails, as its documentation says
	return hex.EncodeToString(b)
}

// answer is the Proxy-Authorization for a request. A nonce is used once only, so that
// its count is always 1.
func (d *digestChallenge) answer(method, uri string, c Credentials, nonce string) (string, error) {
	if hasControls(d.realm + d.nonce + d.opaque) {
		return "", errors.New("the HTTP proxy's digest challenge has a control character in it")
	}
	h := func(parts ...string) string {
		digest := d.hash()
		digest.Write([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(digest.Sum(nil))
	}
	const count, qop = "00000001", "auth"
	a1 := h(c.User, d.realm, c.Password)
	if d.session {
		a1 = h(a1, d.nonce, nonce)
	}
	response := h(a1, d.nonce, count, nonce, qop, h(method, uri))
	text := fmt.Sprintf("Digest username=%s, realm=%s, nonce=%s, uri=%s, qop=%s, nc=%s, cnonce=%s, response=%s",
		quoted(c.User), quoted(d.realm), quoted(d.nonce), quoted(uri), qop, count, quoted(nonce), quoted(response))
	if d.algorithm != "" {
		text += ", algorithm=" + d.algorithm
	}
	if d.hasOpaque {
		text += ", opaque=" + quoted(d.opaque)
	}
	return text, nil
}

// quoted is a quoted-string (RFC 9110, 5.6.4).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
