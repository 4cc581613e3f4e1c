package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Method is how to show an HTTP proxy who we are.
type Method string

const (
	None   Method = "none"
	Basic  Method = "basic"  // RFC 7617: the password in the clear
	Digest Method = "digest" // RFC 7616, with MD5 or SHA-256
	NTLM   Method = "ntlm"   // MS-NLMP, version 2
	Auto   Method = "auto"   // what the proxy asks for
	// AutoNoClear is what the proxy asks for, unless the password would go in the
	// clear.
	AutoNoClear Method = "auto-nct"
)

// Header is a line of a request's header.
type Header struct{ Name, Value string }

// Check says what would break the request.
func (h Header) Check() error {
	if h.Name == "" || strings.ContainsFunc(h.Name, func(r rune) bool { return r >= 0x80 || !isToken(byte(r)) }) {
		return fmt.Errorf("%s cannot be the name of a header", clip(h.Name))
	}
	if hasControls(h.Value) {
		return fmt.Errorf("the header %s has a control character in it", h.Name)
	}
	return nil
}

// HTTP asks a proxy by CONNECT. The zero value but for Version shows nothing of who
// we are.
type HTTP struct {
	Version     string // "1.0" or "1.1"
	Agent       string // User-Agent, "" for none
	Headers     []Header
	Method      Method
	Credentials *Credentials
}

// Check says what the proxy could not be told of the credentials.
func (h *HTTP) Check() error {
	if h.Credentials == nil {
		return nil
	}
	if err := h.Credentials.Check(); err != nil || h.Method != Basic {
		return err
	}
	return h.Credentials.checkBasic()
}

// maxConnections is how many connections one CONNECT may take: to hear what the proxy
// asks for, to show it, and to show it again where a nonce has become stale.
const maxConnections = 3

// Connect asks for a connection to a target. A request that has to be repeated with
// credentials goes over a new connection, because many proxies close the old one.
func (h *HTTP) Connect(dial Dialer, to Target) (net.Conn, error) {
	x := &exchange{HTTP: h, to: to}
	if h.Method == Basic || h.Method == NTLM {
		x.scheme = h.Method
	}
	for range maxConnections {
		conn, err := dial()
		if err != nil {
			return nil, err
		}
		done, err := x.ask(conn)
		if done {
			return conn, nil
		}
		conn.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the HTTP proxy asks again and again who we are")
}

// exchange is one CONNECT.
type exchange struct {
	*HTTP
	to     Target
	scheme Method // shown with the next request; "": nothing
	digest digestChallenge
	stale  bool // a nonce has become stale already
}

// ask sends one request, with NTLM two, over a connection. Neither done nor an error
// says that it should be asked again over another one.
func (x *exchange) ask(conn io.ReadWriter) (done bool, err error) {
	r := newAnswers(conn, x.Credentials)
	var authorization string
	switch x.scheme {
	case Basic:
		authorization = x.Credentials.basic()
	case Digest:
		if authorization, err = x.digest.answer(http.MethodConnect, x.to.String(), *x.Credentials, newNonce()); err != nil {
			return false, err
		}
	case NTLM:
		return x.askNTLM(conn, r)
	}
	answer, err := x.roundTrip(conn, r, authorization)
	switch {
	case err != nil:
		return false, err
	case granted(answer):
		return true, nil
	case answer.StatusCode != http.StatusProxyAuthRequired:
		return false, x.refusal(answer)
	}
	return false, x.choose(answer)
}

func granted(r *http.Response) bool { return r.StatusCode/100 == 2 }

// refusal is the error of an answer, in the proxy's own words.
func (x *exchange) refusal(r *http.Response) error {
	hint := ""
	switch {
	case r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusMethodNotAllowed:
		hint = "; many proxies allow CONNECT to port 443 alone, ask who runs this one"
	case r.StatusCode >= 500:
		hint = "; it does not reach the peer: is that running, and does it listen at this port?"
	}
	return fmt.Errorf("the HTTP proxy refuses: %s%s", x.status(r), hint)
}

// status is how an answer begins, for an error.
func (x *exchange) status(r *http.Response) string {
	if x.Credentials.repeatedIn(r.Status) {
		return fmt.Sprintf("%d, %s", r.StatusCode, repeats)
	}
	return clip(r.Status)
}

// roundTrip sends a request and reads the head of its answer.
func (x *exchange) roundTrip(conn io.Writer, r *answers, authorization string) (*http.Response, error) {
	request := x.request(authorization)
	_, err := conn.Write(request)
	clear(request)
	if err != nil {
		return nil, fmt.Errorf("ask the HTTP proxy: %w", hungUp(err))
	}
	return r.next()
}

// request is the text of a request.
func (x *exchange) request(authorization string) []byte {
	b := fmt.Appendf(nil, "CONNECT %s HTTP/%s\r\n", x.to, x.Version)
	line := func(name, value string) { b = fmt.Appendf(b, "%s: %s\r\n", name, value) }
	host := false
	for _, h := range x.Headers {
		line(h.Name, h.Value)
		host = host || strings.EqualFold(h.Name, "Host")
	}
	if !host {
		line("Host", x.to.String())
	}
	if x.Agent != "" {
		line("User-Agent", x.Agent)
	}
	if x.scheme == NTLM {
		line("Proxy-Connection", "Keep-Alive")
	}
	if authorization != "" {
		line("Proxy-Authorization", authorization)
	}
	return append(b, "\r\n"...)
}

// answers reads a proxy's answers to requests of one connection.
type answers struct {
	from  *byteReader
	lines *bufio.Reader
	shown *Credentials // that no error may repeat, or nil
}

func newAnswers(conn io.Reader, shown *Credentials) *answers {
	from := &byteReader{conn: conn}
	return &answers{from, bufio.NewReader(from), shown}
}

// next reads the head of an answer. Its body is bounded together with it.
func (a *answers) next() (*http.Response, error) {
	a.from.left, a.from.read = maxAnswer, nil
	answer, err := http.ReadResponse(a.lines, &http.Request{Method: http.MethodConnect})
	switch {
	case err == nil:
		return answer, nil
	case a.from.left == 0: // whatever a line cut off is taken for
		return nil, errLong
	case a.from.err != nil && !errors.Is(a.from.err, io.EOF): // it, too, may have cut off a line
		return nil, fmt.Errorf("read the HTTP proxy's answer: %w", hungUp(a.from.err))
	case a.from.err != nil && (len(a.from.read) == 0 || bytes.HasPrefix(a.from.read, []byte("HTTP/"))):
		return nil, errHungUp
	case a.shown.repeatedIn(string(a.from.read)):
		return nil, fmt.Errorf("what the proxy answers is not HTTP, %s; is it a --socks-proxy?", repeats)
	}
	return nil, fmt.Errorf("what the proxy answers is not HTTP: %s; is it a --socks-proxy?", clip(string(a.from.read[:min(64, len(a.from.read))])))
}

var errLong = fmt.Errorf("the HTTP proxy's answer is longer than %d bytes; it is no answer that can be meant", maxAnswer)

// byteReader reads a byte at a time, so that what the peer says behind an answer stays
// in the socket, whence frames are read.
type byteReader struct {
	conn io.Reader
	left int    // bytes that may still come
	read []byte // what came
	err  error
}

func (r *byteReader) Read(p []byte) (n int, err error) {
	if r.left == 0 {
		return 0, errLong
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err = r.conn.Read(p[:1])
	r.left -= n
	r.read = append(r.read, p[:n]...)
	r.err = err
	return n, err
}
