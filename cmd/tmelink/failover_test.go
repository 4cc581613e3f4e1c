//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// farEnd is a host with a real OpenVPN that serves UDP, another that serves TCP, and a
// bridge at 10.0.77.2 between their TAPs.
func farEnd(t *testing.T, h *nstest.Host, keys string) {
	t.Helper()
	h.IP("link", "add", "br0", "address", "02:00:00:00:00:02", "type", "bridge")
	h.IP("addr", "add", "10.0.77.2/24", "dev", "br0")
	h.IP("link", "set", "br0", "up")
	words := keyCase{}.options(t, keys, false)
	for tap, more := range map[string][]string{"tapu": {"--proto", "udp", "--lport", "1194"}, "tapt": {"--proto", "tcp-server", "--lport", "443"}} {
		h.IP("tuntap", "add", "dev", tap, "mode", "tap")
		h.IP("link", "set", tap, "master", "br0", "up")
		args := append([]string{"--cd", keys, "--dev", tap, "--dev-type", "tap", "--local", "192.168.0.2", "--keepalive", "1", "4",
			"--connect-retry", "1", "2", "--verb", "4"}, more...)
		p := h.Start("openvpn", append(args, words...)...)
		p.Expect(t, map[string]string{"tapu": "UDPv4 link local", "tapt": "Listening for incoming"}[tap], 30*time.Second)
	}
}

// TestLinkFallsBackAndReturns closes, under traffic, first UDP and then TCP as well: the
// link carries on over TCP, and then through a proxy, and is back on UDP when that is
// open again. The TCP connection inside it outlasts all that.
func TestLinkFallsBackAndReturns(t *testing.T) {
	nstest.Need(t, "openvpn", "tinyproxy", "nft", "ping")
	keys := keyset(t)
	hosts := lan(t, 3)
	farEnd(t, hosts[1], keys)
	dir := t.TempDir()
	try(t, os.Chmod(dir, 0o755)) // tinyproxy is another user
	conf := filepath.Join(dir, "tinyproxy.conf")
	try(t, os.WriteFile(conf, []byte("Port 8888\nListen 192.168.0.3\nTimeout 600\nMaxClients 20\n"), 0o644))
	hosts[2].Start("tinyproxy", "-d", "-c", conf)

	f, err := os.CreateTemp(keys, "*.tme")
	try(t, err)
	defer f.Close()
	fmt.Fprintf(f, `tap0: tme/host/tun/tap inet 10.0.77.1 netmask 255.255.255.0 nat none hwaddr 02:00:00:00:00:01
link0 at tap0: tme/host/openvpn/socket/link --dev tap --nobind --remote 192.168.0.2 1194 udp --remote 192.168.0.2 443 tcp-client \
	--connection "remote 192.168.0.2 443 tcp-client
		http-proxy 192.168.0.3 8888" \
	--keepalive 1 3 --connect-timeout 3 --remote-return 5 %s
`, strings.Join(keyCase{}.options(t, keys, true), " "))
	ours := hosts[0].Start("tmelink", "run", f.Name())
	ours.Expect(t, "keys agreed on", 30*time.Second)
	reachable := func(what string, within time.Duration) {
		t.Helper()
		begun := time.Now()
		if !nstest.Eventually(within, func() bool {
			_, err := hosts[0].Try("ping", "-c", "1", "-W", "1", "10.0.77.2")
			return err == nil
		}) {
			t.Fatalf("%s: nothing comes through after %v:\n%s", what, within, ours.Output())
		}
		t.Logf("%s: after %v", what, time.Since(begun).Round(100*time.Millisecond))
	}
	reachable("at first", 30*time.Second)

	talk := hosts[1].Start("tcptalk", "10.0.77.2:7001")
	talk.Expect(t, "ready", 10*time.Second)
	listen := hosts[0].Start("tcplisten", "10.0.77.2:7001")
	listen.Expect(t, "100 lines", 30*time.Second)

	hosts[1].Run("nft", "add table inet closed; add chain inet closed in { type filter hook input priority 0; }; "+
		"add chain inet closed out { type filter hook output priority 0; }")
	hosts[1].Run("nft", "add rule inet closed in udp dport 1194 drop; add rule inet closed out udp sport 1194 drop")
	reachable("UDP is closed", 15*time.Second)
	ours.Expect(t, `way="tcp 192.168.0.2 port 443" before="udp 192.168.0.2 port 1194"`, time.Second)

	hosts[1].Run("nft", "add rule inet closed in tcp dport 443 ip saddr 192.168.0.1 drop")
	reachable("TCP is closed, too", 30*time.Second)
	ours.Expect(t, `way="tcp 192.168.0.2 port 443 through the http proxy 192.168.0.3:8888"`, time.Second)

	hosts[1].Run("nft", "delete table inet closed")
	ours.Expect(t, `way="udp 192.168.0.2 port 1194"`, 60*time.Second)
	reachable("all is open", 10*time.Second)
	bothWays(t, hosts[0], hosts[1])

	talk.Stop() // it ends the connection
	if err := listen.Wait(t, 60*time.Second); err != nil {
		t.Errorf("the connection through the link: %v\n%s", err, listen.Output())
	}
	if !strings.Contains(listen.Output(), "none is missing") {
		t.Errorf("the connection through the link:\n%s", listen.Output())
	}
	if err := ours.Stop(); err != nil {
		t.Errorf("tmelink: %v\n%s", err, ours.Output())
	}
}
