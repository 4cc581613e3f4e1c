//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestOpenVPNsAtOnePort joins three OpenVPNs to one tmelink with one UDP port and a
// switch behind it: two without keys at fixed addresses, and one with keys, which takes
// another address in the midst of it. Each reaches each: pings, and 4 MB compared by
// checksum.
func TestOpenVPNsAtOnePort(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	keys := keyset(t)
	hosts := lan(t, 4)
	description := filepath.Join(t.TempDir(), "m.tme")
	link := " at sw0: tme/host/openvpn/socket/link --dev tap --local 192.168.0.1 --remote "
	text := "sw0: tme/generic/switch\n" +
		"tap0 at sw0: tme/host/tun/tap inet 10.0.77.1 netmask 255.255.255.0 nat none hwaddr 02:00:00:00:00:01\n" +
		"link0" + link + "192.168.0.2\n" +
		"link1" + link + "192.168.0.3\n" +
		"link2" + link + fmt.Sprintf("192.168.0.4 --float --tls-server --cert %s/server.crt --key %[1]s/server.key --peer-fingerprint %s\n",
		keys, fingerprint(t, keys, "client"))
	try(t, os.WriteFile(description, []byte(text), 0o666))
	ours := hosts[0].Start("tmelink", "run", description)
	ours.ExpectN(t, "link is open", 3, 30*time.Second)
	address := func(i int) string { return fmt.Sprintf("10.0.77.%d", i+1) }
	for i := 1; i < len(hosts); i++ {
		args := []string{"--cd", keys, "--dev", "tap0", "--lladdr", fmt.Sprintf("02:00:00:00:00:%02d", i+1),
			"--ifconfig", address(i), "255.255.255.0", "--remote", "192.168.0.1", "--verb", "3"}
		if i < 3 {
			args = append(args, "--local", fmt.Sprintf("192.168.0.%d", i+1))
		} else {
			args = append(args, "--nobind", "--tls-client", "--cert", "client.crt", "--key", "client.key",
				"--peer-fingerprint", fingerprint(t, keys, "server"))
		}
		peer := hosts[i].Start("openvpn", args...)
		t.Cleanup(func() { complaints(t, peer.Output()) })
	}
	reach := func(from, to int) {
		t.Helper()
		if !nstest.Eventually(60*time.Second, func() bool {
			_, err := hosts[from].Try("ping", "-c", "1", "-W", "1", address(to))
			return err == nil
		}) {
			t.Fatalf("host %d does not reach host %d", from+1, to+1)
		}
	}
	all := func() {
		t.Helper()
		for from := range hosts {
			for to := range hosts {
				if from != to {
					reach(from, to)
					hosts[from].Run("ping", "-c", "3", "-i", "0.2", "-W", "5", address(to))
				}
			}
			bring(t, hosts[from], address(from), hosts[(from+1)%len(hosts)], 4_000_000, 60*time.Second)
		}
	}
	all()
	hosts[3].IP("addr", "add", "192.168.0.14/24", "dev", "eth0")
	hosts[3].IP("addr", "del", "192.168.0.4/24", "dev", "eth0")
	hosts[3].IP("addr", "replace", "192.168.0.14/24", "dev", "eth0") // it goes with the first of its network
	reach(3, 0)
	ours.Expect(t, "192.168.0.14", 10*time.Second)
	all()
	if err := ours.Stop(); err != nil {
		t.Errorf("tmelink, ended by SIGTERM: %v\n%s", err, ours.Output())
	}
}
