//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestOpenVPNOverBadPaths has the real OpenVPN at the other end of a path that loses,
// repeats and reorders packets: keys are agreed on and renewed, and what TCP carries
// through the link is the same by checksum.
func TestOpenVPNOverBadPaths(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	keys := keyset(t)
	for i, c := range []struct {
		percent, size int
	}{{1, 2_000_000}, {5, 1_000_000}, {20, 200_000}} {
		for _, server := range []bool{true, false} {
			role := map[bool]string{true: "server", false: "client"}[server]
			t.Run(fmt.Sprintf("%d percent, %s", c.percent, role), func(t *testing.T) {
				t.Parallel()
				e := badPath(t, keys, c.percent, uint64(i))
				e.start(t, keyCase{server: server, words: "--tls-crypt tc --reneg-sec 4"})
				e.ours.Expect(t, "keys agreed on", 60*time.Second)
				e.expectAnswer(t, 60*time.Second)
				carry(t, e.hosts[0], e.hosts[1], c.size)
				renewed := func() bool { return strings.Count(e.peer.Output(), "Outgoing Data Channel: Cipher") > 1 }
				if !nstest.Eventually(60*time.Second, renewed) {
					t.Errorf("the keys were not renewed:\n%s\n%s", e.ours.Output(), e.peer.Output())
				}
				e.expectAnswer(t, 60*time.Second)
			})
		}
	}
}

// badPath is two hosts with a third between them, which harms so many of a hundred
// packets in each way that it knows.
func badPath(t *testing.T, keys string, percent int, seed uint64) *duo {
	t.Helper()
	e := &duo{keys: keys, hosts: [2]*nstest.Host{nstest.New(t, "h1"), nstest.New(t, "h2")}}
	wire := nstest.New(t, "wire")
	for i, h := range e.hosts {
		nstest.Cable(t, h, "eth0", fmt.Sprintf("192.168.0.%d/24", i+1), wire, fmt.Sprintf("w%d", i+1), "")
	}
	between := wire.Start("tmelink", "run", write(t, "wire.tme", fmt.Sprintf("bpf0: tme/host/bsd/bpf interface w1\n"+
		"bpf1: tme/host/bsd/bpf interface w2\n"+
		"wire0 at bpf0: tme/generic/impair delay 5ms jitter 2ms loss %[1]d%% duplicate %[1]d%% reorder %[1]d%% seed %[2]d\n"+
		"wire0 at bpf1\n", percent, seed)))
	between.Expect(t, "up after", 30*time.Second)
	return e
}
