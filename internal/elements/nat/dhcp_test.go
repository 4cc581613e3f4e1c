package nat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

var (
	client  = ethernet.Addr{8, 0, 0x20, 1, 2, 3}
	nobody  = netip.AddrFrom4([4]byte{})
	anybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// ask makes a client's message. options are codes with their values.
func ask(host ethernet.Addr, uses string, options ...[]byte) []byte {
	b := make([]byte, bootpHeaderLen)
	b[0], b[1], b[2] = bootRequest, hardwareType, 6
	copy(b[4:], "xid!")
	if uses != "" {
		copy(b[12:16], netip.MustParseAddr(uses).AsSlice())
	}
	copy(b[28:], host[:])
	if options == nil {
		return append(b, make([]byte, 64)...) // a BOOTP without any, as RFC 951 has it
	}
	b = append(b, magicCookie[:]...)
	for _, o := range options {
		b = append(append(b, o[0], byte(len(o)-1)), o[1:]...)
	}
	return append(b, optEnd)
}

func kind(k messageType) []byte { return []byte{optMessageType, byte(k)} }

func ip(code byte, addr string) []byte {
	return append([]byte{code}, netip.MustParseAddr(addr).AsSlice()...)
}

// answer is what the gateway sends back.
type answer struct {
	dst     ethernet.Addr
	to      netip.Addr
	yours   netip.Addr
	server  netip.Addr // siaddr
	file    string
	options map[byte][]byte
}

// exchange sends a client's message in a frame and reads what comes of it, as the
// next frame that the gateway sends; ok is false if that is not an answer to it.
func exchange(t *testing.T, n *NAT, message []byte) (answer, bool) {
	t.Helper()
	f := ethernet.Frame{Data: udpFrame(ethernet.Broadcast, client, netip.AddrPortFrom(nobody, dhcpClientPort), netip.AddrPortFrom(anybody, dhcpServerPort), message)}
	// Behind it a request to be answered by ARP, which shows that nothing came.
	arp := ethernet.Frame{Data: arpRequest(client, gateway4)}
	port := n.host.Port()
	if err := port.WriteFrames([]ethernet.Frame{f, arp}); err != nil {
		t.Fatal(err)
	}
	for {
		frames, err := port.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		var got *answer
		for _, f := range frames {
			if binary.BigEndian.Uint16(f.Data[12:]) == ethernet.TypeARP {
				if got == nil {
					return answer{}, false
				}
				return *got, true
			}
			if payload, ok := udpPayload(&f, dhcpClientPort); ok {
				a := read(t, payload)
				a.dst, a.to = ethernet.Dst(f.Data), netip.AddrFrom4([4]byte(f.Data[30:]))
				got = &a
			}
		}
	}
}

func arpRequest(from ethernet.Addr, to string) []byte {
	f := append(append(ethernet.Broadcast[:], from[:]...), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	f = append(append(f, from[:]...), 10, 0, 77, 99)
	return append(append(f, 0, 0, 0, 0, 0, 0), netip.MustParseAddr(to).AsSlice()...)
}

func read(t *testing.T, b []byte) answer {
	t.Helper()
	if len(b) < bootpMinLen || b[0] != bootReply || string(b[4:8]) != "xid!" || [4]byte(b[236:]) != magicCookie {
		t.Fatalf("not an answer: %x", b)
	}
	a := answer{yours: netip.AddrFrom4([4]byte(b[16:])), server: netip.AddrFrom4([4]byte(b[20:])), options: map[byte][]byte{}}
	a.file, _, _ = strings.Cut(string(b[108:236]), "\x00")
	for o := b[240:]; o[0] != optEnd; o = o[2+o[1]:] {
		a.options[o[0]] = bytes.Clone(o[2 : 2+o[1]])
	}
	return a
}

func serving(t *testing.T, words string) *NAT {
	t.Helper()
	n, _ := build(t, "inet 10.0.77.1/24 "+words)
	start(t, n)
	t.Cleanup(func() { n.Close() })
	return n
}

// A client asks as Linux's and BSD's do: discover, request, and later a renewal.
func TestDHCP(t *testing.T) {
	n := serving(t, "dhcp 10.0.77.10-10.0.77.20 domain lab.example mtu 1400 next-server 10.0.77.5 boot-file vmunix")
	got, ok := exchange(t, n, ask(client, "", kind(discover), append([]byte{optHostName}, "sun"...)))
	if !ok {
		t.Fatal("no offer")
	}
	if got.dst != client || got.to.String() != "10.0.77.10" || got.yours != got.to || got.server.String() != "10.0.77.5" || got.file != "vmunix" {
		t.Errorf("offer: %+v", got)
	}
	want := map[byte]string{
		optMessageType: "02", optServerID: "0a004d01", optSubnetMask: "ffffff00", optRouter: "0a004d01", optDNS: "0a004d01",
		optDomain: fmt.Sprintf("%x", "lab.example"), optMTU: "0578", optLeaseTime: "0000a8c0", optRenewal: "00005460", optRebinding: "000093a8",
		optHostName: fmt.Sprintf("%x", "sun"), optTFTPServer: fmt.Sprintf("%x", "10.0.77.5"), optBootFile: fmt.Sprintf("%x", "vmunix"),
	}
	for code, value := range want {
		if fmt.Sprintf("%x", got.options[code]) != value {
			t.Errorf("option %d: %x, want %s", code, got.options[code], value)
		}
	}
	if len(got.options) != len(want) {
		t.Errorf("options %v", got.options)
	}
	got, ok = exchange(t, n, ask(client, "", kind(request), ip(optRequestedIP, "10.0.77.10"), ip(optServerID, gateway4)))
	if !ok || got.yours.String() != "10.0.77.10" || got.options[optMessageType][0] != byte(ack) {
		t.Errorf("request: %+v, %v", got, ok)
	}
	got, ok = exchange(t, n, ask(client, "10.0.77.10", kind(request)))
	if !ok || got.yours.String() != "10.0.77.10" || got.options[optMessageType][0] != byte(ack) || got.to.String() != "10.0.77.10" {
		t.Errorf("renewal: %+v, %v", got, ok)
	}
	got, ok = exchange(t, n, ask(client, "10.0.77.99", kind(inform)))
	if !ok || got.yours != nobody || got.options[optLeaseTime] != nil || len(got.options[optDNS]) != 4 {
		t.Errorf("inform: %+v, %v", got, ok)
	}
	if status := n.Status(); !strings.Contains(status, "leases 1") {
		t.Errorf("status %q", status)
	}
}

func TestDHCPSaysNo(t *testing.T) {
	n := serving(t, "dhcp 10.0.77.10-10.0.77.20")
	got, ok := exchange(t, n, ask(client, "", kind(request), ip(optRequestedIP, "192.168.1.7")))
	if !ok || got.options[optMessageType][0] != byte(nak) || got.yours != nobody || got.dst != ethernet.Broadcast {
		t.Errorf("an address of another network: %+v, %v", got, ok)
	}
	for name, message := range map[string][]byte{
		"for another server": ask(client, "", kind(request), ip(optServerID, "10.0.77.9")),
		"a release":          ask(client, "10.0.77.10", kind(release)),
		"an answer":          append([]byte{bootReply}, ask(client, "", kind(discover))[1:]...),
		"a broken option":    append(ask(client, "", kind(discover))[:240], optHostName, 200, 'x'),
		"a short one":        ask(client, "")[:bootpHeaderLen-1],
		"a group's":          ask(ethernet.Broadcast, "", kind(discover)),
		"of the gateway":     ask(n.config.hwaddr, "", kind(discover)),
	} {
		if got, ok := exchange(t, n, message); ok {
			t.Errorf("%s was answered: %+v", name, got)
		}
	}
}

func TestBOOTP(t *testing.T) {
	n := serving(t, "lease 08:00:20:01:02:03=10.0.77.5 boot-file vmunix")
	for name, message := range map[string][]byte{
		"without options": ask(client, ""),
		"with options":    ask(client, "", append([]byte{optHostName}, "sun"...)),
	} {
		got, ok := exchange(t, n, message)
		if !ok || got.yours.String() != "10.0.77.5" || got.server.String() != gateway4 || got.file != "vmunix" || got.options[optMessageType] != nil || got.options[optSubnetMask] == nil {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	if got, ok := exchange(t, n, ask(ethernet.Addr{8, 0, 0x20, 9, 9, 9}, "")); ok {
		t.Errorf("a stranger without a range: %+v", got)
	}
}

func host(i int) ethernet.Addr { return ethernet.Addr{2, 0, 0, 0, byte(i >> 8), byte(i)} }

func TestPool(t *testing.T) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 77, byte(i)}) }
	p := newPool(addr(10), addr(13), map[netip.Addr]bool{addr(11): true})
	var none netip.Addr
	lease := func(i int, wanted netip.Addr, now, until time.Duration) string {
		a, ok := p.lease(host(i), wanted, now, until)
		if !ok {
			return "none"
		}
		return a.String()
	}
	var got []string
	got = append(got,
		lease(1, none, 0, 10),
		lease(2, addr(11), 0, 10), // it is taken otherwise
		lease(3, addr(13), 0, 20),
		lease(4, none, 5, 30),     // nothing is free
		lease(1, addr(12), 5, 15), // its own again
		lease(4, none, 16, 30),    // the one that was free first
		lease(2, none, 16, 30),    // no more: it is another's now
		lease(3, none, 16, 40))
	p.release(host(4), addr(12), 20)
	got = append(got, lease(4, none, 20, 30)) // free, and still its own
	p.spoil(host(4), addr(12), 20)
	got = append(got, lease(4, none, 30, 31))
	want := []string{"10.0.77.10", "10.0.77.12", "10.0.77.13", "none", "10.0.77.10", "10.0.77.12", "10.0.77.10", "10.0.77.13", "10.0.77.12", "10.0.77.10"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestPoolIsExhausted(t *testing.T) {
	n, log := build(t, "inet 10.0.77.1/24 dhcp 10.0.77.10-10.0.77.12")
	for i := range 5 {
		_, a := n.answerDHCP(bootp{kind: discover, client: nobody, hwaddr: host(i)}, time.Second)
		if a.IsValid() != (i < 3) {
			t.Errorf("guest %d is offered %v", i, a)
		}
	}
	if strings.Count(log.String(), "give it a longer range") != 1 || n.dropped.Load() != 2 {
		t.Errorf("%d dropped; the log says\n%s", n.dropped.Load(), log)
	}
	if _, a := n.answerDHCP(bootp{kind: discover, client: nobody, hwaddr: host(9)}, time.Second+2*offerTime); !a.IsValid() {
		t.Error("what was only offered is not free again")
	}
}

func FuzzDHCP(f *testing.F) {
	f.Add(ask(client, "", kind(discover), append([]byte{optHostName}, "sun"...)))
	f.Add(ask(client, "10.0.77.10", kind(request), ip(optRequestedIP, "10.0.77.10"), ip(optServerID, gateway4)))
	f.Add(ask(client, "10.0.77.10", kind(release)))
	f.Add(ask(client, "", kind(decline), ip(optRequestedIP, "10.0.77.10")))
	f.Add(ask(client, ""))
	n, _ := build(f, "inet 10.0.77.1/24 dhcp 10.0.77.10-10.0.77.20 boot-file x lease 08:00:20:01:02:04=10.0.77.5")
	now := time.Duration(0)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseBOOTP(b)
		if err != nil {
			return
		}
		now += time.Minute
		r, a := n.answerDHCP(m, now)
		if r == nil {
			return
		}
		got := r.bytes()
		if len(got) < bootpMinLen || len(got) > 1200 || [6]byte(got[28:34]) != m.hwaddr {
			t.Errorf("%d bytes: %x", len(got), got)
		}
		if a.IsValid() && !n.config.net4.Contains(a) {
			t.Errorf("gave %s", a)
		}
	})
}
