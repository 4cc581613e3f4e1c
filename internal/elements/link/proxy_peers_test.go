package link

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
	"tmelink/internal/proxytest"
)

// starter is a proxytest.Starter for the namespace that the tests run in.
func starter(t *testing.T) proxytest.Starter {
	return func(name string, args ...string) *nstest.Process { return nstest.Start(t, name, args...) }
}

// awaitPort waits until somebody listens.
func awaitPort(t *testing.T, p *nstest.Process, address string) {
	t.Helper()
	if !nstest.Eventually(patience, func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}) {
		t.Fatalf("nobody listens at %s:\n%s", address, p.Output())
	}
}

// startTinyproxy starts one at 127.0.4.1 port 8888, and gives its folder.
func startTinyproxy(t *testing.T, more string) string {
	t.Helper()
	dir, p := proxytest.Tinyproxy(t, starter(t), "127.0.4.1", 8888, more)
	awaitPort(t, p, "127.0.4.1:8888")
	return dir
}

// startSquid starts one at 127.0.4.2 port 3128.
func startSquid(t *testing.T, more string) string {
	t.Helper()
	dir, p := proxytest.Squid(t, starter(t), "127.0.4.2", 3128, more)
	awaitPort(t, p, "127.0.4.2:3128")
	return dir
}

// danteDir makes a folder for runDante at an address, port 1080.
func danteDir(t *testing.T, addr, method string) string {
	t.Helper()
	return proxytest.Dante{Internal: addr, External: addr, Port: 1080, Method: method}.Folder(t)
}

// runDante starts one, and gives what ends it.
func runDante(t *testing.T, dir, addr string) (end func()) {
	t.Helper()
	p, end := proxytest.RunDante(t, starter(t), dir)
	awaitPort(t, p, net.JoinHostPort(addr, "1080"))
	return end
}

// goesThrough has a link reach an OpenVPN through a proxy, in the clear and with keys.
// Port and TAP have the number n and the next.
func goesThrough(t *testing.T, n int, proto, at, words string) {
	t.Helper()
	server, client := proto, proto
	if strings.HasPrefix(proto, "tcp") {
		server, client = proto+"-server", proto+"-client"
	}
	theirs, ours := identities(t)
	for i, c := range []struct{ name, theirs, ours string }{{"plain", "", ""}, {"TLS", theirs + " --dh none", ours}} {
		t.Run(c.name, func(t *testing.T) {
			n, port := n+i, 20000+n+i
			p := startOpenVPN(t, fmt.Sprintf("tap%d", n), n, fmt.Sprintf("--proto %s --local %s --port %d", server, at, port)+c.theirs)
			s := newStation(t, fmt.Sprintf("10.8.%d.2", n), fmt.Sprintf("--dev tap --nobind --proto %s --remote %s %d --connect-retry 1 1 %s", client, at, port, words)+c.ours)
			s.ping(p.addr, 1, 56)
			s.ping(p.addr, 2, 1472)
			s.isPingedBy(p)
			s.expectHostsFramesOnly()
			if status := s.status(); !strings.Contains(status, "through a proxy") {
				t.Errorf("status %q", status)
			}
			for _, text := range []string{s.log.String(), s.status()} {
				if strings.Contains(text, proxytest.Password) {
					t.Errorf("the password is told: %s", text)
				}
			}
		})
	}
}

// isRefused expects a link's attempts to fail for a reason.
func isRefused(t *testing.T, words, want string) {
	t.Helper()
	l := start(t, "--dev tap --nobind --connect-retry 1 1 --remote 127.0.0.1 4 "+words)
	eventually(t, want, func() bool { return strings.Contains(l.log.String(), want) })
	if strings.Contains(l.log.String(), "guessed") {
		t.Error("the log tells the password")
	}
}

func TestThroughTinyproxy(t *testing.T) {
	needOpenVPN(t)
	const at = "--http-proxy 127.0.4.1 8888 "
	t.Run("open", func(t *testing.T) {
		startTinyproxy(t, "")
		goesThrough(t, 40, "tcp", "127.0.4.11", at)
		isRefused(t, "--proto tcp-client "+at, "the HTTP proxy refuses: ")
	})
	t.Run("basic", func(t *testing.T) {
		dir := startTinyproxy(t, proxytest.BasicAuth)
		goesThrough(t, 42, "tcp", "127.0.4.11", at+dir+"/login")
		goesThrough(t, 44, "tcp", "127.0.4.11", at+"auto --http-proxy-user-pass "+dir+"/login")
		isRefused(t, "--proto tcp-client "+at+dir+"/wrong", "the HTTP proxy refuses")
		isRefused(t, "--proto tcp-client "+at, "the HTTP proxy wants to know who we are: ")
	})
}

