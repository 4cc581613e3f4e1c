//go:build unix

package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestOpenVPNSignals has a tunnel without a TAP write its counters, read its
// profile anew, refuse a profile with faults, and end.
func TestOpenVPNSignals(t *testing.T) {
	file := write(t, "p.ovpn", "dev null\nlocal 127.0.0.1\nlport 0\nwritepid pid\n")
	pid := filepath.Join(filepath.Dir(file), "pid")
	const isUp = "Initialization Sequence Completed"
	p := nstest.Start(t, "tmelink", "openvpn", "--cd", filepath.Dir(file), "--config", file)
	p.Expect(t, isUp, 20*time.Second)
	if _, err := os.Stat(pid); err != nil {
		t.Error(err)
	}
	p.Signal(syscall.SIGUSR2)
	p.Expect(t, "OpenVPN STATISTICS", 10*time.Second)
	p.Expect(t, "link -> nowhere", 10*time.Second)

	change := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		p.Signal(syscall.SIGHUP)
	}
	change("dev null\nlocl 127.0.0.1\n")
	p.Expect(t, file+`:2:1: unknown option "--locl"`, 10*time.Second)
	change("dev null\nlocal 127.0.0.1\nlport 0\nwritepid pid\nnice 3\n")
	p.ExpectN(t, isUp, 2, 20*time.Second)
	p.Expect(t, "without effect: --nice", time.Second)
	if err := p.Stop(); err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
	if _, err := os.Stat(pid); err == nil {
		t.Error("the file of --writepid has stayed")
	}
}

// TestOpenVPNFails: what cannot be opened ends with 1, at the place of --dev.
func TestOpenVPNFails(t *testing.T) {
	for _, options := range [][]string{
		{"--local", "192.0.2.77"}, // an address that this host does not have
		{"--local", "127.0.0.1", "--lport", "0", "--status", "no/such"},
		{"--local", "127.0.0.1", "--lport", "0", "--writepid", "no/such"},
		{"--local", "127.0.0.1", "--lport", "0", "--log", "no/such"},
	} {
		p := nstest.Start(t, "tmelink", append([]string{"openvpn", "--dev", "null"}, options...)...)
		if err := p.Wait(t, 20*time.Second); err == nil || err.Error() != "exit status 1" {
			t.Errorf("%v: %v, want exit status 1", options, err)
		}
		if want := options[len(options)-2]; !strings.Contains(p.Output(), "tmelink: ") || options[1] == "127.0.0.1" && !strings.Contains(p.Output(), want) {
			t.Errorf("%v: no word of %s:\n%s", options, want, p.Output())
		}
	}
}

// TestOpenVPNCommand has `tmelink openvpn` take the place of an openvpn whose peer
// is the real one: pings and 10 MB both ways, scripts, and the file of --status.
func TestOpenVPNCommand(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	hosts := lan(t, 2)
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	said := filepath.Join(dir, "said")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$script_type $1 $ifconfig_local\" >> "+said+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	profile := write(t, "p.ovpn", "dev tap0\nlladdr 02:00:00:00:00:01\nifconfig 10.0.77.1 255.255.255.0\n"+
		"<connection>\nremote 192.168.0.2\n</connection>\nscript-security 2\nup "+script+"\ndown "+script+"\n")
	status := filepath.Join(dir, "status")
	peer := hosts[1].Start("openvpn", "--dev", "tap0", "--lladdr", "02:00:00:00:00:02",
		"--ifconfig", "10.0.77.2", "255.255.255.0", "--remote", "192.168.0.1", "--verb", "3")
	ours := hosts[0].Start("tmelink", "openvpn", "--config", profile, "--status", status, "1")
	ours.Expect(t, "Initialization Sequence Completed", 30*time.Second)
	peer.Expect(t, "Initialization Sequence Completed", 30*time.Second)
	bothWays(t, hosts[0], hosts[1])
	carried := regexp.MustCompile(`TUN/TAP read bytes,\d{8,}\nTUN/TAP write bytes,\d{8,}\n`)
	written := func() string {
		text, _ := os.ReadFile(status)
		return string(text)
	}
	if !nstest.Eventually(10*time.Second, func() bool { return carried.MatchString(written()) }) {
		t.Errorf("the status does not have 10 MB both ways:\n%s", written())
	}
	if err := ours.Stop(); err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
	text, _ := os.ReadFile(said)
	if got, want := string(text), "up tap0 10.0.77.1\ndown tap0 10.0.77.1\n"; got != want {
		t.Errorf("the scripts said %q, want %q", got, want)
	}
}

// TestOpenVPNHearsItsPeer: as long as the peer sends, --ping-exit does not end the
// process and the status counts the socket's bytes; SIGUSR1 has the link begin anew.
func TestOpenVPNHearsItsPeer(t *testing.T) {
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	own, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // a free port
	if err != nil {
		t.Fatal(err)
	}
	port := own.LocalAddr().(*net.UDPAddr).Port
	own.Close()
	status := filepath.Join(t.TempDir(), "status")
	p := nstest.Start(t, "tmelink", "openvpn", "--dev", "null", "--local", "127.0.0.1", "--lport", strconv.Itoa(port),
		"--remote", "127.0.0.1", strconv.Itoa(peer.LocalAddr().(*net.UDPAddr).Port), "--ping-exit", "3", "--status", status, "1")
	p.Expect(t, "Initialization Sequence Completed", 20*time.Second)
	begun := time.Now()
	for anew := false; time.Since(begun) < 5*time.Second; time.Sleep(100 * time.Millisecond) {
		peer.WriteToUDP(make([]byte, 60), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if !anew && time.Since(begun) > 4*time.Second {
			anew = true
			p.Signal(syscall.SIGUSR1)
		}
	}
	p.Expect(t, "begun anew", 10*time.Second)
	if text, _ := os.ReadFile(status); !regexp.MustCompile(`TCP/UDP read bytes,\d{3,}\n`).Match(text) {
		t.Errorf("the status does not count what was received:\n%s", text)
	}
	p.Expect(t, "--ping-exit", 20*time.Second)
	if err := p.Wait(t, 10*time.Second); err != nil {
		t.Errorf("ended by --ping-exit: %v", err)
	}
}
