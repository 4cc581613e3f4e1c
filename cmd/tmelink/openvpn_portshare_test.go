//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// webSize is how many bytes the web server has that shares a port.
const webSize = 10_000_000

// startWeb starts a web server at port 8443 of host 1, behind the port that the
// link has.
func (e *duo) startWeb(t *testing.T) {
	t.Helper()
	web := e.hosts[0].Start("tlsserve", "127.0.0.1:8443", fmt.Sprint(webSize))
	web.Expect(t, "ready", 10*time.Second)
	try(t, os.Mkdir(filepath.Join(e.keys, "journal"), 0o755))
}

// TestOpenVPNSharesThePort has the real openvpn call a link at the port of HTTPS, and
// a web server stand behind it: pings and 10 MB both ways through the link, and
// 10 MB from the web server at the same time.
func TestOpenVPNSharesThePort(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	for _, c := range []struct {
		name         string
		ours, theirs string // FINGERPRINT is the other end's
	}{
		{"TLS server, tls-crypt", "--tls-server --cert server.crt --key server.key --peer-fingerprint FINGERPRINT --tls-crypt tc",
			"--tls-client --cert client.crt --key client.key --peer-fingerprint FINGERPRINT --tls-crypt tc"},
		{"TLS server, tls-crypt-v2", "--tls-server --cert server.crt --key server.key --peer-fingerprint FINGERPRINT --tls-crypt-v2 v2-server",
			"--tls-client --cert client.crt --key client.key --peer-fingerprint FINGERPRINT --tls-crypt-v2 v2-client"},
		{"TLS server, tls-auth SHA512", "--tls-server --cert server.crt --key server.key --peer-fingerprint FINGERPRINT --tls-auth ta 0 --auth SHA512",
			"--tls-client --cert client.crt --key client.key --peer-fingerprint FINGERPRINT --tls-auth ta 1 --auth SHA512"},
		{"TLS client", "--tls-client --cert client.crt --key client.key --peer-fingerprint FINGERPRINT",
			"--tls-server --dh none --cert server.crt --key server.key --peer-fingerprint FINGERPRINT"},
		{"static key", "--secret secret --cipher AES-256-CBC", "--secret secret --cipher AES-256-CBC"},
		{"plain", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newDuo(t, keyset(t))
			e.startWeb(t)
			words := func(text string) string {
				other := "client"
				if strings.Contains(text, "--tls-client") {
					other = "server"
				}
				return strings.Replace(text, "FINGERPRINT", fingerprint(t, e.keys, other), 1)
			}
			e.ours = e.hosts[0].Start("tmelink", "run", e.description(t,
				"tap0: tme/host/tun/tap inet 10.0.77.1 netmask 255.255.255.0 nat none hwaddr 02:00:00:00:00:01",
				"link0 at tap0: tme/host/openvpn/socket/link --dev tap --local 192.168.0.1 --lport 443 --remote 192.168.0.2 --proto tcp-server "+
					"--port-share 127.0.0.1 8443 journal "+words(c.ours)))
			e.ours.Expect(t, "waiting for a peer", 30*time.Second)
			startPeer := func() {
				e.peer = e.hosts[1].Start("openvpn", append([]string{"--cd", e.keys, "--dev", "tap0", "--lladdr", "02:00:00:00:00:02",
					"--ifconfig", "10.0.77.2", "255.255.255.0", "--proto", "tcp-client", "--nobind", "--remote", "192.168.0.1", "443",
					"--connect-retry", "1", "2", "--verb", "4"}, strings.Fields(words(c.theirs))...)...)
			}
			fetch := func() *nstest.Process { return e.hosts[1].Start("tlsfetch", "https://192.168.0.1/") }
			check := func(p *nstest.Process) {
				t.Helper()
				if err := p.Wait(t, 60*time.Second); err != nil {
					t.Errorf("the web server does not answer: %v", err)
				}
				if got, want := p.Output(), fetched(webSize); got != want {
					t.Errorf("from the web server: got %s, want %s", got, want)
				}
			}
			check(fetch()) // while there is no peer
			startPeer()
			early := fetch()
			bothWays(t, e.hosts[0], e.hosts[1])
			late := fetch()
			carry(t, e.hosts[0], e.hosts[1], 10_000_000, 60*time.Second)
			check(early)
			check(late)
			complaints(t, e.peer.Output())
			e.peer.Stop()
			check(fetch())
			startPeer()
			bothWays(t, e.hosts[0], e.hosts[1])
			if err := e.ours.Stop(); err != nil {
				t.Errorf("tmelink, ended by SIGTERM: %v", err)
			}
			if left := e.journal(t); len(left) > 0 {
				t.Errorf("the journal has still %v", left)
			}
		})
	}
}

// journal is what the journal's files say, by their names, with their mode.
func (e *duo) journal(t *testing.T) map[string]string {
	t.Helper()
	dir := filepath.Join(e.keys, "journal")
	entries, err := os.ReadDir(dir)
	try(t, err)
	found := map[string]string{}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		try(t, err)
		info, err := entry.Info()
		try(t, err)
		found[entry.Name()] = fmt.Sprintf("%s, %v", text, info.Mode())
	}
	return found
}

// TestOpenVPNsJournal compares what the real openvpn writes into its journal of a
// connection that it passes on with what tmelink does.
func TestOpenVPNsJournal(t *testing.T) {
	nstest.Need(t, "openvpn")
	t.Parallel()
	e := newDuo(t, keyset(t))
	e.startWeb(t)
	theirs := e.hosts[0].Start("openvpn", "--cd", e.keys, "--dev", "tap0", "--server", "10.8.0.0", "255.255.255.0", "--local", "192.168.0.1",
		"--proto", "tcp-server", "--lport", "1443", "--dh", "none", "--ca", "ca.crt", "--cert", "ca-server.crt", "--key", "ca-server.key",
		"--port-share", "127.0.0.1", "8443", filepath.Join(e.keys, "journal"), "--verb", "4")
	theirs.Expect(t, "Initialization Sequence Completed", 30*time.Second)
	ours := e.hosts[0].Start("tmelink", "run", e.description(t, "le0: tme/ic/am7990",
		"link0 at le0: tme/host/openvpn/socket/link --dev tap --local 192.168.0.1 --lport 443 --proto tcp-server --port-share 127.0.0.1 8443 journal "+
			"--tls-server --ca ca.crt --cert ca-server.crt --key ca-server.key"))
	ours.Expect(t, "waiting for a peer", 30*time.Second)
	port := regexp.MustCompile(`:\d+\b`)
	kept := func(at string) string {
		t.Helper()
		fetch := e.hosts[1].Start("tlsfetch", "https://192.168.0.1:"+at+"/wait")
		var said string
		if !nstest.Eventually(30*time.Second, func() bool {
			for name, text := range e.journal(t) {
				said = port.ReplaceAllString(name, ":PORT") + " has " + port.ReplaceAllString(text, ":PORT")
				return strings.Contains(text, "192.168.0.2")
			}
			return false
		}) {
			t.Fatalf("port %s: nothing is in the journal", at)
		}
		fetch.Stop()
		if !nstest.Eventually(30*time.Second, func() bool { return len(e.journal(t)) == 0 }) {
			t.Errorf("port %s: the journal keeps %v", at, e.journal(t))
		}
		return said
	}
	want, got := kept("1443"), kept("443")
	if got != want || !strings.HasPrefix(got, "[AF_INET]127.0.0.1:PORT has [AF_INET]192.168.0.2:PORT, ") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
