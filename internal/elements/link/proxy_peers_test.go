package link

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// The user of every proxy here, as crypt(3) and, for digest, as RFC 7616's H(A1) of
// the realm "links" would have him.
const (
	proxyUser     = "user"
	proxyPassword = "opensesame"
	proxyCrypt    = "$1$tmelink$1qI5FvhD0JuYHZqWvBil31"
)

// proxyDir is a directory that programs which give up root can read, too, with files
// of the names and contents given, and the user's in "login".
func proxyDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "proxy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("login", proxyUser+"\n"+proxyPassword+"\n")
	put("wrong", proxyUser+"\nguessed\n")
	for name, text := range files {
		put(name, text)
	}
	return dir
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

// startTinyproxy starts one at 127.0.4.1 port 8888, and gives its directory.
func startTinyproxy(t *testing.T, more string) string {
	t.Helper()
	nstest.Need(t, "tinyproxy")
	dir := proxyDir(t, map[string]string{"conf": "Port 8888\nListen 127.0.4.1\nTimeout 600\nMaxClients 20\n" + more + "\n"})
	awaitPort(t, nstest.Start(t, "tinyproxy", "-d", "-c", dir+"/conf"), "127.0.4.1:8888")
	return dir
}

// startSquid starts one at 127.0.4.2 port 3128.
func startSquid(t *testing.T, more string) string {
	t.Helper()
	nstest.Need(t, "squid")
	dir := proxyDir(t, map[string]string{
		"basic":  proxyUser + ":" + proxyCrypt + "\n",
		"digest": proxyUser + ":" + proxyPassword + "\n",
		"ntlm":   ntlmHelper,
		"conf": `http_port 127.0.4.2:3128
visible_hostname squid
pid_filename none
access_log none
cache_store_log none
cache_log /dev/null
pinger_enable off
cache deny all
shutdown_lifetime 0 seconds
` + more + `
http_access deny all
`})
	awaitPort(t, nstest.Start(t, "squid", "-N", "-d", "1", "-f", dir+"/conf"), "127.0.4.2:3128")
	return dir
}

// ntlmHelper is squid's for NTLM: it says a challenge, and believes any answer. Those
// from Debian know version 1 alone.
const ntlmHelper = `while read -r kind token; do
	case $kind in
	YR) echo "TT TlRMTVNTUAACAAAAAAAAADAAAAABAogAMDEyMzQ1NjcAAAAAAAAAAAoACgAwAAAAAgACAEQAAAAAAA==" ;;
	KK) echo "AF user" ;;
	esac
done
`

const squidUsers = `
acl users proxy_auth REQUIRED
http_access allow users`

// danteDir makes a directory for runDante at an address, port 1080. With a method of
// username it knows the user by a password file of its own; and it alone knows where
// peer.example is.
func danteDir(t *testing.T, addr, method string) string {
	t.Helper()
	nstest.Need(t, "danted", "unshare")
	accounts, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	return proxyDir(t, map[string]string{
		"passwd": string(accounts) + proxyUser + ":x:42424:65534::/nonexistent:/bin/false\n",
		"shadow": proxyUser + ":" + proxyCrypt + ":19000:0:99999:7:::\n",
		"hosts":  "127.0.0.1 localhost peer.example\n",
		"conf": fmt.Sprintf(`logoutput: stderr
internal: %s port = 1080
external: %s
clientmethod: none
socksmethod: %s
user.privileged: root
user.unprivileged: nobody
client pass { from: 0/0 to: 0/0 }
socks pass { from: 0/0 to: 0/0 }
`, addr, addr, method)})
}

