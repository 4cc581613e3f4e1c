package ethernet

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// network is one with all that there can be in it.
func network() Network {
	return Network{
		Addr4: netip.MustParsePrefix("10.8.0.5/24"), Addr6: netip.MustParsePrefix("fd00:8::5/64"), MTU: 1400,
		Routes: []Route{{To: netip.MustParsePrefix("10.9.0.0/16"), Via: netip.MustParseAddr("10.8.0.1"), Metric: 7}},
		DNS:    []netip.Addr{netip.MustParseAddr("10.8.0.1")}, Domain: "lab.example",
	}
}

func TestNetworkCheck(t *testing.T) {
	for _, tt := range []struct {
		what string
		edit func(*Network)
		want string // in the error; "" where there is none
	}{
		{"all of it", func(*Network) {}, ""},
		{"nothing", func(n *Network) { *n = Network{} }, ""},
		{"a network of two", func(n *Network) { n.Addr4 = netip.MustParsePrefix("10.8.0.0/31") }, ""},
		{"a network of one", func(n *Network) { n.Addr4 = netip.MustParsePrefix("10.8.0.0/32") }, ""},
		{"IPv6 for IPv4", func(n *Network) { n.Addr4 = n.Addr6 }, "address fd00:8::5/64: it is not an IPv4 address"},
		{"IPv4 for IPv6", func(n *Network) { n.Addr6 = n.Addr4 }, "address 10.8.0.5/24: it is not an IPv6 address"},
		{"the whole world", func(n *Network) { n.Addr4 = netip.MustParsePrefix("10.8.0.5/0") }, "one wire"},
		{"the network's own address", func(n *Network) { n.Addr4 = netip.MustParsePrefix("10.8.0.0/24") }, "first or last address of its network 10.8.0.0/24"},
		{"the broadcast address", func(n *Network) { n.Addr4 = netip.MustParsePrefix("10.8.0.255/24") }, "first or last"},
		{"a group", func(n *Network) { n.Addr4 = netip.MustParsePrefix("224.0.0.5/24") }, "of one station"},
		{"the loopback", func(n *Network) { n.Addr6 = netip.MustParsePrefix("::1/64") }, "of one station"},
		{"no address", func(n *Network) { n.Addr6 = netip.MustParsePrefix("::/64") }, "of one station"},
		{"a small MTU", func(n *Network) { n.MTU = 67 }, "mtu 67: it is not from 68"},
		{"a large MTU", func(n *Network) { n.MTU = 65536 }, "mtu 65536"},
		{"a negative MTU", func(n *Network) { n.MTU = -1 }, "mtu -1"},
		{"many routes", func(n *Network) { n.Routes = make([]Route, 1025) }, "1025 routes"},
		{"many name servers", func(n *Network) { n.DNS = make([]netip.Addr, 17) }, "17 name servers"},
		{"a name server that is none", func(n *Network) { n.DNS = []netip.Addr{{}} }, "name server invalid IP"},
		{"a name server on an interface", func(n *Network) { n.DNS = []netip.Addr{netip.MustParseAddr("fe80::1%eth0")} }, "name server fe80::1%eth0"},
		{"a domain with a space", func(n *Network) { n.Domain = "a b" }, `domain "a b"`},
		{"a domain with an empty label", func(n *Network) { n.Domain = "a..b" }, "domain"},
		{"a domain with a line end", func(n *Network) { n.Domain = "a\nb" }, `domain "a\nb"`},
		{"a long label", func(n *Network) { n.Domain = strings.Repeat("a", 64) }, "domain"},
		{"a long domain", func(n *Network) { n.Domain = strings.Repeat("a.", 127) + "a" }, "domain"},
		{"an underscore", func(n *Network) { n.Domain = "_x.A-1.example" }, ""},
	} {
		n := network()
		tt.edit(&n)
		switch err := n.Check(); {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.what, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q in it", tt.what, err, tt.want)
		}
	}
}

func TestRouteCheck(t *testing.T) {
	to := netip.MustParsePrefix
	via := netip.MustParseAddr
	for _, tt := range []struct {
		route Route
		want  string
	}{
		{Route{To: to("10.9.0.0/16")}, ""},
		{Route{To: to("0.0.0.0/0"), Via: via("10.8.0.1"), Metric: 1<<31 - 1}, ""},
		{Route{To: to("2000::/3"), Via: via("fe80::1")}, ""},
		{Route{}, "it is not a network"},
		{Route{To: to("::ffff:10.0.0.0/104")}, "it is not a network"},
		{Route{To: to("10.9.0.1/16")}, "the network is 10.9.0.0/16"},
		{Route{To: to("10.9.0.0/16"), Metric: -1}, "metric -1"},
		{Route{To: to("10.9.0.0/16"), Via: via("fd00::1")}, "fd00::1 cannot be the router"},
		{Route{To: to("fd00::/64"), Via: via("10.8.0.1")}, "10.8.0.1 cannot be the router"},
		{Route{To: to("10.9.0.0/16"), Via: via("0.0.0.0")}, "0.0.0.0 cannot be the router"},
		{Route{To: to("10.9.0.0/16"), Via: via("224.0.0.1")}, "cannot be the router"},
		{Route{To: to("fd00::/64"), Via: via("fe80::1%eth0")}, "cannot be the router"},
	} {
		switch err := tt.route.Check(); {
		case tt.want == "" && err != nil:
			t.Errorf("%+v: %v", tt.route, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%+v: %v, want %q in it", tt.route, err, tt.want)
		}
	}
}

func TestNetworkYield(t *testing.T) {
	n := network()
	if rest, aside := n.Yield(Network{}); !rest.Equal(&n) || aside != nil {
		t.Errorf("to a description that says nothing it yields %q and leaves %+v", aside, rest)
	}
	own := Network{Addr4: netip.MustParsePrefix("192.0.2.1/24"), Addr6: netip.MustParsePrefix("fd00::1/64"), MTU: 1500, DNS: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}
	want := Network{Routes: n.Routes, Domain: n.Domain}
	rest, aside := n.Yield(own)
	if !rest.Equal(&want) {
		t.Errorf("what is left is %+v, want %+v", rest, want)
	}
	if want := []string{"address 10.8.0.5/24", "address fd00:8::5/64", "mtu 1400", "name servers [10.8.0.1]"}; !slices.Equal(aside, want) {
		t.Errorf("it yields %q, want %q", aside, want)
	}
	if again := network(); !n.Equal(&again) {
		t.Errorf("the network itself has become %+v", n)
	}
	if rest, aside := (Network{}).Yield(own); !rest.Equal(&Network{}) || aside != nil {
		t.Errorf("a network of nothing yields %q and leaves %+v", aside, rest)
	}
}

func TestNetworkEqual(t *testing.T) {
	n := network()
	if same := network(); !n.Equal(&same) || !(*Network)(nil).Equal(nil) {
		t.Error("what is the same is not equal")
	}
	if n.Equal(nil) || (*Network)(nil).Equal(&n) {
		t.Error("a network equals none")
	}
	for i, edit := range []func(*Network){
		func(n *Network) { n.Addr4 = netip.Prefix{} }, func(n *Network) { n.Addr6 = netip.Prefix{} }, func(n *Network) { n.MTU++ },
		func(n *Network) { n.Routes = []Route{{To: n.Routes[0].To}} }, func(n *Network) { n.DNS = nil }, func(n *Network) { n.Domain = "" },
	} {
		other := network()
		edit(&other)
		if n.Equal(&other) {
			t.Errorf("change %d goes unseen", i)
		}
	}
}
