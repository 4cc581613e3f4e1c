package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

var target = Target{"peer.example", 1194}

// patience bounds every talk of a test.
const patience = 20 * time.Second

// fakeProxy plays a proxy that says, at connection i, what script[i] has, one piece
// behind each request; a further connection fails. It keeps the requests.
type fakeProxy struct {
	t        *testing.T
	script   [][]string
	dialled  int
	requests chan string
}

func newFakeProxy(t *testing.T, script ...[]string) *fakeProxy {
	return &fakeProxy{t: t, script: script, requests: make(chan string, 20)}
}

func (f *fakeProxy) dial() (net.Conn, error) {
	if f.dialled == len(f.script) {
		return nil, errors.New("dialled once too often")
	}
	near, far := net.Pipe()
	near.SetDeadline(time.Now().Add(patience))
	answers := f.script[f.dialled]
	f.dialled++
	go func() {
		defer far.Close()
		far.SetDeadline(time.Now().Add(patience))
		lines := bufio.NewReader(far)
		for _, answer := range answers {
			var request strings.Builder
			for {
				line, err := lines.ReadString('\n')
				request.WriteString(line)
				if err != nil || line == "\r\n" {
					break
				}
			}
			f.requests <- request.String()
			if _, err := io.WriteString(far, answer); err != nil {
				return
			}
		}
	}()
	f.t.Cleanup(func() { near.Close(); far.Close() })
	return near, nil
}

const (
	wantsBasic = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"a, b\"\r\nContent-Length: 5\r\n\r\nsorry"
	wantsAll   = "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=\"x\", NTLM\r\n" +
		"Proxy-Authenticate: Digest realm=\"x\", nonce=\"n\", qop=\"auth,auth-int\", opaque=\"o\"\r\n\r\n"
	wantsDigest = "HTTP/1.0 407 No\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256\r\n\r\n"
	staleDigest = "HTTP/1.0 407 No\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"n2\", qop=\"auth\", stale=TRUE\r\n\r\n"
	wantsOther  = "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Bearer realm=\"x\"\r\n\r\n"
	yes         = "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
)

var me = &Credentials{"user", "secret"}

