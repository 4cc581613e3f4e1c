package hostnet

import (
	"os"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// wire carries frames between two TAP devices until the test ends.
func wire(t *testing.T, a, b *TAP) {
	for _, way := range [][2]*os.File{{a.Files[0], b.Files[0]}, {b.Files[0], a.Files[0]}} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, ethernet.MaxFrameLen)
			for {
				n, err := way[0].Read(buf)
				if err != nil {
					return
				}
				way[1].Write(buf[:n])
			}
		}()
		t.Cleanup(func() {
			way[0].SetDeadline(time.Unix(1, 0))
			<-done
		})
	}
}

// configured opens a TAP device that is up with an address.
func configured(t *testing.T, n *Namespace, name, prefix string) (*TAP, *Changes) {
	t.Helper()
	tap := openTAP(t, n, name)
	c := n.Change(tap)
	if err := c.AddAddress(prefixes(prefix)[0], prefixes(prefix)[0].Addr()); err != nil {
		t.Fatal(err)
	}
	if err := c.SetUp(); err != nil {
		t.Fatal(err)
	}
	return tap, c
}

func pings(h *nstest.Host, addr string) bool {
	_, err := h.Try("ping", "-n", "-c", "1", "-W", "1", addr)
	return err == nil
}

// TestForwardingIsForTwoInterfaces lets a station behind a TAP device out by
// IPv6, and nobody else, on kernels with and without a switch for each interface.
func TestForwardingIsForTwoInterfaces(t *testing.T) {
	nstest.InNamespace(t)
	nstest.NeedPrograms(t, "ping")
	for _, kernel := range []string{"force_forwarding", "no_such_switch"} {
		t.Run(kernel, func(t *testing.T) {
			far := uplinkCable(t)
			setForwardOne6(t, kernel)
			n := openHere(t)
			far.IP("addr", "add", "2001:db8:2::2/64", "dev", "e0", "nodad")
			far.IP("-6", "route", "add", "default", "via", "2001:db8:2::1")
			run(t, "ip", "addr", "add", "2001:db8:2::1/64", "dev", "up0", "nodad")
			third := nstest.New(t, "third")
			run(t, "ip", "link", "add", "lan0", "type", "veth", "peer", "name", "e0", "netns", third.Name)
			t.Cleanup(func() { run(t, "ip", "link", "del", "lan0") })
			run(t, "ip", "addr", "add", "2001:db8:3::1/64", "dev", "lan0", "nodad")
			run(t, "ip", "link", "set", "lan0", "up")
			third.IP("addr", "add", "2001:db8:3::2/64", "dev", "e0", "nodad")
			third.IP("link", "set", "e0", "up")
			third.IP("-6", "route", "add", "default", "via", "2001:db8:3::1")
			before := switchesNow(t)

			station := nstest.New(t, "station")
			there, err := OpenNamespace(station.Name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { there.Close() })
			tap, c := configured(t, n, "tapa", "fd00:1::1/64")
			inner, _ := configured(t, there, "le0", "fd00:1::2/64")
			station.IP("-6", "route", "add", "default", "via", "fd00:1::1")
			wire(t, tap, inner)
			if _, err := c.Masquerade(t.Context(), NAT{Networks: prefixes("fd00:1::1/64"), Uplink: "up0"}, quiet); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Undo() })
			if !nstest.Eventually(20*time.Second, func() bool { return pings(station, "2001:db8:2::2") }) {
				t.Error("the station does not get out")
			}
			if !nstest.Eventually(20*time.Second, func() bool { return pings(third, "2001:db8:3::1") }) {
				t.Error("the third host does not reach this one: the test shows nothing")
			}
			if pings(third, "2001:db8:2::2") {
				t.Error("the third host gets out by the uplink as well")
			}
			if kernel == "no_such_switch" {
				if rules := run(t, "nft", "list", "table", "inet", guardTable); !strings.Contains(rules, `"tapa"`) {
					t.Errorf("the guard does not name the tap device:\n%s", rules)
				}
			}
			undo(t, c)
			sameSwitches(t, before)
		})
	}
}
