//go:build linux

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestOpenVPNOverBadPaths has the real OpenVPN at the other end of a path that loses,
// repeats and reorders packets: keys are agreed on and renewed, and what TCP carries
// through the link is the same by checksum. Where a fifth is lost in each way, TCP itself
// comes to rest; there pings look at what they get back.
func TestOpenVPNOverBadPaths(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	keys := keyset(t)
	for i, c := range []struct {
		percent, size int // size of what TCP carries
	}{{1, 2_000_000}, {5, 1_000_000}, {20, 0}} {
		for _, server := range []bool{true, false} {
			role := map[bool]string{true: "server", false: "client"}[server]
			t.Run(fmt.Sprintf("%d percent, %s", c.percent, role), func(t *testing.T) {
				t.Parallel()
				e := badPath(t, keys, c.percent, uint64(i))
				e.start(t, keyCase{server: server, words: "--tls-crypt tc --reneg-sec 4"})
				e.ours.Expect(t, "keys agreed on", 60*time.Second)
				e.expectAnswer(t, 60*time.Second)
				if c.size > 0 {
					carry(t, e.hosts[0], e.hosts[1], c.size, time.Minute)
				} else {
					e.pingPattern(t)
				}
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

// pingPattern sends 300 pings with data in them, of which four in ten come back if a
// fifth is lost in each way, and fails the test unless one in ten does, unharmed.
func (e *duo) pingPattern(t *testing.T) {
	t.Helper()
	const sent = 300
	out, _ := e.hosts[0].Try("ping", "-q", "-c", fmt.Sprint(sent), "-i", "0.02", "-W", "2", "-s", "1400", "-p", "0123456789abcdef", "10.0.77.2")
	m := regexp.MustCompile(`(\d+) received`).FindStringSubmatch(out)
	if m == nil || strings.Contains(out, "wrong data") {
		t.Fatalf("ping said:\n%s", out)
	}
	if n, _ := strconv.Atoi(m[1]); n < sent/10 {
		t.Errorf("%d of %d pings came back:\n%s", n, sent, out)
	}
}
