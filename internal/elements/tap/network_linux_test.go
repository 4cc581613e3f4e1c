package tap

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func pushedRoute(to, via string) ethernet.Route {
	return ethernet.Route{To: netip.MustParsePrefix(to), Via: netip.MustParseAddr(via)}
}

// pushed is a network with all that concerns a host.
func pushed() *ethernet.Network {
	return &ethernet.Network{
		Addr4: netip.MustParsePrefix("10.8.0.5/24"), Addr6: netip.MustParsePrefix("fd00:8::5/64"), MTU: 1400,
		Routes: []ethernet.Route{pushedRoute("10.9.0.0/16", "10.8.0.1"), pushedRoute("fd00:9::/64", "fd00:8::1")},
		DNS:    []netip.Addr{netip.MustParseAddr("10.8.0.1")}, Domain: "lab.example",
	}
}

// interfaceState is what ip tells of an interface.
func interfaceState(t testing.TB, name string) string {
	t.Helper()
	return run(t, "ip", "addr", "show", "dev", name) + run(t, "ip", "route", "show", "dev", name) + run(t, "ip", "-6", "route", "show", "dev", name)
}

// expect fails the test where the interface lacks words or has others.
func expect(t testing.TB, name string, has []string, hasNot ...string) {
	t.Helper()
	got := interfaceState(t, name)
	for _, w := range has {
		if !strings.Contains(got, w) {
			t.Errorf("%q is missing in\n%s", w, got)
		}
	}
	for _, w := range hasNot {
		if strings.Contains(got, w) {
			t.Errorf("%q is in\n%s", w, got)
		}
	}
}

func set(t testing.TB, r *running, n *ethernet.Network) {
	t.Helper()
	if err := r.port.SetNetwork(n); err != nil {
		t.Errorf("set up with %+v: %v", n, err)
	}
}

// TestNetworkComesChangesAndGoes follows what a link's peer hands out, on a device
// made here and on one that stays, by either type.
func TestNetworkComesChangesAndGoes(t *testing.T) {
	nstest.InNamespace(t)
	for _, c := range []struct{ path, text string }{
		{"tme/host/tun/tap", ""},
		{"tme/host/openvpn/tap", "--dev tap"},
		{"tme/host/tun/tap", "interface tapp mtu 1500"},
	} {
		t.Run(c.path+" "+c.text, func(t *testing.T) {
			leakless(t)
			persistent(t)
			unchanged(t)
			r := start(t, c.path, c.text)
			set(t, r, nil)
			before, status := hostState(t), r.Status()
			n := pushed()
			if strings.Contains(c.text, "mtu") {
				n.MTU = 0
			}
			set(t, r, n)
			all := []string{"inet 10.8.0.5/24 brd 10.8.0.255", "inet6 fd00:8::5/64", "10.9.0.0/16 via 10.8.0.1 proto static", "fd00:9::/64 via fd00:8::1 proto static"}
			if n.MTU != 0 {
				all = append(all, "mtu 1400")
			}
			expect(t, r.name(), all)
			if got, want := r.Status(), status+", 10.8.0.5/24, fd00:8::5/64, routes 2"; got != want {
				t.Errorf("status %q, want %q", got, want)
			}
			if got := r.log.String(); !strings.Contains(got, "dns=[10.8.0.1] domain=lab.example") {
				t.Errorf("the log tells of no name server:\n%s", got)
			}
			set(t, r, &ethernet.Network{Addr4: netip.MustParsePrefix("10.8.0.6/24"), Routes: []ethernet.Route{pushedRoute("10.10.0.0/16", "10.8.0.1")}})
			expect(t, r.name(), []string{"inet 10.8.0.6/24", "10.10.0.0/16 via 10.8.0.1", "mtu 1500"}, "10.8.0.5", "fd00:", "10.9.0.0")
			set(t, r, nil)
			if after := hostState(t); after != before {
				t.Errorf("the host is not as it was:\n%s", diff(before, after))
			}
			if r.Status() != status {
				t.Errorf("status %q, want %q", r.Status(), status)
			}
			set(t, r, n) // and Close takes it back
		})
	}
}

// TestSameNetworkDisturbsNothing hands out the same again: a route that somebody
// has added through the address stays.
func TestSameNetworkDisturbsNothing(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "")
	set(t, r, pushed())
	run(t, "ip", "route", "add", "10.11.0.0/16", "via", "10.8.0.1")
	set(t, r, pushed())
	expect(t, r.name(), []string{"10.11.0.0/16", "10.9.0.0/16"})
}

func TestOwnWordsWin(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	for _, c := range []struct {
		path, text  string
		route       int // of pushed's: its router is on the wire
		has, hasNot []string
		aside       string
	}{
		{"tme/host/tun/tap", "inet 10.0.77.1 netmask 255.255.255.0 nat none", 1, []string{"inet 10.0.77.1/24", "inet6 fd00:8::5/64", "mtu 1400", "fd00:9::/64"}, []string{"10.8.0.5"}, "address 10.8.0.5/24"},
		{"tme/host/tun/tap", "inet6 fd00:77::1/64 nat none mtu 1500", 0, []string{"inet6 fd00:77::1/64", "inet 10.8.0.5/24", "mtu 1500", "10.9.0.0/16"}, []string{"fd00:8::5"}, "address fd00:8::5/64, mtu 1400"},
		{"tme/host/openvpn/tap", "--dev tap --ifconfig 10.0.77.1 255.255.255.0 --tun-mtu 1400", 1, []string{"inet 10.0.77.1/24", "mtu 1400"}, []string{"10.8.0.5"}, "address 10.8.0.5/24, mtu 1400"},
		{"tme/host/tun/tap", "mtu 1300", 0, []string{"inet 10.8.0.5/24", "mtu 1300"}, nil, "mtu 1400"},
	} {
		r := start(t, c.path, c.text)
		n := pushed()
		n.Routes = n.Routes[c.route : c.route+1]
		set(t, r, n)
		expect(t, r.name(), c.has, c.hasNot...)
		if got := r.log.String(); strings.Count(got, "is left aside") != 1 || !strings.Contains(got, `aside="`+c.aside+`"`) {
			t.Errorf("%s: the log does not say that %q is left aside:\n%s", c.text, c.aside, got)
		}
		set(t, r, nil)
		expect(t, r.name(), nil, "10.8.0.5", "fd00:8::5", "proto static")
		r.stopNow(t)
	}
}

