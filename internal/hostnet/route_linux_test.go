package hostnet

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// tapState is all that the tests here may change of a host.
func tapState(t testing.TB) string {
	t.Helper()
	return run(t, "ip", "link") + run(t, "ip", "addr") + run(t, "ip", "route") + run(t, "ip", "-6", "route") + run(t, "nft", "list", "ruleset")
}

// tapWithAddress opens a TAP device with an address of its own, a persistent one
// or one that goes with its descriptor.
func tapWithAddress(t *testing.T, n *Namespace, persistent bool) *Changes {
	t.Helper()
	if persistent {
		run(t, "ip", "tuntap", "add", "tapr", "mode", "tap")
		t.Cleanup(func() { run(t, "ip", "link", "del", "tapr") })
	}
	c := n.Change(openTAP(t, n, "tapr"))
	t.Cleanup(func() { undo(t, c) })
	for _, err := range []error{c.SetMTU(1450), c.AddAddress(netip.MustParsePrefix("10.0.77.1/24"), netip.Addr{}), c.SetUp()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func route(to, via string, metric int) ethernet.Route {
	r := ethernet.Route{To: netip.MustParsePrefix(to), Metric: metric}
	if via != "" {
		r.Via = netip.MustParseAddr(via)
	}
	return r
}

// pushed does what a network asks for that comes later.
func pushed(t *testing.T, c *Changes) {
	t.Helper()
	for _, err := range []error{
		c.SetMTU(1400), c.AddAddress(netip.MustParsePrefix("10.8.0.5/24"), netip.Addr{}), c.AddAddress(netip.MustParsePrefix("fd00:8::5/64"), netip.Addr{}),
		c.AddRoute(route("10.9.0.0/16", "10.8.0.1", 0)), c.AddRoute(route("10.10.0.0/16", "", 70)), c.AddRoute(route("0.0.0.0/0", "10.8.0.1", 80)),
		c.AddRoute(route("fd00:9::/64", "fd00:8::1", 0)), c.AddRoute(route("::/0", "fe80::1", 90)),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	routes := run(t, "ip", "route") + run(t, "ip", "-6", "route")
	for _, want := range []string{
		"10.9.0.0/16 via 10.8.0.1 dev tapr proto static", "10.10.0.0/16 dev tapr proto static scope link metric 70", "default via 10.8.0.1 dev tapr proto static metric 80",
		"fd00:9::/64 via fd00:8::1 dev tapr proto static metric 1024", "default via fe80::1 dev tapr proto static metric 90",
	} {
		if !strings.Contains(routes, want) {
			t.Errorf("%q is missing in\n%s", want, routes)
		}
	}
}

// TestUndoTo takes back what came after a moment, and again, and leaves what was
// before it; the journal of a device that stays has at any time what there is to
// undo.
func TestUndoTo(t *testing.T) {
	nstest.InNamespace(t)
	for _, persistent := range []bool{false, true} {
		t.Run(map[bool]string{false: "fleeting", true: "persistent"}[persistent], func(t *testing.T) {
			n := openHere(t)
			c := tapWithAddress(t, n, persistent)
			before := tapState(t)
			mark := c.Mark()
			for range 2 {
				pushed(t, c)
				if rules := run(t, "nft", "list", "ruleset"); persistent != strings.Contains(rules, "route tapr") {
					t.Errorf("the journal is\n%s", rules)
				}
				if err := c.UndoTo(mark); err != nil {
					t.Error(err)
				}
				if after := tapState(t); after != before {
					t.Errorf("the host was\n%s\nand is\n%s", before, after)
				}
			}
			if err := c.UndoTo(mark); err != nil {
				t.Errorf("nothing to undo: %v", err)
			}
			pushed(t, c)
			undo(t, c)
			if rules := run(t, "nft", "list", "ruleset"); rules != "" {
				t.Errorf("rules are left:\n%s", rules)
			}
			if got := run(t, "ip", "addr", "show", "dev", "tapr"); persistent && strings.Contains(got, "inet ") {
				t.Errorf("an address is left:\n%s", got)
			}
		})
	}
}

// TestReclaimRoutes has another process find what was pushed to a device whose
// process was killed.
func TestReclaimRoutes(t *testing.T) {
	nstest.InNamespace(t)
	run(t, "ip", "tuntap", "add", "tapr", "mode", "tap")
	t.Cleanup(func() { run(t, "ip", "link", "del", "tapr") })
	run(t, "ip", "link", "set", "tapr", "up")
	n := openHere(t)
	tap := openTAP(t, n, "tapr")
	before := tapState(t)
	killed := n.Change(tap)
	pushed(t, killed)
	if err := openHere(t).Reclaim(context.Background(), "tapr", quiet); err != nil {
		t.Error(err)
	}
	if after := tapState(t); after != before {
		t.Errorf("the host was\n%s\nand is\n%s", before, after)
	}
}

// TestRoutesOfOthers leaves alone what stands in a route's place.
func TestRoutesOfOthers(t *testing.T) {
	nstest.InNamespace(t)
	for _, persistent := range []bool{false, true} {
		n := openHere(t)
		c := tapWithAddress(t, n, persistent)
		run(t, "ip", "addr", "add", "fd00:77::1/64", "dev", "tapr", "nodad")
		run(t, "ip", "route", "add", "10.9.0.0/16", "via", "10.0.77.2", "proto", "static")
		run(t, "ip", "-6", "route", "add", "fd00:9::/64", "via", "fd00:77::2", "proto", "static")
		run(t, "ip", "route", "add", "unreachable", "10.10.0.0/16")
		before := tapState(t)
		mark := c.Mark()
		for _, r := range []ethernet.Route{route("10.9.0.0/16", "10.0.77.2", 0), route("fd00:9::/64", "fd00:77::2", 0)} {
			if err := c.AddRoute(r); err != nil {
				t.Errorf("a route that is there already: %v", err)
			}
		}
		for _, tt := range []struct {
			route ethernet.Route
			want  string
		}{
			{route("10.9.0.0/16", "10.0.77.3", 0), "add a route to 10.9.0.0/16 by tapr: this host has another one of metric 0"},
			{route("10.10.0.0/16", "10.0.77.3", 0), "another one"},
			{route("fd00:9::/64", "fd00:77::3", 0), "another one"},
			{route("10.11.0.0/16", "192.0.2.1", 0), "add a route to 10.11.0.0/16 by tapr: "},
		} {
			if err := c.AddRoute(tt.route); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v: %v, want %q in it", tt.route, err, tt.want)
			}
		}
		if err := c.UndoTo(mark); err != nil {
			t.Error(err)
		}
		if after := tapState(t); after != before {
			t.Errorf("the host was\n%s\nand is\n%s", before, after)
		}
		run(t, "ip", "route", "del", "unreachable", "10.10.0.0/16")
		undo(t, c)
		if !persistent {
			run(t, "ip", "link", "del", "tapr")
		}
	}
}
