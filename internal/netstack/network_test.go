package netstack

import (
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"tmelink/internal/ethernet"
)

var (
	far4, far6 = netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")
	via4, via6 = addrPort(netB4, 0).Addr(), addrPort(netB6, 0).Addr()
)

// bare is a host without an address at one end of a wire, and b with addresses
// in further networks at the other.
func bare(t *testing.T, w *wire) (a, b *Host) {
	t.Helper()
	return join(t, w, Config{}, nil, []string{netB4, netB6, far4.String(), far6.String()})
}

func handedOut() *ethernet.Network {
	return &ethernet.Network{
		Addr4: netip.MustParsePrefix(netA4), Addr6: netip.MustParsePrefix(netA6),
		Routes: []ethernet.Route{{To: far4.Masked(), Via: via4}, {To: far6.Masked(), Via: via6}},
	}
}

func set(t *testing.T, h *Host, n *ethernet.Network) {
	t.Helper()
	if err := h.SetNetwork(n); err != nil {
		t.Errorf("set up with %+v: %v", n, err)
	}
}

func reached(t *testing.T, h *Host, to netip.Addr) {
	t.Helper()
	if got := ping(t, h, to, 56); got.Err != nil || got.From != to {
		t.Errorf("ping %s: %+v", to, got)
	}
}

func noWay(t *testing.T, h *Host, to netip.Addr) {
	t.Helper()
	if _, err := h.OpenEcho(to); err != ErrNetUnreachable {
		t.Errorf("a way to %s: %v, want %v", to, err, ErrNetUnreachable)
	}
}

// TestNetworkComesChangesAndGoes follows what is handed out to a host.
func TestNetworkComesChangesAndGoes(t *testing.T) {
	a, b := bare(t, &wire{takes: everything})
	filter, addrs := a.port.filter.Addrs(), a.Addrs()
	noWay(t, a, via4)
	for range 2 {
		set(t, a, handedOut())
		for _, to := range []netip.Addr{via4, via6, far4.Addr(), far6.Addr()} {
			reached(t, a, to)
		}
		for _, to := range []string{netA4, netA6} {
			reached(t, b, addrPort(to, 0).Addr())
		}
		set(t, a, &ethernet.Network{Addr4: netip.MustParsePrefix("10.0.0.7/24")})
		reached(t, a, via4)
		reached(t, b, netip.MustParseAddr("10.0.0.7"))
		noWay(t, a, far4.Addr())
		noWay(t, a, via6)
		for _, has := range a.stack.AllAddresses()[nicID] {
			if got := fromAddress(has.AddressWithPrefix.Address); got == handedOut().Addr4.Addr() || got == handedOut().Addr6.Addr() {
				t.Errorf("the stack still has %s", got)
			}
		}
		if got := a.Addrs(); got[0].String() != "10.0.0.7/24" || len(got) != 2 {
			t.Errorf("the addresses are %v", got)
		}
		set(t, a, nil)
		noWay(t, a, via4)
		if got := a.port.filter.Addrs(); !slices.Equal(got, filter) {
			t.Errorf("the station listens to %v, at first to %v", got, filter)
		}
		if got := a.Addrs(); !slices.Equal(got, addrs) {
			t.Errorf("the addresses are %v, at first %v", got, addrs)
		}
	}
}

// TestNetworkKeepsConnections changes routes under a connection.
func TestNetworkKeepsConnections(t *testing.T) {
	a, b := bare(t, &wire{takes: everything})
	set(t, a, handedOut())
	l, err := b.ListenTCP(5000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			io.Copy(conn, conn)
			conn.Close()
		}
	}()
	conn, err := a.DialTCP(within(t), addrPort(netB4, 5000))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, n := range []*ethernet.Network{handedOut(), {Addr4: handedOut().Addr4, MTU: 1300}, handedOut()} {
		set(t, a, n)
		sent, got := random(1000+i), make([]byte, 1000+i)
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatal(err)
		}
		equal(t, got, sent)
	}
}

