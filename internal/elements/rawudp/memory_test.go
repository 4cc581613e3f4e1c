//go:build !race

package rawudp

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// Under the race detector more is allocated.
func TestHubDoesNotAllocate(t *testing.T) {
	clean(t)
	stations := []*net.UDPConn{}
	var named []netip.AddrPort
	for range 3 {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		stations = append(stations, c)
		named = append(named, c.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	e, err := newElement("hub --local "+hubAt, &nstest.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	h := e.(*Hub)
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Its socket alone: what a switch allocates is tested there.
	w := *h.wire
	h.Close()
	if w.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	defer w.conn.Close()
	w.peers = newPeers(named, false, time.Hour)
	w.in.conn, w.relay.conn, w.out.conn = w.conn, w.conn, w.conn
	to, batch := w.conn.LocalAddr().(*net.UDPAddr).AddrPort(), []ethernet.Frame{{Data: frame(1, 60)}, {Data: frame(1, 1514)}}
	if n := testing.AllocsPerRun(500, func() {
		stations[0].WriteToUDPAddrPort(batch[0].Data, to)
		if _, err := w.ReadFrames(); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteFrames(batch); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("%v allocations for three frames", n)
	}
}
