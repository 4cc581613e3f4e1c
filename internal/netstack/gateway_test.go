package netstack

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"

	"tmelink/internal/ethernet"
)

// gatewayHost is a forwarding host that takes nothing.
func gatewayHost(t *testing.T, f Forwarding) *Host {
	t.Helper()
	if f.Frame == nil {
		f.Frame = func(*ethernet.Frame) bool { return false }
	}
	f.Attempts = 10
	return host(t, 1, Config{Forwarding: &f}, netA4, netA6)
}

// solicit makes a neighbour solicitation for an address, to the gateway's own
// hardware address.
func solicit(src, dst ethernet.Addr, from, target netip.Addr) []byte {
	m := append(append(append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...), 1, 1), src[:]...)
	to := netip.MustParseAddr("fd00::1")
	f := append(append(dst[:], src[:]...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(m)), 58, 255)
	f = append(append(append(f, from.AsSlice()...), to.AsSlice()...), m...)
	mend(f)
	return f
}

// A gateway takes what is for any address, and yet says only of its own ones that
// it has them: else nobody could reach his neighbour.
func TestGatewayHasOnlyItsAddresses(t *testing.T) {
	h := gatewayHost(t, Forwarding{})
	asks := ethernet.Addr{2, 9, 9, 9, 9, 9}
	own := h.HardwareAddr()
	from6 := netip.MustParseAddr("fd00::9")
	others := []ethernet.Frame{
		{Data: arpRequest(asks, ethernet.Broadcast, "10.0.0.9", "10.0.0.77")},
		{Data: arpRequest(asks, own, "10.0.0.9", "192.0.2.1")},
		{Data: solicit(asks, own, from6, netip.MustParseAddr("fd00::77"))},
		{Data: solicit(asks, own, from6, netip.MustParseAddr("2001:db8::1"))},
	}
	if err := h.Port().WriteFrames(others); err != nil {
		t.Fatal(err)
	}
	if n := h.port.counters.Write.Count(ethernet.FilteredOut); n != uint64(len(others)) {
		t.Errorf("%d questions for others' addresses were kept from the stack, want %d", n, len(others))
	}
	if err := h.Port().WriteFrames([]ethernet.Frame{
		{Data: arpRequest(asks, ethernet.Broadcast, "10.0.0.9", "10.0.0.1")},
		{Data: solicit(asks, own, from6, netip.MustParseAddr("fd00::1"))},
	}); err != nil {
		t.Fatal(err)
	}
	arp, advert := 0, 0
	for arp == 0 || advert == 0 {
		frames, err := h.Port().ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			switch binary.BigEndian.Uint16(f.Data[12:]) {
			case ethernet.TypeARP:
				if a := netip.AddrFrom4([4]byte(f.Data[28:])); f.Data[21] == 2 && a.String() != "10.0.0.1" {
					t.Errorf("an ARP reply says that the gateway has %s", a)
				}
				arp++
			case ethernet.TypeIPv6:
				if len(f.Data) >= 78 && f.Data[54] == 136 {
					if a := netip.AddrFrom16([16]byte(f.Data[62:])); a.String() != "fd00::1" {
						t.Errorf("an advertisement says that the gateway has %s", a)
					}
					advert++
				}
			}
		}
	}
}

// A gateway is shown each frame first, and takes datagrams to anywhere, whose
// checksum it verifies.
func TestGatewayTakesAll(t *testing.T) {
	var shown, echoes atomic.Int64
	got := make(chan Datagram, 10)
	h := gatewayHost(t, Forwarding{
		Frame: func(f *ethernet.Frame) bool {
			shown.Add(1)
			return binary.BigEndian.Uint16(f.Data[12:]) == ethernet.TypeRARP
		},
		Datagram: func(d Datagram) bool {
			d.Payload = append([]byte(nil), d.Payload...)
			got <- d
			return true
		},
		Echo: func(r EchoRequest) bool {
			if r.To.String() == "192.0.2.1" && r.Ident == 5 && r.Seq == 6 && string(r.Payload) == "ping" {
				echoes.Add(1)
			}
			return true
		},
	})
	own, asks := h.HardwareAddr(), ethernet.Addr{2, 9, 9, 9, 9, 9}
	packet := func(proto byte, payload []byte, df bool) ethernet.Frame {
		f := append(append(own[:], asks[:]...), 8, 0, 0x45, 0, 0, byte(20+len(payload)), 0, 1, 0, 0, 64, proto, 0, 0, 10, 0, 0, 9, 192, 0, 2, 1)
		if df {
			f[20] = 0x40
		}
		f = append(f, payload...)
		mend(f)
		return ethernet.Frame{Data: f}
	}
	udp := append([]byte{0, 9, 0, 7, 0, 12, 0, 0}, "data"...)
	broken := packet(17, udp, false)
	broken.Data[len(broken.Data)-1] ^= 1
	rarp := ethernet.Frame{Data: append(append(ethernet.Broadcast[:], asks[:]...), 0x80, 0x35, 0, 1)}
	frames := []ethernet.Frame{rarp, broken, packet(17, udp, false), packet(17, udp, true), packet(1, append([]byte{8, 0, 0, 0, 0, 5, 0, 6}, "ping"...), false)}
	if err := h.Port().WriteFrames(frames); err != nil {
		t.Fatal(err)
	}
	if shown.Load() != int64(len(frames)) || echoes.Load() != 1 || len(got) != 2 {
		t.Fatalf("%d frames shown of %d, %d echo requests, %d datagrams", shown.Load(), len(frames), echoes.Load(), len(got))
	}
	for _, whole := range []bool{false, true} {
		d := <-got
		if d.From.String() != "10.0.0.9:9" || d.To.String() != "192.0.2.1:7" || string(d.Payload) != "data" || d.DontFragment != whole {
			t.Errorf("%+v, want DF %v", d, whole)
		}
	}
}

// A gateway asks for its stations' hardware addresses in its own name, whoever the
// packets are from.
func TestGatewayAsksInItsOwnName(t *testing.T) {
	h := gatewayHost(t, Forwarding{})
	for _, ends := range [][2]string{{"192.0.2.1", "10.0.0.9"}, {"2001:db8::1", "fd00::9"}} {
		p, err := h.OpenPath(netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1]))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.SendUDP(7, 9, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	arp, solicitation := false, false
	for !arp || !solicitation {
		frames, err := h.Port().ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			switch kind := binary.BigEndian.Uint16(f.Data[12:]); {
			case kind == ethernet.TypeARP:
				arp = true
				if a := netip.AddrFrom4([4]byte(f.Data[28:])); a.String() != "10.0.0.1" {
					t.Errorf("an ARP request comes from %s", a)
				}
			case kind == ethernet.TypeIPv6 && len(f.Data) >= 78 && f.Data[54] == 135:
				solicitation = true
				ip := f.Data[14:]
				if a := netip.AddrFrom16([16]byte(ip[8:])); !a.IsLinkLocalUnicast() {
					t.Errorf("a neighbour solicitation comes from %s", a)
				}
				if ethernet.InternetSum(ip[40:], ethernet.PseudoSum(ip[8:24], ip[24:40], 58, len(ip)-40)) != 0xffff {
					t.Error("a neighbour solicitation has a wrong checksum")
				}
			}
		}
	}
}
