//go:build unix

package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestOpenVPNRenewsKeys has either end renew the keys every few seconds, while
// pings go to and fro: not one is lost.
func TestOpenVPNRenewsKeys(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	t.Parallel()
	keys := keyset(t)
	cases := []keyCase{
		{name: "tmelink does, as server", server: true, ours: "--reneg-sec 5", theirs: "--reneg-sec 0"},
		{name: "tmelink does, as client", ours: "--reneg-sec 5", theirs: "--reneg-sec 0", words: "--tls-crypt tc"},
		{name: "OpenVPN does, as server", ours: "--reneg-sec 0", theirs: "--reneg-sec 5 5", words: "--data-ciphers AES-256-CBC"},
		{name: "OpenVPN does, as client", server: true, ours: "--tls-crypt-v2 v2-server --reneg-sec 0", theirs: "--tls-crypt-v2 v2-client --reneg-sec 5 5"},
		{name: "both do", server: true, words: "--reneg-sec 4"},
		{name: "tmelink does, by packets", ours: "--reneg-pkts 1200"},
		{name: "OpenVPN does, over TCP", tcp: true, theirs: "--reneg-sec 5 5", words: "--tls-auth ta"},
	}
	const (
		count   = "1200"
		every   = "0.01" // s
		renewed = 2      // times at the least
	)
	pairs := make([]*duo, len(cases))
	for i, c := range cases {
		pairs[i] = newDuo(t, keys)
		pairs[i].start(t, c)
	}
	pings := make([][2]*nstest.Process, len(cases))
	for i, e := range pairs {
		e.expectAnswer(t, 30*time.Second)
		pings[i] = [2]*nstest.Process{
			e.hosts[0].Start("ping", "-q", "-c", count, "-i", every, "10.0.77.2"),
			e.hosts[1].Start("ping", "-q", "-c", count, "-i", every, "10.0.77.1"),
		}
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range pings[i] {
				if err := p.Wait(t, 60*time.Second); err != nil || !strings.Contains(p.Output(), " "+count+" received") {
					t.Errorf("ping: %v\n%s", err, p.Output())
				}
			}
			if got := strings.Count(pairs[i].peer.Output(), "Outgoing Data Channel: Cipher") - 1; got < renewed {
				t.Errorf("the keys were renewed %d times, want %d", got, renewed)
			}
			if out := pairs[i].ours.Output(); strings.Contains(out, "WARN") {
				t.Errorf("tmelink warns:\n%s", out)
			}
			complaints(t, pairs[i].peer.Output())
		})
		if t.Failed() {
			t.Logf("tmelink said:\n%s\nopenvpn said:\n%s", pairs[i].ours.Output(), pairs[i].peer.Output())
		}
	}
}

// expectAnswer waits until host 2 answers a ping of host 1 through the link.
func (e *duo) expectAnswer(t *testing.T, within time.Duration) {
	t.Helper()
	began := time.Now()
	ok := nstest.Eventually(within, func() bool {
		_, err := e.hosts[0].Try("ping", "-c", "1", "-W", "1", "10.0.77.2")
		return err == nil
	})
	if !ok {
		t.Fatalf("host 2 does not answer through the link within %v", within)
	}
	t.Logf("host 2 answers after %v", time.Since(began).Round(10*time.Millisecond))
}

// TestOpenVPNKilled kills either end, without a word to the other, and starts it
// anew: frames flow again within a bounded time. A server takes a restarted client at
// once, and tells its client that it has begun anew itself; with a static key nothing
// is agreed on.
func TestOpenVPNKilled(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	keys := keyset(t)
	const (
		atOnce  = 5 * time.Second // and a second for the other's start, another for ping
		noticed = 12 * time.Second
	)
	for _, c := range []struct {
		keyCase
		afterOurs, afterTheirs time.Duration
	}{
		{keyCase{name: "static key", secret: true, words: "--secret secret --cipher AES-256-CBC"}, atOnce, atOnce},
		{keyCase{name: "tmelink is the server", server: true, words: "--tls-crypt tc"}, atOnce, atOnce},
		{keyCase{name: "tmelink is the server, tls-auth", server: true, words: "--tls-auth ta"}, atOnce, atOnce},
		{keyCase{name: "tmelink is the server, bare TLS", server: true}, atOnce, atOnce},
		{keyCase{name: "tmelink is the client"}, atOnce, atOnce},
		{keyCase{name: "server, keepalive", server: true, words: "--keepalive 1 4"}, noticed, noticed},
		{keyCase{name: "client, keepalive", words: "--tls-auth ta --keepalive 1 4"}, noticed, noticed},
		{keyCase{name: "TCP, tmelink listens", server: true, tcp: true, listen: true}, atOnce, atOnce},
		{keyCase{name: "TCP, tmelink connects", tcp: true, ours: "--connect-retry 1"}, atOnce, atOnce},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newDuo(t, keys)
			e.start(t, c.keyCase)
			e.expectAnswer(t, 30*time.Second)
			kill(t, e.ours)
			e.startOurs(t, c.keyCase)
			e.expectAnswer(t, c.afterOurs)
			kill(t, e.peer)
			e.startPeer(t, c.keyCase)
			e.expectAnswer(t, c.afterTheirs)
		})
	}
}

func kill(t *testing.T, p *nstest.Process) {
	t.Helper()
	p.Signal(syscall.SIGKILL)
	p.Wait(t, 10*time.Second)
}

// TestOpenVPNSaysGoodbye ends either end, which the other hears at once.
func TestOpenVPNSaysGoodbye(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	keys := keyset(t)
	for _, c := range silenceCases {
		if c.tcp {
			continue
		}
		c.words += " --explicit-exit-notify 2"
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const atOnce = 2 * time.Second
			e := newDuo(t, keys)
			e.start(t, c)
			e.expectAnswer(t, 30*time.Second)
			e.peer.Signal(syscall.SIGTERM)
			e.ours.Expect(t, "the peer has ended, and said so", atOnce)
			e.peer.Wait(t, 10*time.Second)
			e.startPeer(t, c)
			e.expectAnswer(t, 30*time.Second)
			e.ours.Signal(syscall.SIGTERM)
			e.peer.Expect(t, "remote-exit", atOnce)
			if err := e.ours.Wait(t, 10*time.Second); err != nil {
				t.Errorf("tmelink, ended by SIGTERM: %v", err)
			}
		})
	}
}
