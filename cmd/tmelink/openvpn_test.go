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

// role is one way for tmelink and OpenVPN to meet without keys.
type role struct {
	name    string
	tmelink string   // options of the link on host 1, behind --local
	openvpn []string // options of OpenVPN on host 2
}

var roles = []role{
	{"UDP", "--remote 192.168.0.2", []string{"--proto", "udp", "--local", "192.168.0.2", "--remote", "192.168.0.1"}},
	{"UDP with pings", "--remote 192.168.0.2 --keepalive 1 5", []string{"--proto", "udp", "--local", "192.168.0.2", "--remote", "192.168.0.1", "--keepalive", "1", "5"}},
	{"UDP, OpenVPN floats", "--remote 192.168.0.2", []string{"--proto", "udp", "--local", "192.168.0.2", "--float", "--remote", "192.168.0.1"}},
	{"UDP, tmelink floats", "--lport 1194", []string{"--proto", "udp", "--local", "192.168.0.2", "--remote", "192.168.0.1"}},
	{"TCP, tmelink serves", "--remote 192.168.0.2 --proto tcp-server", []string{"--proto", "tcp-client", "--remote", "192.168.0.1", "--connect-retry", "1", "2"}},
	{"TCP, tmelink calls", "--remote 192.168.0.2 --proto tcp-client", []string{"--proto", "tcp-server", "--local", "192.168.0.2", "--remote", "192.168.0.1"}},
}

// TestOpenVPN joins a TAP by a link to the real OpenVPN without keys, in every
// role: pings both ways, 10 MB compared by checksum both ways, and the same
// again after either end was started anew. Neither end may complain of the other.
func TestOpenVPN(t *testing.T) {
	for _, r := range roles {
		t.Run(r.name, func(t *testing.T) {
			nstest.Need(t, "openvpn", "ping")
			hosts := lan(t, 2)
			description := filepath.Join(t.TempDir(), "m.tme")
			text := "tap0: tme/host/tun/tap inet 10.0.77.1 netmask 255.255.255.0 nat none hwaddr 02:00:00:00:00:01\n" +
				"link0 at tap0: tme/host/openvpn/socket/link --dev tap --local 192.168.0.1 " + r.tmelink + "\n"
			if err := os.WriteFile(description, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
			startTmelink := func() *nstest.Process { return hosts[0].Start("tmelink", "run", description) }
			startOpenVPN := func() *nstest.Process {
				// A fixed hardware address, because a new one is unknown to the
				// other host's ARP table for half a minute.
				return hosts[1].Start("openvpn", append(r.openvpn, "--dev", "tap0", "--lladdr", "02:00:00:00:00:02",
					"--ifconfig", "10.0.77.2", "255.255.255.0", "--verb", "3")...)
			}
			peer := startOpenVPN()
			ours := startTmelink()
			peer.Expect(t, "Initialization Sequence Completed", 30*time.Second)
			bothWays(t, hosts[0], hosts[1])

			if err := ours.Stop(); err != nil {
				t.Errorf("tmelink, ended by SIGTERM: %v\n%s", err, ours.Output())
			}
			ours = startTmelink()
			bothWays(t, hosts[0], hosts[1])

			peer.Stop()
			complaints(t, peer.Output())
			peer = startOpenVPN()
			bothWays(t, hosts[0], hosts[1])
			complaints(t, peer.Output())
			if err := ours.Stop(); err != nil {
				t.Errorf("tmelink, ended by SIGTERM: %v\n%s", err, ours.Output())
			}
		})
	}
}

// bothWays pings and transfers 10 MB in both directions between two hosts whose
// TAPs are 10.0.77.1 and 10.0.77.2. It first waits for the network to be there.
func bothWays(t *testing.T, h1, h2 *nstest.Host) {
	t.Helper()
	const size = 10_000_000
	ready := nstest.Eventually(60*time.Second, func() bool {
		_, err := h1.Try("ping", "-c", "1", "-W", "1", "10.0.77.2")
		return err == nil
	})
	if !ready {
		t.Fatal("host 2 does not answer through the link")
	}
	h2.Run("ping", "-c", "3", "-i", "0.2", "-W", "5", "10.0.77.1")
	h1.Run("ping", "-c", "3", "-i", "0.2", "-W", "5", "10.0.77.2")
	carry(t, h1, h2, size, 30*time.Second)
}

// carry brings as many bytes through the link in each direction, each within a time,
// and compares them by checksum.
func carry(t *testing.T, h1, h2 *nstest.Host, size int, within time.Duration) {
	t.Helper()
	bring(t, h1, "10.0.77.1", h2, size, within)
	bring(t, h2, "10.0.77.2", h1, size, within)
}

// bring brings as many bytes from one host, at an address, to the other, and compares
// them by checksum.
func bring(t *testing.T, from *nstest.Host, addr string, to *nstest.Host, size int, within time.Duration) {
	t.Helper()
	server := from.Start("tcpserve", addr+":7000", fmt.Sprint(size))
	server.Expect(t, "ready", 10*time.Second)
	fetch := to.Start("tcpfetch", addr+":7000")
	if err := fetch.Wait(t, within); err != nil {
		t.Errorf("from %s: %v", addr, err)
	}
	if got, want := fetch.Output(), fetched(size); got != want {
		t.Errorf("from %s: got %s, want %s", addr, got, want)
	}
	server.Stop()
}

// complaints fails the test if OpenVPN found its peer's options or packets odd.
// That the tunnel has no keys is what it is told to say.
func complaints(t *testing.T, output string) {
	t.Helper()
	for line := range strings.SplitSeq(output, "\n") {
		for _, bad := range []string{"inconsistent", "Bad encapsulated", "Bad LZO", "Options error", "remote options", "is present in"} {
			if strings.Contains(line, bad) {
				t.Errorf("openvpn complains: %s", line)
			}
		}
	}
}
