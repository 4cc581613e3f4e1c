package nic

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// handedOut is the network of lineA, with another behind b.
func handedOut() *ethernet.Network {
	return &ethernet.Network{
		Addr4: netip.MustParsePrefix("10.0.0.1/24"), Addr6: netip.MustParsePrefix("fd00::1/64"), MTU: 1400,
		Routes: []ethernet.Route{{To: netip.MustParsePrefix("192.0.2.0/24"), Via: netip.MustParseAddr("10.0.0.2")}},
		DNS:    []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Domain: "lab.example",
	}
}

func set(t testing.TB, i *Interface, n *ethernet.Network) {
	t.Helper()
	if err := i.port.SetNetwork(n); err != nil {
		t.Errorf("set up with %+v: %v", n, err)
	}
}

// guide does with an interface what is done when it is joined to a Guide.
func guide(t testing.TB) func(*Interface) { return func(i *Interface) { set(t, i, nil) } }

// logged has an interface log into a buffer.
func logged(i *Interface) *nstest.Buffer {
	log := &nstest.Buffer{}
	i.env.Log = slog.New(slog.NewTextHandler(log, nil))
	return log
}

// TestNetworkComesChangesAndGoes follows a host that has nothing but what is
// handed out to it.
func TestNetworkComesChangesAndGoes(t *testing.T) {
	a, b := pairAfter(t, "", lineB, guide(t))
	log := logged(a)
	if got := strings.Join(a.Sketch().Detail, " "); got != "addresses from the peer" {
		t.Errorf("the sketch says %q", got)
	}
	alone := a.Status()
	waiting, err := a.Prepare(words("ping 10.0.0.2 count 1"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- waiting(within(t), io.Discard) }()
	for range 2 {
		set(t, a, handedOut())
		for _, c := range []struct {
			i    *Interface
			line string
		}{{a, "ping 10.0.0.2 count 1"}, {a, "ping fd00::2 count 1"}, {b, "ping 10.0.0.1 count 1"}, {b, "get http://10.0.0.1/"}, {b, "get http://[fd00::1]/"}} {
			if out, err := command(t, c.i, c.line); err != nil {
				t.Errorf("%s: %v\n%s", c.line, err, out)
			}
		}
		echoes(t, b, "10.0.0.1:7")
		echoes(t, b, "[fd00::1]:7")
		set(t, a, &ethernet.Network{Addr4: netip.MustParsePrefix("10.0.0.7/24")})
		if out, err := command(t, a, "ping 10.0.0.2 count 1"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		echoes(t, b, "10.0.0.7:7")
		if got := a.Status(); !strings.HasPrefix(got, "10.0.0.7/24 fe80::") {
			t.Errorf("status %q", got)
		}
		set(t, a, nil)
		if out, err := command(t, a, "ping 10.0.0.2 count 1 timeout 1"); err == nil {
			t.Errorf("without an address:\n%s", out)
		}
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the command that waited: %v", err)
		}
	case <-within(t).Done():
		t.Fatal("the command still waits")
	}
	if got, want := a.Status(), strings.Split(alone, ",")[0]; !strings.HasPrefix(got, want) {
		t.Errorf("status %q, at first %q", got, alone)
	}
	if !strings.Contains(log.String(), "dns=[10.0.0.2] domain=lab.example") {
		t.Errorf("the log says:\n%s", log)
	}
}

// echoes sends a datagram to an echo service.
func echoes(t testing.TB, from *Interface, to string) {
	t.Helper()
	conn, err := from.host.DialUDP(netip.MustParseAddrPort(to))
	if err != nil {
		t.Errorf("%s: %v", to, err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Errorf("%s: %v", to, err)
		return
	}
	buf := make([]byte, 10)
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("%s sent back %q, %v", to, buf[:n], err)
	}
}

// TestNetworkBeforeStart is known before the host runs.
func TestNetworkBeforeStart(t *testing.T) {
	a, _ := pairAfter(t, "", lineB, func(a *Interface) {
		guide(t)(a)
		set(t, a, handedOut())
	})
	if out, err := command(t, a, "ping 10.0.0.2 count 1"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestOwnWordsWin leaves aside what the description says otherwise.
func TestOwnWordsWin(t *testing.T) {
	a, _ := pairAfter(t, "inet 10.0.0.9 netmask 255.255.255.0 mtu 1500 dns 10.0.0.3", lineB, guide(t))
	log := logged(a)
	set(t, a, handedOut())
	got := a.host.Addrs()
	if len(got) != 3 || got[0].String() != "10.0.0.9/24" || got[1].String() != "fd00::1/64" {
		t.Errorf("the addresses are %v", got)
	}
	if got := a.host.Nameservers(); len(got) != 1 || got[0].String() != "10.0.0.3" {
		t.Errorf("the name servers are %v", got)
	}
	if want := `aside="address 10.0.0.1/24, mtu 1400, name servers [10.0.0.2]"`; strings.Count(log.String(), want) != 1 {
		t.Errorf("the log lacks %s:\n%s", want, log)
	}
	for _, line := range []string{"ping 10.0.0.2 count 1", "ping fd00::2 count 1"} {
		if out, err := command(t, a, line); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	set(t, a, handedOut()) // the same again is no event
	if n := strings.Count(log.String(), "is set up as"); n != 1 {
		t.Errorf("%d lines tell of one network:\n%s", n, log)
	}
	set(t, a, nil)
	if got := a.host.Addrs(); len(got) != 2 || got[0].String() != "10.0.0.9/24" {
		t.Errorf("the addresses are %v", got)
	}
}

// TestNetworkFaults asks for what cannot be done: the rest is, and goes again.
func TestNetworkFaults(t *testing.T) {
	a, _ := pairAfter(t, "", lineB, guide(t))
	log := logged(a)
	n := handedOut()
	n.MTU = 1000
	n.Routes[0].To = netip.MustParsePrefix("192.0.2.1/24")
	err := a.port.SetNetwork(n)
	for _, want := range []string{"mtu of 1000: it takes one from 1280", "route to 192.0.2.1/24"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	if out, err := command(t, a, "ping 10.0.0.2 count 1"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := a.port.SetNetwork(&ethernet.Network{Addr4: netip.MustParsePrefix("127.0.0.1/8")}); err == nil || !strings.Contains(err.Error(), "127.0.0.1/8") {
		t.Errorf("the loopback: %v", err)
	}
	set(t, a, nil)
	if got := a.host.Addrs(); len(got) != 1 {
		t.Errorf("the addresses are %v", got)
	}
	set(t, a, &ethernet.Network{MTU: 1501})
	if !strings.Contains(log.String(), `aside="mtu 1501"`) {
		t.Errorf("the log says:\n%s", log)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	set(t, a, handedOut()) // as a link may that ends later
	set(t, a, nil)
}

// TestCommandsOfGuidedHost are checked by what a link may bring, and wait for it.
func TestCommandsOfGuidedHost(t *testing.T) {
	a := build(t, "tme/ic/am7990", "le0", "")
	set(t, a, nil)
	for _, line := range []string{"ping 10.0.0.1", "ping fd00::1", "ping www.example", "get http://www.example/", "arp"} {
		if _, err := a.Prepare(words(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if _, err := a.Prepare(words("ping 127.0.0.1")); err == nil || !strings.Contains(err.Error(), "no address of a station") {
		t.Errorf("%v", err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, a, &ethernet.Network{Routes: handedOut().Routes}) // which brings no address
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	run, err := a.Prepare(words("ping 10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := run(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	a.network.patience = time.Millisecond
	for _, line := range []string{"ping 10.0.0.1", "get http://10.0.0.1/"} {
		if _, err := command(t, a, line); err == nil || !strings.Contains(err.Error(), "le0 has no address: its link's peer has handed out none within 1ms") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestUnaddressedHosts tells apart interfaces of one file on one computer.
func TestUnaddressedHosts(t *testing.T) {
	a, b := build(t, "tme/ic/am7990", "le0", ""), build(t, "tme/ic/am7990", "le1", "")
	if a.host.HardwareAddr() == b.host.HardwareAddr() {
		t.Errorf("both have the hardware address %s", a.host.HardwareAddr())
	}
	if got, without := (element.Env{Machine: "m", Name: "le0"}).HardwareAddr(nil), (element.Env{Machine: "m", Name: "le0"}).HardwareAddr(handedOut().Addrs()); got == without || got != a.host.HardwareAddr() {
		t.Errorf("made up: %s and %s", got, without)
	}
}
