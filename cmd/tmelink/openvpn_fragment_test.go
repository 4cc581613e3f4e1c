//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// fragmentCase is a keyCase with --fragment at both ends, over a path.
type fragmentCase struct {
	keyCase
	path int // its MTU
	mtu  int // of the TAPs
}

// fragmentCases are the kinds of keys, over a path that takes every packet, with frames
// that are longer than any packet, and over one that takes few.
func fragmentCases() (cases []fragmentCase) {
	for _, way := range []struct {
		name      string
		path, mtu int
		words     string
	}{
		{"1300", 1500, 1500, "--fragment 1300 --mssfix 0"},
		{"1300 mtu", 1300, 1500, "--fragment 1300 mtu --mtu-disc yes"},
		{"long frames", 1500, 9000, "--fragment 1300 --tun-mtu 9000"},
		{"500", 600, 1500, "--fragment 500 --mtu-disc yes"},
	} {
		tls := ""
		if way.path < 1300 {
			tls = " --max-packet-size 500"
		}
		for _, c := range []keyCase{
			{name: "in the clear", secret: true, words: way.words},
			{name: "static key", secret: true, words: way.words + " --cipher AES-256-CBC --auth SHA256 --secret secret"},
			{name: "TLS server", server: true, words: way.words + tls},
			{name: "TLS client", words: way.words + tls + " --data-ciphers AES-128-CBC"},
		} {
			c.name = way.name + ", " + c.name
			if way.mtu != 1500 {
				c.tap = fmt.Sprintf("mtu %d", way.mtu)
			}
			cases = append(cases, fragmentCase{c, way.path, way.mtu})
		}
	}
	return cases
}

// TestOpenVPNWithFragments has the real OpenVPN at the other end of a link with
// --fragment: 10 MB by checksum and frames of full length both ways, for which nobody's
// IP makes a fragment.
func TestOpenVPNWithFragments(t *testing.T) {
	nstest.Need(t, "openvpn", "ping", "nstat")
	keys := keyset(t)
	for _, c := range fragmentCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newDuo(t, keys)
			for _, h := range e.hosts {
				h.IP("link", "set", "eth0", "mtu", fmt.Sprint(c.path))
			}
			e.start(t, c.keyCase)
			e.expectAnswer(t, 60*time.Second)
			before := fragmentsMade(t, e.hosts[:]...)
			bothWays(t, e.hosts[0], e.hosts[1])
			full := fmt.Sprint(c.mtu - 28)
			e.hosts[0].Run("ping", "-M", "do", "-s", full, "-c", "5", "-i", "0.2", "-W", "5", "10.0.77.2")
			e.hosts[1].Run("ping", "-M", "do", "-s", full, "-c", "5", "-i", "0.2", "-W", "5", "10.0.77.1")
			if n := fragmentsMade(t, e.hosts[:]...) - before; n > 0 {
				t.Errorf("IP has made %d fragments", n)
			}
			// In fragments of the TAPs' own, each of which is a frame of full length.
			e.hosts[0].Run("ping", "-s", "20000", "-c", "5", "-i", "0.2", "-W", "5", "10.0.77.2")
			complaints(t, e.peer.Output())
			if out := e.peer.Output(); strings.Contains(out, "FRAG") {
				t.Errorf("openvpn complains of fragments:\n%s", out)
			}
			endsWell(t, []*nstest.Process{e.ours}, "control", "no-key")
		})
	}
}