func TestHTTPTalks(t *testing.T) {
	for _, c := range []struct {
		name   string
		http   HTTP
		script [][]string
		want   string   // of the error, "" for none
		lines  []string // that the last request must have
	}{
		{"no authentication", HTTP{Method: None}, [][]string{{yes}}, "", []string{"CONNECT peer.example:1194 HTTP/1.0", "Host: peer.example:1194"}},
		{"HTTP/1.0", HTTP{}, [][]string{{"HTTP/1.0 200\r\n\r\n"}}, "", nil},
		{"another 2xx", HTTP{}, [][]string{{"HTTP/1.1 204 Go on\r\n\r\n"}}, "", nil},
		{"headers", HTTP{Version: "1.1", Agent: "me", Headers: []Header{{"X-A", "b"}, {"host", "other"}}}, [][]string{{yes}}, "",
			[]string{"CONNECT peer.example:1194 HTTP/1.1", "X-A: b", "host: other", "User-Agent: me"}},
		{"basic at once", HTTP{Method: Basic, Credentials: me}, [][]string{{yes}}, "", []string{"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ="}},
		{"basic refused", HTTP{Method: Basic, Credentials: me}, [][]string{{wantsBasic}}, `refuses the name and password (basic): "407 Proxy Authentication Required"`, nil},
		{"auto finds basic", HTTP{Method: Auto, Credentials: me}, [][]string{{wantsBasic}, {yes}}, "", []string{"Proxy-Authorization: Basic "}},
		{"auto-nct does not", HTTP{Method: AutoNoClear, Credentials: me}, [][]string{{wantsBasic}}, "in the clear (basic), which auto-nct forbids", nil},
		{"auto prefers digest", HTTP{Method: Auto, Credentials: me}, [][]string{{wantsAll}, {yes}}, "", []string{`Proxy-Authorization: Digest username="user", realm="x", nonce="n", uri="peer.example:1194"`, `opaque="o"`}},
		{"digest", HTTP{Method: Digest, Credentials: me}, [][]string{{wantsDigest}, {yes}}, "", []string{`nonce="n1"`, "algorithm=SHA-256", "nc=00000001"}},
		{"a stale nonce", HTTP{Method: Digest, Credentials: me}, [][]string{{wantsDigest}, {staleDigest}, {yes}}, "", []string{`nonce="n2"`}},
		{"digest refused", HTTP{Method: Digest, Credentials: me}, [][]string{{wantsDigest}, {wantsDigest}}, "refuses the name and password (digest)", nil},
		{"always stale", HTTP{Method: Digest, Credentials: me}, [][]string{{wantsDigest}, {staleDigest}, {staleDigest}}, "refuses the name and password (digest)", nil},
		{"digest not offered", HTTP{Method: Digest, Credentials: me}, [][]string{{wantsBasic}}, "offers basic; that is none of the ways", nil},
		{"a scheme that we lack", HTTP{Method: Auto, Credentials: me}, [][]string{{wantsOther}}, "offers negotiate, bearer; that is none", nil},
		{"nothing offered", HTTP{Method: Auto, Credentials: me}, [][]string{{"HTTP/1.1 407 No\r\n\r\n"}}, "offers nothing; that is none", nil},
		{"nobody to show", HTTP{Method: Auto}, [][]string{{wantsBasic}}, "wants to know who we are", nil},
		{"unasked", HTTP{Method: None}, [][]string{{wantsBasic}}, "wants to know who we are", nil},
		{"forbidden", HTTP{}, [][]string{{"HTTP/1.0 403 Filtered by law\r\n\r\n"}}, `"403 Filtered by law"; many proxies allow`, nil},
		{"no peer", HTTP{}, [][]string{{"HTTP/1.0 503 Down\r\n\r\n"}}, `"503 Down"; it does not reach the peer`, nil},
		{"a redirection", HTTP{}, [][]string{{"HTTP/1.0 302 Log in\r\nLocation: x\r\n\r\n"}}, `"302 Log in"`, nil},
		{"an interim answer", HTTP{}, [][]string{{"HTTP/1.1 100 Continue\r\n\r\n"}}, `"100 Continue"`, nil},
		{"rubbish", HTTP{}, [][]string{{"SSH-2.0-OpenSSH_9.2p1 \x1b[31m\r\n"}}, `not HTTP: "SSH-2.0-OpenSSH_9.2p1 \x1b[31m\r\n"`, nil},
		{"binary rubbish", HTTP{}, [][]string{{strings.Repeat("\xff\x00", 100) + "\n"}}, "not HTTP", nil},
		{"a bad status", HTTP{}, [][]string{{"HTTP/1.0 x Yes\r\n\r\n"}}, "not HTTP", nil},
		{"a bad header", HTTP{}, [][]string{{"HTTP/1.0 200 OK\r\nno colon\r\n\r\n"}}, "not HTTP", nil},
		{"a bad length", HTTP{}, [][]string{{"HTTP/1.0 407 No\r\nContent-Length: x\r\n\r\n"}}, "not HTTP", nil},
		{"hangs up at once", HTTP{}, [][]string{{""}}, "has closed the connection", nil},
		{"hangs up in the status", HTTP{}, [][]string{{"HTTP/1.0 2"}}, "has closed the connection", nil},
		{"hangs up in the header", HTTP{}, [][]string{{"HTTP/1.0 200 OK\r\nVia: "}}, "has closed the connection", nil},
		{"a long line", HTTP{}, [][]string{{"HTTP/1.0 200 " + strings.Repeat("x", 10<<20)}}, "longer than 65536 bytes", nil},
		{"many lines", HTTP{}, [][]string{{"HTTP/1.0 200 OK\r\n" + strings.Repeat("X: y\r\n", 10<<20/6)}}, "longer than 65536 bytes", nil},
		{"repeats the password", HTTP{Method: Basic, Credentials: me}, [][]string{{"HTTP/1.0 403 No SeCrEt here\r\n\r\n"}}, "refuses: 403, and repeats the name and the password; many", nil},
		{"repeats the header", HTTP{Method: Basic, Credentials: me}, [][]string{{"HTTP/1.0 400 What is Basic dXNlcjpzZWNyZXQ=?\r\n\r\n"}}, "refuses: 400, and repeats", nil},
		{"refuses with the header", HTTP{Method: Basic, Credentials: me}, [][]string{{"HTTP/1.0 407 dXNlcjpzZWNyZXQ\r\n\r\n"}}, "(basic): 407, and repeats the name and the password; correct", nil},
		{"says the header alone", HTTP{Method: Basic, Credentials: me}, [][]string{{"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n"}}, "is not HTTP, and repeats", nil},
		{"says the header far behind", HTTP{Method: Basic, Credentials: me}, [][]string{{strings.Repeat("x", 50) + "secret\r\n"}}, "is not HTTP, and repeats", nil},
		{"offers the password", HTTP{Method: Digest, Credentials: me}, [][]string{{"HTTP/1.0 407 No\r\nProxy-Authenticate: secret\r\n\r\n"}}, "offers what is no scheme, and repeats", nil},
		{"offers a digest of the password", HTTP{Method: Auto, Credentials: me}, [][]string{{"HTTP/1.0 407 No\r\nProxy-Authenticate: Digest qop=secret\r\n\r\n"}}, "offers what is no scheme, and repeats", nil},
		{"offers much", HTTP{Method: Digest, Credentials: me}, [][]string{{"HTTP/1.0 407 No\r\nProxy-Authenticate: " + strings.Repeat("Digest algorithm=\""+strings.Repeat("\x80", 1000)+"\", ", 20) + "\r\n\r\n"}}, `offers digest (algorithm "\x80`, nil},
		{"a colon in the name", HTTP{Method: Auto, Credentials: &Credentials{"us:er", "x"}}, [][]string{{wantsBasic}}, "the user's name has a colon in it", nil},
		{"a colon in the name, digest", HTTP{Method: Auto, Credentials: &Credentials{"us:er", "x"}}, [][]string{{wantsAll}, {yes}}, "", []string{`Proxy-Authorization: Digest username="us:er"`}},
		{"asks for ever", HTTP{Method: Auto, Credentials: me}, [][]string{{wantsDigest}, {wantsOther}}, "refuses the name and password", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFakeProxy(t, c.script...)
			if c.http.Version == "" {
				c.http.Version = "1.0"
			}
			conn, err := c.http.Connect(f.dial, target)
			if c.want == "" && err != nil {
				t.Fatal(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || conn != nil) {
				t.Fatalf("%v, %v; want %q", conn, err, c.want)
			}
			if err != nil && (len(err.Error()) > 500 || strings.Contains(strings.ToLower(err.Error()), me.Password) || strings.Contains(err.Error(), "dXNlcjpzZWNyZXQ")) {
				t.Errorf("the error is too long, or tells too much: %v", err)
			}
			if f.dialled != len(c.script) {
				t.Errorf("%d connections, want %d", f.dialled, len(c.script))
			}
			var last string
			for len(f.requests) > 0 {
				last = <-f.requests
			}
			for _, line := range c.lines {
				if !strings.Contains("\r\n"+last, "\r\n"+line) && !strings.Contains(last, ", "+line) {
					t.Errorf("the request has no %q:\n%s", line, last)
				}
			}
			if strings.Count(strings.ToLower(last), "\r\nhost:") != 1 {
				t.Errorf("not one Host:\n%s", last)
			}
		})
	}
}

