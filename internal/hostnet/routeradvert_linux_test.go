package hostnet

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"

	"tmelink/internal/nstest"
)

// advertise sends a router advertisement (RFC 4861, 4.2) from a host's
// interface: the default route goes by it for half an hour.
func advertise(t *testing.T, h *nstest.Host, iface string) {
	t.Helper()
	n, err := OpenNamespace(h.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	err = n.Do(func() error {
		i, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		conn, err := icmp.ListenPacket("ip6:ipv6-icmp", "::%"+iface)
		if err != nil {
			return err
		}
		defer conn.Close()
		p := conn.IPv6PacketConn()
		if err := p.SetMulticastHopLimit(255); err != nil {
			return err
		}
		if err := p.SetMulticastInterface(i); err != nil {
			return err
		}
		body := []byte{64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0} // hop limit, flags, 1800 s
		m, err := (&icmp.Message{Type: ipv6.ICMPTypeRouterAdvertisement, Body: &icmp.RawBody{Data: body}}).Marshal(nil)
		if err != nil {
			return err
		}
		_, err = conn.WriteTo(m, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: iface})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAdvertisedRouteStays forwards IPv6 by an uplink whose default route was
// learnt from router advertisements, on kernels with and without a switch for
// each interface. The kernel drops such routes when an interface becomes a
// router's.
func TestAdvertisedRouteStays(t *testing.T) {
	nstest.InNamespace(t)
	for _, kernel := range []string{"force_forwarding", "no_such_switch"} {
		t.Run(kernel, func(t *testing.T) {
			far := uplinkCable(t)
			run(t, "ip", "link", "add", "routed", "type", "veth", "peer", "name", "routed-far")
			t.Cleanup(func() { run(t, "ip", "link", "del", "routed") })
			setForwardOne6(t, kernel)
			n := openHere(t)
			// An interface that is a router's already must be so afterwards.
			if err := n.writeSwitch("ipv6/conf/routed/forwarding", "1"); err != nil {
				t.Fatal(err)
			}
			learnt := func() bool {
				return strings.Contains(run(t, "ip", "-6", "route", "show", "default"), "dev up0 proto ra")
			}
			if !nstest.Eventually(20*time.Second, func() bool {
				if strings.Contains(far.IP("-6", "addr", "show", "dev", "e0"), "tentative") {
					return false
				}
				advertise(t, far, "e0")
				return learnt()
			}) {
				t.Fatal("no route was learnt")
			}
			before := switchesNow(t)
			c := n.Change(openTAP(t, n, "tapa"))
			done, err := c.Masquerade(t.Context(), NAT{Networks: prefixes("fd00:1::1/64")}, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if done[0].Uplink != "up0" {
				t.Errorf("the uplink is %q", done[0].Uplink)
			}
			if !learnt() {
				t.Error("forwarding cost the default route")
			}
			// The uplink must go on to listen.
			run(t, "ip", "-6", "route", "flush", "proto", "ra")
			if !nstest.Eventually(10*time.Second, func() bool { advertise(t, far, "e0"); return learnt() }) {
				t.Error("the uplink does not learn routes any more")
			}
			undo(t, c)
			if !learnt() {
				t.Error("the undo cost the default route")
			}
			sameSwitches(t, before)
		})
	}
}