// runDante starts one, and gives what ends it: its processes outlive each other, so that
// they have a process namespace, which dies with its first process. That is the shell:
// danted, which changes its user, would not be killed together with unshare.
func runDante(t *testing.T, dir, addr string) (end func()) {
	t.Helper()
	mounts := ""
	for _, file := range []string{"passwd", "shadow", "hosts"} {
		mounts += fmt.Sprintf("mount --bind %s/%s /etc/%[2]s && ", dir, file)
	}
	p := nstest.Start(t, "unshare", "-m", "-p", "--fork", "--kill-child", "sh", "-c", mounts+"danted -f "+dir+"/conf; exit")
	end = func() { p.Signal(syscall.SIGKILL) }
	t.Cleanup(end)
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
				if strings.Contains(text, proxyPassword) {
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
		dir := startTinyproxy(t, "BasicAuth "+proxyUser+" "+proxyPassword)
		goesThrough(t, 42, "tcp", "127.0.4.11", at+dir+"/login")
		goesThrough(t, 44, "tcp", "127.0.4.11", at+"auto --http-proxy-user-pass "+dir+"/login")
		isRefused(t, "--proto tcp-client "+at+dir+"/wrong", "the HTTP proxy refuses")
		isRefused(t, "--proto tcp-client "+at, "the HTTP proxy wants to know who we are: ")
	})
}

func TestThroughSquid(t *testing.T) {
	needOpenVPN(t)
	const at = "--http-proxy 127.0.4.2 3128 "
	const basic = "auth_param basic program /usr/lib/squid/basic_ncsa_auth DIR/basic\n"
	const digest = "auth_param digest program /usr/lib/squid/digest_file_auth DIR/digest\nauth_param digest realm links\n"
	t.Run("open", func(t *testing.T) {
		startSquid(t, "http_access allow all")
		goesThrough(t, 50, "tcp", "127.0.4.12", at)
		isRefused(t, "--proto tcp-client "+at, "503 Service Unavailable")
	})
	t.Run("basic", func(t *testing.T) {
		dir := startSquid(t, basic+squidUsers)
		goesThrough(t, 52, "tcp", "127.0.4.12", at+dir+"/login basic --http-proxy-option VERSION 1.1 --http-proxy-option AGENT tests")
		isRefused(t, "--proto tcp-client "+at+dir+"/wrong", "refuses the name and password (basic)")
		isRefused(t, "--proto tcp-client "+at+"auto-nct --http-proxy-user-pass "+dir+"/login", "which auto-nct forbids")
	})
	t.Run("digest", func(t *testing.T) {
		dir := startSquid(t, digest+squidUsers)
		goesThrough(t, 54, "tcp", "127.0.4.12", at+dir+"/login digest")
		isRefused(t, "--proto tcp-client "+at+dir+"/wrong digest", "refuses the name and password (digest)")
	})
	t.Run("digest before basic", func(t *testing.T) {
		dir := startSquid(t, basic+digest+squidUsers)
		goesThrough(t, 56, "tcp", "127.0.4.12", at+"auto-nct --http-proxy-user-pass "+dir+"/login")
	})
	t.Run("forbidden", func(t *testing.T) {
		startSquid(t, "")
		isRefused(t, "--proto tcp-client "+at, "the HTTP proxy refuses: \\\"403 Forbidden\\\"; many proxies allow CONNECT to port 443 alone")
	})
	t.Run("NTLM", func(t *testing.T) {
		dir := startSquid(t, "auth_param ntlm program /bin/sh DIR/ntlm\n"+squidUsers)
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
	s := newStation(t, "10.8.78.2", "--dev tap --nobind --remote peer.example 20078 --connect-retry 1 1 --socks-proxy "+addr)
	other := newStation(t, "10.8.79.2", "--dev tap --nobind --proto tcp-client --remote peer.example 20079 --connect-retry 1 1 --socks-proxy "+addr)
	s.ping(p.addr, 1, 56)
	other.ping(tcp.addr, 1, 56)
	endDante()
	eventually(t, "the end of the relay", func() bool {
		return strings.Contains(s.log.String(), "the SOCKS proxy has ended the relay of datagrams")
	})
	runDante(t, dir, addr)
	s.ping(p.addr, 2, 56)
	other.ping(tcp.addr, 2, 56)
}
