//go:build unix

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

// startServer starts an OpenVPN in server mode on host 2, which is 10.8.0.1 and
// pushes a route to 10.9.0.0/24.
func (e *duo) startServer(t *testing.T, words ...string) {
	t.Helper()
	args := []string{"--cd", e.keys, "--dev", "tap0", "--lladdr", "02:00:00:00:00:02", "--server", "10.8.0.0", "255.255.255.0", "--local", "192.168.0.2",
		"--dh", "none", "--ca", "ca.crt", "--cert", "ca-server.crt", "--key", "ca-server.key",
		"--push", "route 10.9.0.0 255.255.255.0", "--keepalive", "1", "4", "--verb", "4"}
	e.peer = e.hosts[1].Start("openvpn", append(args, words...)...)
	e.peer.Expect(t, "Initialization Sequence Completed", 30*time.Second)
}

// description puts a description into the folder of the keys, whose names count from
// there.
func (e *duo) description(t *testing.T, lines ...string) string {
	t.Helper()
	f, err := os.CreateTemp(e.keys, "*.tme")
	try(t, err)
	defer f.Close()
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	try(t, err)
	return f.Name()
}

// clientLink is a link to the server of startServer.
const clientLink = "tme/host/openvpn/socket/link --dev tap --client --remote 192.168.0.2 --ca ca.crt --remote-cert-tls server "

// TestOpenVPNServer has two links be clients of one OpenVPN in server mode: its words
// set up a TAP at the one and a built-in host at the other, both reach it, again after
// it was restarted, and what was set up at the TAP goes with the link.
func TestOpenVPNServer(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	t.Parallel()
	e := newDuo(t, keyset(t))
	e.hosts[0].Run("ip", "tuntap", "add", "tap0", "mode", "tap")
	// A ping that goes on has the address that it began with.
	try(t, os.WriteFile(filepath.Join(e.keys, "pool"), []byte("client,10.8.0.2\nrevoked,10.8.0.3\n"), 0o600))
	same := []string{"--ifconfig-pool-persist", "pool", "0"}
	e.startServer(t, append(same, "--push", "dhcp-option DNS 10.8.0.1", "--data-ciphers", "CHACHA20-POLY1305:AES-256-GCM")...)
	ours := e.hosts[0].Start("tmelink", "run", e.description(t,
		"tap0: tme/host/tun/tap interface tap0 nat none",
		"link0 at tap0: "+clientLink+"--cert ca-client.crt --key ca-client.key",
		"le0: tme/ic/am7990",
		"link1 at le0: "+clientLink+"--cert ca-revoked.crt --key ca-revoked.key", // nobody asks a CRL here
		"command le0 ping 10.8.0.1 count 20 interval 1"))
	e.ours = ours
	state := func() string {
		return e.hosts[0].IP("-4", "addr", "show", "dev", "tap0") + e.hosts[0].IP("route", "show", "dev", "tap0")
	}
	isSetUp := func() bool {
		s := state()
		return strings.Contains(s, "inet 10.8.0.2/24") && strings.Contains(s, "10.9.0.0/24 via 10.8.0.1")
	}
	if !nstest.Eventually(30*time.Second, isSetUp) {
		t.Fatalf("the TAP is not set up:\n%s", state())
	}
	reaches := func(within time.Duration) {
		t.Helper()
		if !nstest.Eventually(within, func() bool {
			_, err := e.hosts[0].Try("ping", "-c", "1", "-W", "1", "10.8.0.1")
			return err == nil
		}) {
			t.Fatal("the server does not answer")
		}
	}
	reaches(10 * time.Second)
	ours.ExpectN(t, "cipher=CHACHA20-POLY1305", 2, 10*time.Second)
	ours.Expect(t, "bytes from 10.8.0.1", 30*time.Second)
	e.transfer(t)

	kill(t, e.peer)
	e.startServer(t, same...)
	reaches(15 * time.Second) // of which 4 until it is missed
	ours.ExpectN(t, "cipher=AES-256-GCM", 2, 15*time.Second)
	answers := strings.Count(ours.Output(), "bytes from 10.8.0.1")
	ours.ExpectN(t, "bytes from 10.8.0.1", answers+1, 30*time.Second)

	if err := ours.Stop(); err != nil {
		t.Errorf("tmelink, ended by SIGTERM: %v", err)
	}
	if s := state(); strings.Contains(s, "inet ") || strings.Contains(s, "10.9.0.0") {
		t.Errorf("something has stayed at the TAP:\n%s", s)
	}
}

// transfer has host 1 fetch 10 MB from the server, and compares the checksum.
func (e *duo) transfer(t *testing.T) {
	t.Helper()
	const size = 10_000_000
	serve := e.hosts[1].Start("tcpserve", "10.8.0.1:7000", fmt.Sprint(size))
	serve.Expect(t, "ready", 10*time.Second)
	if got, want := e.hosts[0].Run("tcpfetch", "10.8.0.1:7000"), fetched(size); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	serve.Stop()
}

