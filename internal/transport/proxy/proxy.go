// Package proxy asks a proxy for the way to a link's peer: an HTTP proxy by CONNECT
// (RFC 9110, 9.3.6), a SOCKS proxy by version 5 (RFC 1928), which also relays
// datagrams.
//
// Through it flow the few bytes before a connection is the peer's, and the header
// around each relayed datagram. Not one byte is read of what the peer says behind the
// proxy's answer. It opens no socket and keeps no time: who dials sets a deadline. A
// name is never looked up, which is the proxy's to do; and what a proxy answers is
// hostile until it has proved to be an answer, and at most maxAnswer bytes long.
package proxy

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxAnswer bounds one answer of a proxy, headers and page together, in bytes.
const maxAnswer = 64 << 10

// Target is whom to reach: a name, which the proxy looks up, or an address.
type Target struct {
	Host string
	Port uint16
}

// String gives host:port, with brackets around an IPv6 address.
func (t Target) String() string { return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port))) }

// Addr is the target's address, not valid where it has a name.
func (t Target) Addr() netip.AddrPort {
	a, err := netip.ParseAddr(t.Host)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), t.Port)
}

// Credentials are a user's name and password for a proxy. They do not print.
type Credentials struct{ User, Password string }

// Check says what no proxy could be told.
func (c Credentials) Check() error {
	switch {
	case c.User == "":
		return errors.New("the user's name is empty; it is the first line, the password the second")
	case hasControls(c.User) || hasControls(c.Password):
		return errors.New("the name or the password has a control character in it")
	}
	return nil
}

const hidden = "(a name and a password)"

// String, GoString and LogValue keep the secret out of logs and errors.
func (c Credentials) String() string       { return hidden }
func (c Credentials) GoString() string     { return hidden }
func (c Credentials) LogValue() slog.Value { return slog.StringValue(hidden) }

// repeatedIn says whether something that a proxy says has in it what was shown to it, in
// whatever letters.
func (c *Credentials) repeatedIn(said string) bool {
	if c == nil {
		return false
	}
	said = strings.ToLower(said)
	_, token, _ := strings.Cut(c.basic(), " ")
	for _, secret := range []string{c.Password, strings.TrimRight(token, "=")} {
		if secret != "" && strings.Contains(said, strings.ToLower(secret)) {
			return true
		}
	}
	return false
}

const repeats = "and repeats the name and the password"

// Dialer makes a new connection to the proxy.
type Dialer func() (net.Conn, error)

// Connector is a kind of proxy that gives a connection to a target. The connection
// that Connect returns is the target's from its next byte on; those that it gave up
// are closed.
type Connector interface {
	Connect(dial Dialer, to Target) (net.Conn, error)
}

// errHungUp is the end of a connection in the middle of a talk.
var errHungUp = errors.New("the proxy has closed the connection before it gave a whole answer")

// hungUp is the error of a connection, in our words where it is its end, and without its
// addresses, which who dialled knows: our port is another each time.
func hungUp(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errHungUp
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// hasControls says whether a text would break out of the line that it is put in.
func hasControls(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// maxQuoted is how much an error has of a foreign text, in bytes.
const maxQuoted = 120

// clip is the beginning of a foreign text, in quotes, for an error.
func clip(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}
