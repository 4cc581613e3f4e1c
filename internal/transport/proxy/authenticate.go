package proxy

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// basic is the Proxy-Authorization of RFC 7617.
func (c *Credentials) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.User+":"+c.Password))
}

// checkBasic says what basic could not tell.
func (c *Credentials) checkBasic() error {
	if strings.Contains(c.User, ":") {
		return errors.New("the user's name has a colon in it, behind which a proxy that takes basic has the password begin (RFC 7617, 2); only digest and ntlm can tell such a name")
	}
	return nil
}

// choose decides what to show with the next request, after the proxy has answered
// that it wants to know who we are. Its error says why there is no next request.
func (x *exchange) choose(answer *http.Response) error {
	offered := parseChallenges(answer.Header.Values("Proxy-Authenticate"))
	digest, hasDigest := bestDigest(offered)
	switch {
	case x.scheme == Digest && hasDigest && digest.stale && !x.stale:
		x.digest, x.stale = digest, true
		return nil
	case x.scheme != "":
		return fmt.Errorf("the HTTP proxy refuses the name and password (%s): %s; correct the file of --http-proxy or --http-proxy-user-pass", x.scheme, x.status(answer))
	case x.Credentials == nil || x.Method == None:
		return fmt.Errorf("the HTTP proxy wants to know who we are: %s; give --http-proxy a file with the name and the password, or auto and --http-proxy-user-pass", x.status(answer))
	}
	takes := func(m Method) bool {
		return x.Method == m || x.Method == Auto || x.Method == AutoNoClear && m != Basic
	}
	has := func(scheme string) bool {
		return slices.ContainsFunc(offered, func(c challenge) bool { return c.scheme == scheme })
	}
	switch {
	case hasDigest && takes(Digest):
		x.scheme, x.digest = Digest, digest
	case has("ntlm") && takes(NTLM):
		x.scheme = NTLM
	case has("basic") && takes(Basic):
		x.scheme = Basic
		return x.Credentials.checkBasic()
	case has("basic") && x.Method == AutoNoClear:
		return errors.New("the HTTP proxy wants the password in the clear (basic), which auto-nct forbids; say auto if everybody on the way to it may know it")
	default:
		return fmt.Errorf("the HTTP proxy offers %s; that is none of the ways to show a password that are allowed here (--http-proxy: %s)", x.schemes(offered), x.Method)
	}
	return nil
}

// schemes are the names of what is offered, for an error.
func (x *exchange) schemes(offered []challenge) string {
	var names []string
	for _, c := range offered {
		name := c.scheme
		if x.Credentials.repeatedIn(fmt.Sprint(name, c.params["algorithm"], c.params["qop"])) {
			return "what is no scheme, " + repeats
		}
		if c.scheme == "digest" {
			name = fmt.Sprintf("digest (algorithm %s, qop %s)", clip(c.params["algorithm"]), clip(c.params["qop"]))
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "nothing"
	}
	text := strings.Join(slices.Compact(names), ", ")
	if len(text) > maxQuoted {
		return strings.ToValidUTF8(text[:maxQuoted], "") + "…"
	}
	return text
}

// challenge is one way to show who we are that a proxy offers (RFC 9110, 11.3).
type challenge struct {
	scheme string // in small letters
	token  string // token68, where there is one
	params map[string]string
}

// maxChallenges and maxParams bound what is read of a header.
const (
	maxChallenges = 16
	maxParams     = 32
	maxScheme     = 32 // bytes
)

// parseChallenges reads the values of all Proxy-Authenticate lines, each a list of
// challenges, whose parameters are separated by the same commas as they are. What
// comes behind something unreadable in a line is left out.
func parseChallenges(lines []string) (all []challenge) {
	for _, line := range lines {
		p := challengeParser{line}
		for len(all) < maxChallenges {
			p.skip(" \t,")
			scheme := p.take(isToken)
			if scheme == "" || len(scheme) > maxScheme {
				break
			}
			c := challenge{scheme: strings.ToLower(scheme)}
			p.skip(" \t")
			if c.token = p.token68(); c.token == "" {
				c.params = p.params()
			}
			all = append(all, c)
		}
	}
	return all
}

// challengeParser holds what has still to be read of a line.
type challengeParser struct{ rest string }

func (p *challengeParser) skip(chars string) { p.rest = strings.TrimLeft(p.rest, chars) }

func (p *challengeParser) take(is func(byte) bool) string {
	n := 0
	for n < len(p.rest) && is(p.rest[n]) {
		n++
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

// isToken is tchar of RFC 9110, 5.6.2.
func isToken(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// token68 reads a token that ends the challenge (RFC 9110, 11.2), or nothing.
func (p *challengeParser) token68() string {
	ahead := challengeParser{p.rest}
	token := ahead.take(func(c byte) bool { return isAlphanumeric(c) || strings.IndexByte("-._~+/", c) >= 0 })
	pad := ahead.take(func(c byte) bool { return c == '=' })
	ahead.skip(" \t")
	if token == "" || ahead.rest != "" && ahead.rest[0] != ',' {
		return ""
	}
	p.rest = ahead.rest
	return token + pad
}

// params reads name=value as long as there are such; the first of a name counts.
func (p *challengeParser) params() map[string]string {
	params := map[string]string{}
	for len(params) < maxParams {
		ahead := challengeParser{p.rest}
		ahead.skip(" \t,")
		name := strings.ToLower(ahead.take(isToken))
		ahead.skip(" \t")
		if name == "" || !strings.HasPrefix(ahead.rest, "=") {
			break // the next challenge
		}
		ahead.rest = ahead.rest[1:]
		ahead.skip(" \t")
		value, ok := ahead.value()
		if !ok {
			p.rest = ""
			break
		}
		if _, twice := params[name]; !twice {
			params[name] = value
		}
		p.rest = ahead.rest
	}
	return params
}

// value reads a token or a quoted string.
func (p *challengeParser) value() (string, bool) {
	if !strings.HasPrefix(p.rest, `"`) {
		return p.take(isToken), true
	}
	var value []byte
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return string(value), true
		case c == '\\' && i+1 < len(p.rest):
			i++
			value = append(value, p.rest[i])
		default:
			value = append(value, c)
		}
	}
	return "", false
}