// TestOpenVPNServerAsksForUsers has links log in by name and password: the right
// ones are let in, with a certificate or without; wrong ones end the link with one
// line, or have it try again.
func TestOpenVPNServerAsksForUsers(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	t.Parallel()
	e := newDuo(t, keyset(t))
	users := filepath.Join(e.keys, "users") // the one that is let in
	script := filepath.Join(e.keys, "verify")
	try(t, os.WriteFile(users, []byte("alice\nright\n"), 0o600))
	try(t, os.WriteFile(filepath.Join(e.keys, "wrong"), []byte("alice\nmistaken\n"), 0o600))
	try(t, os.WriteFile(filepath.Join(e.keys, "right"), []byte("alice\nright\n"), 0o600))
	try(t, os.WriteFile(filepath.Join(e.keys, "bob"), []byte("bob\nlate\n"), 0o600))
	try(t, os.WriteFile(script, []byte("#!/bin/sh\ncmp -s \"$1\" "+users+"\n"), 0o700))
	verify := []string{"--script-security", "2", "--auth-user-pass-verify", script, "via-file", "--tmp-dir", e.keys}
	e.startServer(t, append(verify, "--verify-client-cert", "none")...)

	login := func(words string) *nstest.Process {
		return e.hosts[0].Start("tmelink", "run", e.description(t, "le0: tme/ic/am7990", "link0 at le0: "+clientLink+words,
			"command le0 ping 10.8.0.1 count 5 interval 1"))
	}
	const certificate = " --cert ca-client.crt --key ca-client.key"
	without := login("--auth-user-pass right")
	wrong := login("--auth-user-pass wrong")
	again := login("--auth-user-pass bob --auth-retry nointeract")
	without.Expect(t, "bytes from 10.8.0.1", 30*time.Second)
	wrong.Expect(t, "link has given up", 30*time.Second)
	oneLine(t, wrong.Output(), "the server does not let the user in (AUTH_FAILED): correct the name and password in the file of --auth-user-pass, or the server's list")
	again.ExpectN(t, "AUTH_FAILED", 2, 30*time.Second)
	if strings.Contains(again.Output(), "given up") {
		t.Error("--auth-retry nointeract: the link has given up")
	}
	try(t, os.WriteFile(users, []byte("bob\nlate\n"), 0o600))
	again.Expect(t, "keys agreed on", 30*time.Second)
	for _, p := range []*nstest.Process{without, wrong, again} {
		for _, secret := range []string{"mistaken", "late"} {
			if strings.Contains(p.Output(), secret) {
				t.Errorf("the log has a password:\n%s", p.Output())
			}
		}
		p.Stop()
	}
	kill(t, e.peer)
	e.startServer(t, verify...)
	login("--auth-user-pass bob"+certificate).Expect(t, "bytes from 10.8.0.1", 30*time.Second)
}

// oneLine fails the test unless exactly one line of link0 is an error or warning
// with this text.
func oneLine(t *testing.T, log, text string) {
	t.Helper()
	var found []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) && strings.Contains(line, "element=link0") && (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d lines have %q:\n%s\nof:\n%s", len(found), text, strings.Join(found, ""), log)
	}
}

// TestOpenVPNProfile has a link be a client by a whole profile, with all keys inside.
func TestOpenVPNProfile(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	t.Parallel()
	e := newDuo(t, keyset(t))
	e.startServer(t, "--tls-crypt", "tc", "--proto", "tcp-server", "--lport", "1999")
	profile := "client\ndev tap\nverb 3\n" +
		"<connection>\nremote 192.168.0.2\nport 1999\nproto tcp\n</connection>\n" +
		"remote-cert-tls server\nverify-x509-name server name\nresolv-retry infinite\nnobind\npersist-key\npersist-tun\nauth-nocache\n"
	for _, inline := range [][2]string{{"ca", "ca.crt"}, {"cert", "ca-client.crt"}, {"key", "ca-client.key"}, {"tls-crypt", "tc"}} {
		text, err := os.ReadFile(filepath.Join(e.keys, inline[1]))
		try(t, err)
		profile += fmt.Sprintf("<%s>\n%s</%[1]s>\n", inline[0], text)
	}
	try(t, os.WriteFile(filepath.Join(e.keys, "client.ovpn"), []byte(profile), 0o600))
	ours := e.hosts[0].Start("tmelink", "run", "--once", e.description(t, "le0: tme/ic/am7990",
		"link0 at le0: tme/host/openvpn/socket/link --config client.ovpn", "command le0 ping 10.8.0.1 count 3"))
	if err := ours.Wait(t, 40*time.Second); err != nil {
		t.Errorf("tmelink: %v\n%s", err, ours.Output())
	}
	answered(t, "le0", ours.Output(), "10.8.0.1")
}
