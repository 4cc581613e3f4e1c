//go:build unix

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// silenceCases are ways to share keys in which silence and goodbyes differ.
var silenceCases = []keyCase{
	{name: "no keys", secret: true},
	{name: "static key", secret: true, words: "--secret secret --cipher AES-256-CBC"},
	{name: "tmelink is the server", server: true},
	{name: "tmelink is the client", words: "--tls-crypt tc"},
	{name: "TCP, no keys", secret: true, tcp: true, listen: true},
	{name: "TCP, keys", tcp: true},
}

// TestOpenVPNMissesItsPeer kills either end: the pings of it were enough for the
// other, whose --ping-exit ends it then.
func TestOpenVPNMissesItsPeer(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	keys := keyset(t)
	for _, c := range silenceCases {
		if c.tcp {
			continue // there the end is noticed before
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newDuo(t, keys)
			there := c
			there.ours, there.theirs = "--ping 1", "--ping-exit 5"
			e.start(t, there)
			e.expectAnswer(t, 30*time.Second)
			time.Sleep(7 * time.Second)
			kill(t, e.ours)
			e.peer.Expect(t, "Inactivity timeout (--ping-exit), exiting", 20*time.Second)
			if err := e.peer.Wait(t, 10*time.Second); err != nil {
				t.Errorf("openvpn, ended by --ping-exit: %v", err)
			}
			here := c
			here.ours, here.theirs = "--ping-exit 5", "--ping 1"
			e.start(t, here)
			e.expectAnswer(t, 30*time.Second)
			time.Sleep(7 * time.Second)
			kill(t, e.peer)
			e.ours.Expect(t, "the peer has been silent for 5s (--ping-exit)", 20*time.Second)
			if err := e.ours.Stop(); err != nil {
				t.Errorf("tmelink, whose link has ended as asked: %v", err)
			}
		})
	}
}

// tunnels starts `tmelink openvpn` and openvpn, neither with a TAP, and lets them meet.
func (e *duo) tunnels(t *testing.T, c keyCase) {
	t.Helper()
	args := []string{"--cd", e.keys, "--dev", "null", "--local", "192.168.0.1", "--remote", "192.168.0.2", "--verb", "4"}
	e.ours = e.hosts[0].Start("tmelink", append(append([]string{"openvpn"}, args...), c.options(t, e.keys, true)...)...)
	args[5], args[7] = args[7], args[5]
	e.peer = e.hosts[1].Start("openvpn", append(args, c.options(t, e.keys, false)...)...)
	for _, p := range []*nstest.Process{e.ours, e.peer} {
		p.Expect(t, "Initialization Sequence Completed", 30*time.Second)
	}
}

// TestOpenVPNIsInactive: although both ends ping, either ends by --inactive, and over
// UDP tells the other.
func TestOpenVPNIsInactive(t *testing.T) {
	nstest.Need(t, "openvpn")
	keys := keyset(t)
	for _, c := range silenceCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newDuo(t, keys)
			c.words += " --ping 1"
			if !c.tcp {
				c.words += " --explicit-exit-notify 2"
			}
			there := c
			there.theirs = "--inactive 4"
			e.tunnels(t, there)
			e.peer.Expect(t, "Inactivity timeout (--inactive), exiting", 20*time.Second)
			if !c.tcp {
				e.ours.Expect(t, "the peer has ended, and said so", 5*time.Second)
			}
			e.peer.Wait(t, 10*time.Second)
			e.ours.Stop()

			here := c
			here.ours = "--inactive 4"
			e.tunnels(t, here)
			e.ours.Expect(t, "no frame was carried for 4s (--inactive)", 20*time.Second)
			if !c.tcp {
				e.peer.Expect(t, "remote-exit", 5*time.Second)
			}
			if err := e.ours.Wait(t, 10*time.Second); err != nil {
				t.Errorf("tmelink, ended by --inactive: %v", err)
			}
		})
	}
}

// Frames put off the end by --inactive if they are of enough bytes, and no others.
func TestOpenVPNCarriesEnough(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	t.Parallel()
	e := newDuo(t, keyset(t))
	e.start(t, keyCase{secret: true, words: "--inactive 5 20000"})
	e.expectAnswer(t, 30*time.Second)
	e.hosts[0].Run("ping", "-c", "40", "-i", "0.2", "-s", "1400", "-W", "5", "10.0.77.2")
	for _, p := range []*nstest.Process{e.ours, e.peer} {
		if strings.Contains(p.Output(), "--inactive") {
			t.Errorf("it has ended although enough was carried:\n%s", p.Output())
		}
	}
	small := e.hosts[0].Start("ping", "-i", "0.5", "10.0.77.2")
	e.ours.Expect(t, "frames of less than 20000 bytes were carried in 5s (--inactive)", 20*time.Second)
	e.peer.Expect(t, "Inactivity timeout (--inactive), exiting", 20*time.Second)
	small.Stop()
}

// TestOpenVPNServerSetsTimers: a server's pushed --inactive ends its client's link,
// which says so by its pushed --explicit-exit-notify, and its --shaper slows it.
func TestOpenVPNServerSetsTimers(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	t.Parallel()
	e := newDuo(t, keyset(t))
	e.startServer(t, "--push", "inactive 5 1000000", "--push", "explicit-exit-notify", "--push", "shaper 50000")
	e.ours = e.hosts[0].Start("tmelink", "run", e.description(t, "le0: tme/ic/am7990",
		"link0 at le0: "+clientLink+"--cert ca-client.crt --key ca-client.key", "command le0 ping 10.8.0.1 count 2"))
	e.ours.Expect(t, "bytes from 10.8.0.1", 30*time.Second)
	e.ours.Expect(t, "frames of less than 1000000 bytes were carried in 5s (--inactive)", 20*time.Second)
	e.peer.Expect(t, "Delayed exit in", 5*time.Second)
	if strings.Contains(e.ours.Output(), "things that a link does not do") && strings.Contains(e.ours.Output(), "shaper") {
		t.Errorf("it does not take all that the server says:\n%s", e.ours.Output())
	}
}

// TestOpenVPNShaper: what tmelink sends is slowed, what it receives is not.
func TestOpenVPNShaper(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	keys := keyset(t)
	for _, c := range []keyCase{silenceCases[0], silenceCases[3], silenceCases[5]} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const size, rate = 200_000, 50_000
			e := newDuo(t, keys)
			c.ours = fmt.Sprintf("--shaper %d", rate)
			e.start(t, c)
			e.expectAnswer(t, 30*time.Second)
			begun := time.Now()
			carry(t, e.hosts[0], e.hosts[1], size, 60*time.Second)
			if took, least := time.Since(begun), size*time.Second/rate; took < least {
				t.Errorf("%d bytes went in %v, want no less than %v", size, took, least)
			}
		})
	}
}
