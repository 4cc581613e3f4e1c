package main

import (
	"path/filepath"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestPair runs both ends that `tmelink pair` writes on two hosts, one of them by its
// profile: as OpenVPN has it, and by tmelink in OpenVPN's place.
func TestPair(t *testing.T) {
	profileBy := map[string][]string{
		"openvpn": {"openvpn", "--verb", "3", "--lladdr", "02:00:00:00:00:02", "--config"},
		"tmelink": {"tmelink", "openvpn", "--config"},
	}
	for _, c := range []struct {
		name, proto, by string
		other           int // whose end is the profile
	}{
		{"UDP, OpenVPN is the client", "udp", "openvpn", 1},
		{"UDP, OpenVPN is the server", "udp", "openvpn", 0},
		{"TCP, OpenVPN is the client", "tcp", "openvpn", 1},
		{"TCP, OpenVPN is the server", "tcp", "openvpn", 0},
		{"UDP, tmelink reads the profile", "udp", "tmelink", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			nstest.Need(t, "openvpn", "ping")
			addrs := []string{"192.168.0.1", "192.168.0.2"}
			hosts := lan(t, 2)
			dir := t.TempDir()
			hosts[0].Run("tmelink", "pair", addrs[0], addrs[1], "--proto", c.proto, "--tap", "--openvpn", addrs[c.other], "--out", dir)

			command := append(profileBy[c.by], filepath.Join(dir, addrs[c.other]+".ovpn"))
			theirs := hosts[c.other].Start(command[0], command[1:]...)
			ours := hosts[1-c.other].Start("tmelink", "run", filepath.Join(dir, addrs[1-c.other]+".tme"))
			theirs.Expect(t, "Initialization Sequence Completed", 30*time.Second)
			bothWays(t, hosts[0], hosts[1])
			ours.Expect(t, "cipher=AES-256-GCM", time.Second)
			complaints(t, theirs.Output())
			if err := ours.Stop(); err != nil {
				t.Errorf("tmelink, ended by SIGTERM: %v", err)
			}
		})
	}
}
