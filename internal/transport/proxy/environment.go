package proxy

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// ParseURL reads the URL of an HTTP proxy, as it stands in HTTPS_PROXY: where it is,
// and the credentials, nil where it has none. Errors do not show the URL, which may
// have a password in it.
func ParseURL(text string) (at Target, c *Credentials, err error) {
	if !strings.Contains(text, "://") { // host:port alone is usual, too
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return at, nil, errors.New("it is not a URL such as http://proxy.example:3128")
	}
	switch u.Scheme {
	case "http":
	case "https":
		return at, nil, errors.New("its proxy is to be spoken to by TLS (https://), which is not carried out; the link has its own keys")
	case "socks5", "socks5h":
		return at, nil, errors.New("its proxy speaks SOCKS; give it to --socks-proxy")
	default:
		return at, nil, errors.New("its scheme is not http")
	}
	at = Target{Host: u.Hostname(), Port: 80}
	if u.Port() != "" {
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || port == 0 {
			return at, nil, errors.New("its port is not a number from 1 to 65535")
		}
		at.Port = uint16(port)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		c = &Credentials{u.User.Username(), password}
		if err := c.Check(); err != nil {
			return at, nil, err
		}
	}
	return at, c, nil
}
