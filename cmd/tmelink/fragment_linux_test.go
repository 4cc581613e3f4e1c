package main

import (
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// acrossRouter are links over the way of beyondRouter, with --mtu-disc yes.
var acrossRouter = []linkEnds{
	linkOf("UDP", "--local 192.168.1.1 --remote 192.168.2.1", "--local 192.168.2.1 --remote 192.168.1.1").with("UDP", "--mtu-disc yes"),
	linkOf("UDP over IPv6", "--local fd01::1 --remote fd02::1", "--local fd02::1 --remote fd01::1").with("UDP over IPv6", "--mtu-disc yes"),
}

// longPing says whether a ping is answered that makes a packet which the first wire takes,
// and the one behind the router does not.
func longPing(h *nstest.Host) bool {
	_, err := h.Try("ping", "-M", "do", "-s", "1340", "-c", "1", "-W", "1", "10.0.77.2")
	return err == nil
}

// TestLongPacketsAreRefused: with --mtu-disc yes what is longer than a router says the
// path takes is not sent; it is counted, and told of once with what would help. TCP
// keeps to the path.
func TestLongPacketsAreRefused(t *testing.T) {
	nstest.Need(t, "nstat", "ping")
	for _, link := range acrossRouter {
		t.Run(link.name, func(t *testing.T) {
			a, router, b := beyondRouter(t)
			u := dig(t, a, b, link, "", "")
			a.Run("ping", "-c", "1", "-W", "5", "10.0.77.2")
			for range 4 { // what the router drops first, the kernel refuses then
				if longPing(a) {
					t.Error("a ping of 1368 bytes is answered")
				}
			}
			const told = "a packet is longer than the path takes"
			u.ours[0].Expect(t, told, 10*time.Second)
			u.ours[0].Expect(t, "--fragment 1300 mtu at both ends", time.Second)
			before := fragmentsMade(t, a, router, b)
			for _, e := range tapEnds {
				u.tcp(t, e, 500_000)
			}
			if n := fragmentsMade(t, a, router, b) - before; n > 0 {
				t.Errorf("TCP was sent in %d fragments", n)
			}
			if n := strings.Count(u.ours[0].Output(), told); n != 1 {
				t.Errorf("told %d times", n)
			}
			endsWell(t, u.ours[:], "control", "too-long")
			if !strings.Contains(u.ours[0].Output(), "too-long") {
				t.Error("the status does not count what was too long")
			}
		})
	}
}

// TestFragmentsFitThePath: --fragment makes packets that a router lets pass as soon as
// it has said what the path takes, and IP makes no fragments.
func TestFragmentsFitThePath(t *testing.T) {
	nstest.Need(t, "nstat", "ping")
	for _, link := range acrossRouter {
		t.Run(link.name, func(t *testing.T) {
			a, router, b := beyondRouter(t)
			u := dig(t, a, b, link.with("", "--fragment 1400 --mssfix 0"), "", "")
			before := fragmentsMade(t, a, router, b)
			if !nstest.Eventually(30*time.Second, func() bool { return longPing(a) }) {
				t.Fatal("a ping of 1368 bytes is not answered")
			}
			u.ours[0].Expect(t, "the path to the peer takes shorter packets; longer ones are not sent", 10*time.Second)
			for _, e := range tapEnds {
				u.tcp(t, e, 2_000_000)
			}
			a.Run("ping", "-M", "do", "-s", "1472", "-c", "3", "-i", "0.2", "-W", "5", "10.0.77.2")
			b.Run("ping", "-6", "-M", "do", "-s", "1452", "-c", "3", "-i", "0.2", "-W", "5", "fd77::1")
			if n := fragmentsMade(t, a, router, b) - before; n > 0 {
				t.Errorf("IP has made %d fragments", n)
			}
			endsWell(t, u.ours[:], "control", "too-long", "incomplete")
		})
	}
}