func TestLargerMTUIsLeftAside(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "")
	set(t, r, &ethernet.Network{MTU: 1600})
	expect(t, r.name(), []string{"mtu 1500"})
	if got := r.log.String(); !strings.Contains(got, `aside="mtu 1600"`) {
		t.Errorf("the log does not say so:\n%s", got)
	}
}

func TestBridgePortTakesNoNetwork(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	cable(t, "portx")
	run(t, "ip", "link", "set", "portx", "address", "02:00:00:00:00:01")
	run(t, "ip", "link", "add", "brx", "type", "bridge")
	t.Cleanup(func() { run(t, "ip", "link", "del", "brx") })
	run(t, "ip", "link", "set", "portx", "master", "brx")
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "bridge brx")
	before := hostState(t)
	set(t, r, pushed())
	if after := hostState(t); after != before {
		t.Errorf("the host is not as it was:\n%s", diff(before, after))
	}
	if got := r.log.String(); !strings.Contains(got, "the interface is a bridge's port") {
		t.Errorf("the log does not say why:\n%s", got)
	}
}

// TestNetworkBeforeStart knows the network before there is a device.
func TestNetworkBeforeStart(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	log := &nstest.Buffer{}
	e, err := build(t, "tme/host/tun/tap", "", element.Env{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	n := pushed()
	n.Routes = append(n.Routes, pushedRoute("10.10.0.0/16", "192.0.2.1"))
	r := &running{tap: e, log: log}
	set(t, r, n)
	t.Cleanup(func() { r.stopNow(t) })
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, r.name(), []string{"inet 10.8.0.5/24", "10.9.0.0/16"}, "10.10.0.0")
	if got := log.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "route to 10.10.0.0/16") {
		t.Errorf("the log does not tell of what could not be done:\n%s", got)
	}
	r.stopNow(t)
	set(t, r, nil) // as a link may that ends later
}

// TestNetworkFaults asks for what cannot be done: the rest is done, is taken back
// like the rest, and is tried again.
func TestNetworkFaults(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "")
	before := hostState(t)
	n := pushed()
	n.MTU = 1000
	n.Routes = append(n.Routes, ethernet.Route{To: netip.MustParsePrefix("10.9.0.1/16")}, pushedRoute("10.9.0.0/16", "10.8.0.2"))
	for i := range 200 {
		n.Routes = append(n.Routes, pushedRoute(fmt.Sprintf("10.10.%d.0/24", i), "192.0.2.1"))
	}
	for range 2 {
		err := r.port.SetNetwork(n)
		if err == nil {
			t.Fatal("all of it was done")
		}
		for _, want := range []string{"mtu of tap0 to 1000: that is too small for IPv6", "route to 10.9.0.1/16: the network is 10.9.0.0/16", "10.9.0.0/16 by tap0: this host has another one", "10.10.0.0/24", "and 199 more routes likewise"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is missing in %v", want, err)
			}
		}
		expect(t, r.name(), []string{"inet 10.8.0.5/24", "10.9.0.0/16 via 10.8.0.1", "fd00:9::/64", "mtu 1500"}, "10.10.")
	}
	if err := r.port.SetNetwork(&ethernet.Network{Addr4: netip.MustParsePrefix("224.0.0.1/24")}); err == nil || !strings.Contains(err.Error(), "224.0.0.1/24: it is not the address of one station") {
		t.Errorf("an address of nobody: %v", err)
	}
	expect(t, r.name(), []string{"inet 10.8.0.5/24"}) // what is nonsense changes nothing
	set(t, r, nil)
	if after := hostState(t); after != before {
		t.Errorf("the host is not as it was:\n%s", diff(before, after))
	}
}

// TestNetworkInNamespace sets up the namespace that the interface is in.
func TestNetworkInNamespace(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	h := nstest.New(t, "inner")
	r := start(t, "tme/host/tun/tap", "netns "+h.Name)
	set(t, r, pushed())
	if got := h.IP("addr") + h.IP("route"); !strings.Contains(got, "inet 10.8.0.5/24") || !strings.Contains(got, "10.9.0.0/16 via 10.8.0.1") {
		t.Errorf("in the namespace:\n%s", got)
	}
	set(t, r, nil)
	if got := h.IP("addr") + h.IP("route"); strings.Contains(got, "10.8.0.") {
		t.Errorf("in the namespace:\n%s", got)
	}
}

// TestNetworkOfRemovedInterface loses the interface under what was set up.
func TestNetworkOfRemovedInterface(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "")
	set(t, r, pushed())
	run(t, "ip", "link", "del", r.name())
	set(t, r, nil)
	if err := r.port.SetNetwork(pushed()); err == nil || !strings.Contains(err.Error(), "the interface was removed") {
		t.Errorf("the error is %v", err)
	}
}