func TestThroughSquid(t *testing.T) {
	needOpenVPN(t)
	const at = "--http-proxy 127.0.4.2 3128 "
	t.Run("open", func(t *testing.T) {
		startSquid(t, "http_access allow all")
		goesThrough(t, 50, "tcp", "127.0.4.12", at)
		isRefused(t, "--proto tcp-client "+at, "503 Service Unavailable")
	})
	t.Run("basic", func(t *testing.T) {
		dir := startSquid(t, proxytest.SquidBasic+proxytest.SquidUsers)
		goesThrough(t, 52, "tcp", "127.0.4.12", at+dir+"/login basic --http-proxy-option VERSION 1.1 --http-proxy-option AGENT tests")
		isRefused(t, "--proto tcp-client "+at+dir+"/wrong", "refuses the name and password (basic)")
		isRefused(t, "--proto tcp-client "+at+"auto-nct --http-proxy-user-pass "+dir+"/login", "which auto-nct forbids")
	})
	t.Run("digest", func(t *testing.T) {
		dir := startSquid(t, proxytest.SquidDigest+proxytest.SquidUsers)
		goesThrough(t, 54, "tcp", "127.0.4.12", at+dir+"/login digest")
		isRefused(t, "--proto tcp-client "+at+dir+"/wrong digest", "refuses the name and password (digest)")
	})
	t.Run("digest before basic", func(t *testing.T) {
		dir := startSquid(t, proxytest.SquidBasic+proxytest.SquidDigest+proxytest.SquidUsers)
		goesThrough(t, 56, "tcp", "127.0.4.12", at+"auto-nct --http-proxy-user-pass "+dir+"/login")
	})
	t.Run("forbidden", func(t *testing.T) {
		startSquid(t, "")
		isRefused(t, "--proto tcp-client "+at, "the HTTP proxy refuses: \\\"403 Forbidden\\\"; many proxies allow CONNECT to port 443 alone")
	})
	t.Run("NTLM", func(t *testing.T) {
		dir := startSquid(t, proxytest.SquidNTLM+proxytest.SquidUsers)
		goesThrough(t, 58, "tcp", "127.0.4.12", at+dir+"/login ntlm")
	})
}

func TestThroughDante(t *testing.T) {
	needOpenVPN(t)
	for i, c := range []struct{ name, addr, method, login string }{
		{"open", "127.0.4.3", "none", ""},
		{"password", "127.0.4.3", "username", "/login"},
		{"IPv6", "::1", "none", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := danteDir(t, c.addr, c.method)
			runDante(t, dir, c.addr)
			words := "--socks-proxy " + c.addr + " 1080 "
			if c.login != "" {
				words += dir + c.login
			}
			six := ""
			at := "127.0.4.13"
			if strings.Contains(c.addr, ":") {
				six, at = "6", "::1"
			}
			t.Run("TCP", func(t *testing.T) { goesThrough(t, 60+4*i, "tcp"+six, at, words) })
			t.Run("UDP", func(t *testing.T) { goesThrough(t, 62+4*i, "udp"+six, at, words) })
			if c.login != "" {
				isRefused(t, "--proto udp --socks-proxy "+c.addr+" 1080 "+dir+"/wrong", "the SOCKS proxy refuses the name and password")
				isRefused(t, "--proto tcp-client --socks-proxy "+c.addr, "the SOCKS proxy takes nobody without a password")
			} else {
				isRefused(t, "--proto tcp-client --socks-proxy "+c.addr, "the SOCKS proxy refuses")
			}
		})
	}
}

// A name is the proxy's to look up; and the proxy's end is the link's, until it is there
// again.
func TestDanteLooksUpNamesAndComesBack(t *testing.T) {
	needOpenVPN(t)
	const addr = "127.0.4.4"
	dir := danteDir(t, addr, "none")
	endDante := runDante(t, dir, addr)
	p := startOpenVPN(t, "tap78", 78, "--proto udp --local 127.0.0.1 --port 20078")
	tcp := startOpenVPN(t, "tap79", 79, "--proto tcp-server --local 127.0.0.1 --port 20079")
	theirs, ours := identities(t)
	keyed := startOpenVPN(t, "tap80", 80, "--proto udp --local 127.0.0.1 --port 20080 --dh none"+theirs)
	s := newStation(t, "10.8.78.2", "--dev tap --nobind --remote peer.example 20078 --connect-retry 1 1 --socks-proxy "+addr)
	other := newStation(t, "10.8.79.2", "--dev tap --nobind --proto tcp-client --remote peer.example 20079 --connect-retry 1 1 --socks-proxy "+addr)
	private := newStation(t, "10.8.80.2", "--dev tap --nobind --remote peer.example 20080 --connect-retry 1 1 --socks-proxy "+addr+ours)
	s.ping(p.addr, 1, 56)
	other.ping(tcp.addr, 1, 56)
	private.ping(keyed.addr, 1, 56)
	endDante()
	eventually(t, "the end of the relay", func() bool {
		return strings.Contains(s.log.String(), "the SOCKS proxy has ended the relay of datagrams")
	})
	runDante(t, dir, addr)
	s.ping(p.addr, 2, 56)
	other.ping(tcp.addr, 2, 56)
	private.ping(keyed.addr, 2, 56)
}