// The first packet of a peer may come together with the proxy's answer.
func TestHTTPLeavesThePeersBytes(t *testing.T) {
	for _, answer := range []string{yes, "HTTP/1.0 200 OK\n\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"} {
		f := newFakeProxy(t, []string{answer + "\x00\x03abc"})
		conn, err := (&HTTP{Version: "1.0"}).Connect(f.dial, target)
		if err != nil {
			t.Fatal(err)
		}
		var got [5]byte
		if _, err := io.ReadFull(conn, got[:]); err != nil || string(got[:]) != "\x00\x03abc" {
			t.Errorf("%q: %q, %v", answer, got, err)
		}
	}
}

func TestIPv6TargetsHaveBrackets(t *testing.T) {
	f := newFakeProxy(t, []string{yes})
	if _, err := (&HTTP{Version: "1.0"}).Connect(f.dial, Target{"2001:db8::1", 443}); err != nil {
		t.Fatal(err)
	}
	if r := <-f.requests; !strings.HasPrefix(r, "CONNECT [2001:db8::1]:443 HTTP/1.0\r\nHost: [2001:db8::1]:443\r\n") {
		t.Error(r)
	}
}

func TestHeadersThatBreakTheRequestAreRefused(t *testing.T) {
	for _, h := range []Header{{"", "x"}, {"a b", "x"}, {"a:", "x"}, {"a", "x\r\nHost: y"}, {"ä", "x"}, {"a", "\x00"}} {
		if h.Check() == nil {
			t.Errorf("%q is taken", h)
		}
	}
	if err := (Header{"X-Proxy-Flag", "some flags: ä"}).Check(); err != nil {
		t.Error(err)
	}
}

// scripted is a proxy that has said all that it will, whatever it hears.
type scripted struct {
	io.Reader
	net.Conn
}

func (s scripted) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s scripted) Write(p []byte) (int, error) { return len(p), nil }
func (s scripted) Close() error                { return nil }

func FuzzHTTPAnswer(f *testing.F) {
	methods := []Method{None, Basic, Digest, NTLM, Auto, AutoNoClear}
	for _, s := range []string{yes, wantsAll, wantsBasic + yes, "HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM TlRMTVNTUAACAAAA\r\n\r\n", "HTTP/1.1 407 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde"} {
		for method := range methods {
			f.Add([]byte(s), uint8(method))
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte, method uint8) {
		h := HTTP{Version: "1.0", Method: methods[int(method)%len(methods)], Credentials: me}
		dialled := 0
		var r *bytes.Reader
		conn, err := h.Connect(func() (net.Conn, error) {
			dialled++
			r = bytes.NewReader(answer)
			return scripted{Reader: r}, nil
		}, target)
		if (conn == nil) == (err == nil) || dialled > maxConnections {
			t.Fatalf("%v, %v, %d connections", conn, err, dialled)
		}
		if read := len(answer) - r.Len(); read > 2*maxAnswer {
			t.Fatalf("%d bytes were read", read)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
			t.Fatalf("the error has control characters: %q", err)
		}
	})
}
