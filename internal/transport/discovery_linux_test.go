package transport

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestDiscoveryIsSet(t *testing.T) {
	for d, want := range map[Discovery]int{
		DiscoverByDefault: unix.IP_PMTUDISC_WANT, DiscoverNo: unix.IP_PMTUDISC_DONT, DiscoverMaybe: unix.IP_PMTUDISC_WANT, DiscoverYes: unix.IP_PMTUDISC_DO,
	} {
		for _, local := range []netip.AddrPort{loopback, loopback6, netip.MustParseAddrPort("[::]:0")} {
			u, _, _ := openUDP(t, UDPConfig{Local: local, Socket: Socket{Discovery: d}})
			control(t, u.conn, func(fd int) {
				got, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER)
				if err != nil || got != want {
					t.Errorf("%d at %v: IP_MTU_DISCOVER is %d, want %d; %v", d, local, got, want, err)
				}
				if local == loopback {
					return
				}
				if got, err = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER); err != nil || got != want {
					t.Errorf("%d at %v: IPV6_MTU_DISCOVER is %d, want %d; %v", d, local, got, want, err)
				}
			})
		}
	}
}

// told is a call of TooLong.
type told struct{ packet, mtu int }

// TestPacketsThatAreTooLongForThePath: with DiscoverYes they are not sent, counted for
// what they are, and told of once for each MTU of the path; what fits arrives. With the
// others all arrive.
func TestPacketsThatAreTooLongForThePath(t *testing.T) {
	ownNamespace(t)
	run(t, "ip link set lo mtu 1280")
	for _, local := range []netip.AddrPort{loopback, loopback6} {
		for _, d := range []Discovery{DiscoverNo, DiscoverMaybe, DiscoverYes} {
			for _, unjoined := range []bool{false, true} {
				sendTooLong(t, local, d, unjoined)
			}
		}
	}
}

func sendTooLong(t *testing.T, local netip.AddrPort, d Discovery, unjoined bool) {
	t.Helper()
	what := fmt.Sprintf("discovery %d at %v, unjoined %v", d, local, unjoined)
	peer := plain(t, local.String())
	var calls []told
	u, counters, l := openUDP(t, UDPConfig{
		Local: local, Remotes: []netip.AddrPort{portOf(peer)}, Plain: unjoined, Socket: Socket{Discovery: d},
		TooLong: func(packet, mtu int) { calls = append(calls, told{packet, mtu}) },
	})
	packets := packetsOf(join(same(3, 1300), same(2, 500), same(2, 1400)), true)
	for range 2 {
		if err := u.WritePackets(packets); err != nil {
			t.Fatal(err)
		}
	}
	arrive, dropped := 2*len(packets), uint64(0)
	if d == DiscoverYes {
		arrive, dropped = 2*2, 2*5
		if want := (told{1400 + u.Overhead(), 1280}); len(calls) != 1 || calls[0] != want {
			t.Errorf("%s: told of %v, want %v", what, calls, want)
		}
		if u.PathMTU() != 1280 || !l.has("longer ones are not sent") {
			t.Errorf("%s: the path's MTU is %d: %s", what, u.PathMTU(), l.b.String())
		}
	} else if len(calls) != 0 {
		t.Errorf("%s: told of %v", what, calls)
	}
	if n := counters.Write.Count(ethernet.TooLong); n != dropped || counters.Write.Total() != n {
		t.Errorf("%s: %d too long ones counted of %d dropped, want %d", what, n, counters.Write.Total(), dropped)
	}
	for _, p := range takePlain(t, peer, arrive) {
		if d == DiscoverYes && len(p) != 500 {
			t.Errorf("%s: a packet of %d bytes has come", what, len(p))
		}
	}
}

// TestPathGetsShorterForDiscoverYes: each new MTU is told of, be it this host's own or
// a router's word.
func TestPathGetsShorterForDiscoverYes(t *testing.T) {
	ownNamespace(t)
	run(t, "ip link set lo mtu 1400")
	peer := plain(t, "127.0.0.1:0")
	var calls []told
	u, _, _ := openUDP(t, UDPConfig{
		Remotes: []netip.AddrPort{portOf(peer)}, Socket: Socket{Discovery: DiscoverYes},
		TooLong: func(packet, mtu int) { calls = append(calls, told{packet, mtu}) },
	})
	write := func() { u.WritePackets(packetsOf([]int{1500}, true)) }
	write()
	run(t, "ip link set lo mtu 600")
	if !nstest.Eventually(10*time.Second, func() bool { write(); return u.PathMTU() == 600 }) {
		t.Fatalf("the path's MTU is %d, want 600", u.PathMTU())
	}
	write()
	if want := []told{{1528, 1400}, {1528, 600}}; fmt.Sprint(calls) != fmt.Sprint(want) {
		t.Errorf("told of %v, want %v", calls, want)
	}
}