// TestNetworkMetric has two routers to one network, of which one is not there.
func TestNetworkMetric(t *testing.T) {
	a, _ := bare(t, &wire{takes: everything})
	n := handedOut()
	n.Routes = []ethernet.Route{{To: far4.Masked(), Via: netip.MustParseAddr("10.0.0.99"), Metric: 20}, {To: far4.Masked(), Via: via4, Metric: 10}}
	set(t, a, n)
	reached(t, a, far4.Addr())
	n = handedOut()
	n.Routes = []ethernet.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.99")}, {To: far4.Masked(), Via: via4, Metric: 99}}
	set(t, a, n)
	reached(t, a, far4.Addr())
}

// TestNetworkMTU looks at the longest of the fragments that the host makes of a
// request.
func TestNetworkMTU(t *testing.T) {
	var longest atomic.Int64
	a, _ := bare(t, &wire{spoil: func(frame []byte) {
		if ethernet.Src(frame) == (ethernet.Addr{2, 0, 0, 0, 0, 1}) {
			longest.Store(max(longest.Load(), int64(len(frame))))
		}
	}})
	for _, tt := range []struct{ given, want int64 }{{0, 1500}, {1280, 1280}, {1400, 1400}, {0, 1500}} {
		n := handedOut()
		n.MTU = int(tt.given)
		set(t, a, n)
		longest.Store(0)
		if got := ping(t, a, via4, 3000); got.Err != nil {
			t.Errorf("mtu %d: %+v", tt.given, got)
		}
		// A fragment holds a multiple of 8 bytes (RFC 791, 3.1).
		if got := longest.Load() - ethernet.HeaderLen; got > tt.want || got <= tt.want-8 {
			t.Errorf("mtu %d: the longest packet has %d bytes, want %d", tt.given, got, tt.want)
		}
	}
}

func TestNetworkNames(t *testing.T) {
	a, b := bare(t, &wire{})
	serveNames(t, b)
	if _, err := a.Resolve(within(t), "www.example"); err == nil || !strings.Contains(err.Error(), "no name server") {
		t.Errorf("%v", err)
	}
	n := handedOut()
	n.DNS, n.Domain = []netip.Addr{via4}, "example"
	set(t, a, n)
	if got := a.Nameservers(); !slices.Equal(got, n.DNS) {
		t.Errorf("the name servers are %v", got)
	}
	for name, want := range map[string][]netip.Addr{"www": zone["www.example."], "www.example": zone["www.example."], "SIX": zone["six.example."]} {
		if got, err := a.Resolve(within(t), name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s has %v, %v, want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"www.", "nobody", "nobody.example", strings.Repeat("a", 64)} {
		if got, err := a.Resolve(within(t), name); err == nil {
			t.Errorf("%s has %v", name, got)
		}
	}
	n.Addr6 = netip.Prefix{}
	n.Routes = nil
	set(t, a, n)
	if got, err := a.Resolve(within(t), "www"); err != nil || !slices.Equal(got, zone["www.example."][:1]) {
		t.Errorf("without an IPv6 address www has %v, %v", got, err)
	}
	set(t, a, nil)
	if got := a.Nameservers(); len(got) != 0 {
		t.Errorf("the name servers are %v", got)
	}
}

// TestNetworkFaults asks for what cannot be done: the rest is.
func TestNetworkFaults(t *testing.T) {
	if err := New(Config{}).SetNetwork(handedOut()); err != errDown {
		t.Errorf("a host that is not started: %v", err)
	}
	a, _ := bare(t, &wire{takes: everything})
	n := handedOut()
	n.Addr6 = linkLocal(a.HardwareAddr())
	n.MTU = 1501
	n.Routes = append([]ethernet.Route{{To: netip.MustParsePrefix("10.9.0.1/16")}}, n.Routes[0])
	err := a.SetNetwork(n)
	for _, want := range []string{"address " + n.Addr6.String(), "mtu of 1501: it takes one from 1280 to 1500", "route to 10.9.0.1/16"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	reached(t, a, far4.Addr())
	if got := a.Addrs(); len(got) != 2 {
		t.Errorf("the addresses are %v", got)
	}
	if len(n.Routes) != 2 {
		t.Errorf("the network itself has become %+v", n)
	}
	set(t, a, nil)
	reached(t, a, linkLocal(ethernet.Addr{2, 0, 0, 0, 0, 2}).Addr())
	a.Close()
	if err := a.SetNetwork(nil); err != errDown {
		t.Errorf("a host that is closed: %v", err)
	}
}
