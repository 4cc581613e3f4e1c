package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tmelink/internal/tmesh"
	"tmelink/internal/transport"
)

func anyAddr(netip.Addr) bool { return true }

// wayTo is a way by UDP.
func wayTo(host string, port uint16) way {
	return way{host: tmesh.Word{Text: host}, port: port, proto: protocols["udp"]}
}

// fakeNames resolves from a map, which a test may change.
func fakeNames(names map[string][]string) resolver {
	return func(_ context.Context, host string, _ transport.Family) ([]netip.Addr, error) {
		var addrs []netip.Addr
		for _, a := range names[host] {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		if addrs == nil {
			return nil, errors.New("no such host")
		}
		return addrs, nil
	}
}

func TestTourGoesThroughAddressesThenRemotes(t *testing.T) {
	names := map[string][]string{"a": {"10.0.0.1", "10.0.0.2"}, "c": {"10.0.0.3"}}
	tour := newTour([]way{wayTo("a", 1), wayTo("b", 2), wayTo("c", 3)})
	step := func(want string, attempts int) {
		t.Helper()
		addrs, err := tour.step(context.Background(), fakeNames(names), anyAddr)
		got := fmt.Sprint(err)
		if err == nil {
			got = addrs[0].String()
		}
		if got != want || tour.attempts != attempts {
			t.Fatalf("%s, %d attempts; want %s, %d", got, tour.attempts, want, attempts)
		}
	}
	step("10.0.0.1:1", 1)
	step("10.0.0.2:1", 1)
	step("--remote: no such host", 2)
	step("10.0.0.3:3", 3)
	step("10.0.0.1:1", 4)
	step("10.0.0.2:1", 4)
	tour.arrived(netip.AddrPort{})
	step("10.0.0.2:1", 0) // again, since the peer was there
	tour.arrived(netip.AddrPort{})
	names["a"] = []string{"10.0.0.9", "10.0.0.2"}
	step("10.0.0.2:1", 0) // wherever it stands now
	tour.arrived(netip.AddrPort{})
	names["a"] = []string{"10.0.0.8"}
	step("10.0.0.8:1", 0) // the name has moved
	tour.arrived(netip.AddrPort{})
	delete(names, "a")
	step("--remote: no such host", 0)
	step("--remote: no such host", 1) // b
	step("10.0.0.3:3", 2)
}

func TestTourGivesAllAddressesOfTheRemote(t *testing.T) {
	names := fakeNames(map[string][]string{"a": {"10.0.0.1", "::1", "10.0.0.2"}})
	tour := newTour([]way{wayTo("a", 7)})
	tour.step(context.Background(), names, netip.Addr.Is4)
	got, err := tour.step(context.Background(), names, netip.Addr.Is4)
	want := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:7"), netip.MustParseAddrPort("10.0.0.1:7")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := tour.step(context.Background(), names, func(netip.Addr) bool { return false }); err == nil {
		t.Error("no error where no address is of use")
	}
}

func TestTourIsExhausted(t *testing.T) {
	names := fakeNames(map[string][]string{"a": {"10.0.0.1"}, "b": {"10.0.0.2"}})
	tour := newTour([]way{wayTo("a", 1), wayTo("b", 1)})
	steps := 0
	for ; !tour.exhausted(3); steps++ {
		tour.step(context.Background(), names, anyAddr)
	}
	if steps != 6 {
		t.Errorf("%d steps, want 3 at each of 2 remotes", steps)
	}
	if tour.exhausted(0) {
		t.Error("0 is no end")
	}
	if tour.arrived(netip.AddrPort{}); tour.exhausted(3) {
		t.Error("exhausted although the peer was there")
	}
	if got := tour.pause(time.Second, time.Minute); got != time.Second {
		t.Errorf("pause %v", got)
	}
}
