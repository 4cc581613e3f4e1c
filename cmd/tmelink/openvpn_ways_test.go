//go:build linux

package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/nstest"
	"tmelink/internal/proxytest"
)

// way is one by which tmelink reaches OpenVPN. In words, OPEN and KNOWN stand for the
// folders of the proxies that ask for nothing, and for a password.
type way struct {
	name  string
	tcp   bool
	words string // of the proxy; "": there is none
}

// ways are those through every kind of proxy, each of which proxies starts. An HTTP proxy
// carries no UDP, which package link tests.
var ways = []way{
	{"UDP", false, ""},
	{"TCP", true, ""},
	{"TCP, HTTP proxy", true, "--http-proxy 10.1.0.254 8888"},
	{"TCP, HTTP proxy, basic", true, "--http-proxy 10.1.0.254 8889 LOGIN basic"},
	{"TCP, HTTP proxy, digest", true, "--http-proxy 10.1.0.254 3128 LOGIN digest"},
	{"TCP, HTTP proxy, NTLM", true, "--http-proxy 10.1.0.254 3128 LOGIN ntlm"},
	{"UDP, SOCKS proxy", false, "--socks-proxy 10.1.0.254"},
	{"TCP, SOCKS proxy", true, "--socks-proxy 10.1.0.254"},
	{"UDP, SOCKS proxy, password", false, "--socks-proxy 10.1.0.254 1081 LOGIN"},
	{"TCP, SOCKS proxy, password", true, "--socks-proxy 10.1.0.254 1081 LOGIN"},
}

// TestOpenVPNByEveryWay joins a TAP to the real OpenVPN over UDP and TCP, directly and
// through real proxies, in the clear and with keys: pings and a transfer by checksum both
// ways. Whom OpenVPN hears is the proxy's host, which forwards nothing by itself.
func TestOpenVPNByEveryWay(t *testing.T) {
	nstest.Need(t, "openvpn", "ping", "tinyproxy", "squid", "danted")
	keys := keyset(t)
	between, login := startProxies(t)
	for i, w := range ways {
		for j, kind := range []string{"plain", "TLS"} {
			t.Run(w.name+", "+kind, func(t *testing.T) {
				t.Parallel()
				e, from := waysDuo(t, keys, between, 1+2*i+j, w.words != "")
				c := keyCase{tcp: w.tcp, secret: kind == "plain"}
				e.meetByWay(t, c, 1+2*i+j, strings.Replace(w.words, "LOGIN", login, 1))
				e.peer.Expect(t, "Peer Connection Initiated with [AF_INET]"+from+":", time.Second)
				e.ours.Signal(syscall.SIGUSR2)
				e.ours.Expect(t, "heard", 10*time.Second)
				if got := strings.Contains(e.ours.Output(), "through a proxy"); got != (w.words != "") {
					t.Errorf("tmelink says that there is a proxy: %t", got)
				}
				if strings.Contains(e.ours.Output(), proxytest.Password) {
					t.Error("tmelink tells the password")
				}
				complaints(t, e.peer.Output())
				if err := e.ours.Stop(); err != nil {
					t.Errorf("tmelink, ended by SIGTERM: %v", err)
				}
			})
		}
	}
}

// startProxies makes a host with two Ethernets, near with 10.1.0.254/24 and far with
// 192.168.0.254/24, between which only its proxies carry anything. It gives the file with
// the login that they want.
func startProxies(t *testing.T) (between *nstest.Host, login string) {
	t.Helper()
	h := nstest.New(t, "proxies")
	h.Run("sysctl", "-qw", "net.ipv4.ip_forward=0")
	for name, addr := range map[string]string{"near": "10.1.0.254/24", "far": "192.168.0.254/24"} {
		// A bridge without an address of its own takes one of its ports', another one
		// when these come and go.
		h.IP("link", "add", name, "address", "02:00:00:00:01:00", "type", "bridge")
		h.IP("addr", "add", addr, "dev", name)
		h.IP("link", "set", name, "up")
	}
	const at = "10.1.0.254"
	proxytest.Tinyproxy(t, h.Start, at, 8888, "")
	proxytest.Tinyproxy(t, h.Start, at, 8889, proxytest.BasicAuth)
	dir, _ := proxytest.Squid(t, h.Start, at, 3128, proxytest.SquidDigest+proxytest.SquidNTLM+proxytest.SquidUsers)
	for port, method := range map[uint16]string{1080: "none", 1081: "username"} {
		d := proxytest.Dante{Internal: at, External: "192.168.0.254", Port: port, Method: method}
		proxytest.RunDante(t, h.Start, d.Folder(t))
	}
	return h, dir + "/login"
}

// waysDuo makes two hosts, the second 192.168.0.N on the far Ethernet. The first is
// 10.1.0.N on the near one where it shall need a proxy, though it believes that there is
// a router, or else 192.168.0.100+N on the far one. From is whom the second will hear.
func waysDuo(t *testing.T, keys string, between *nstest.Host, n int, proxied bool) (e *duo, from string) {
	t.Helper()
	e = &duo{keys: keys, hosts: [2]*nstest.Host{nstest.New(t, "h1"), nstest.New(t, "h2")}}
	plug := func(h *nstest.Host, bridge, addr string) {
		port := fmt.Sprintf("%s%d", h.Name[strings.LastIndex(h.Name, "-")+1:], n)
		nstest.Cable(t, h, "eth0", addr+"/24", between, port, "")
		between.IP("link", "set", port, "master", bridge)
	}
	far := fmt.Sprintf("192.168.0.%d", n)
	plug(e.hosts[1], "far", far)
	if !proxied {
		from = fmt.Sprintf("192.168.0.%d", 100+n)
		plug(e.hosts[0], "far", from)
		return e, from
	}
	plug(e.hosts[0], "near", fmt.Sprintf("10.1.0.%d", n))
	e.hosts[0].IP("route", "add", "default", "via", "10.1.0.254")
	e.hosts[1].IP("route", "add", "default", "via", "192.168.0.254")
	return e, "192.168.0.254"
}

// meetByWay starts both ends of a case, and pings and transfers both ways.
func (e *duo) meetByWay(t *testing.T, c keyCase, n int, words string) {
	t.Helper()
	const size = 2_000_000
	at := fmt.Sprintf("192.168.0.%d", n)
	e.peer = e.hosts[1].Start("openvpn", append([]string{"--cd", e.keys, "--dev", "tap0", "--lladdr", "02:00:00:00:00:02",
		"--ifconfig", "10.0.77.2", "255.255.255.0", "--local", at, "--verb", "3"}, c.options(t, e.keys, false)...)...)
	e.peer.Expect(t, map[bool]string{true: "Listening for incoming", false: "link remote"}[c.tcp], 30*time.Second)
	e.ours = e.hosts[0].Start("tmelink", "run", e.description(t,
		"tap0: tme/host/tun/tap inet 10.0.77.1 netmask 255.255.255.0 nat none hwaddr 02:00:00:00:00:01",
		"link0 at tap0: tme/host/openvpn/socket/link --dev tap --nobind --remote "+at+" --connect-retry 1 1 "+
			words+" "+strings.Join(c.options(t, e.keys, true), " ")))
	e.expectAnswer(t, 60*time.Second)
	e.hosts[0].Run("ping", "-c", "2", "-i", "0.2", "-W", "5", "-s", "1400", "10.0.77.2")
	e.hosts[1].Run("ping", "-c", "2", "-i", "0.2", "-W", "5", "-s", "1400", "10.0.77.1")
	carry(t, e.hosts[0], e.hosts[1], size, 30*time.Second)
}
