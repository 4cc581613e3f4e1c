package link

import (
	"errors"
	"net/netip"
	"testing"

	"tmelink/internal/transport"
)

func TestOnlyAnInterfaceIsLookedAt(t *testing.T) {
	args, _ := argsOf("--local 127.0.0.1")
	c, err := parse(args, "")
	if err != nil {
		t.Fatal(err)
	}
	for local, want := range map[string]bool{loopbackName(t): true, "127.0.0.1": false, "::1": false, "localhost": false, "": false} {
		c.local, c.nobind = local, local == ""
		look, stop := (&Link{config: c}).lookAtInterface()
		if stop(); (look != nil) != want {
			t.Errorf("%q is looked at: %t", local, !want)
		}
	}
}

func TestAnInterfaceMoves(t *testing.T) {
	for _, c := range []struct {
		name, bound string
		has         []string // nil: the interface is gone
		want        string
	}{
		{"it stays", "10.0.0.1", []string{"10.0.0.1"}, ""},
		{"it gets another, too", "10.0.0.1", []string{"10.0.0.2", "10.0.0.1"}, ""},
		{"it is another", "10.0.0.1", []string{"10.0.0.2"}, "eth0 no longer has 10.0.0.1 (--local)"},
		{"it has none", "10.0.0.1", nil, ""},
		{"it has none but that of nobody", "10.0.0.1", []string{"169.254.3.4"}, ""},
		{"it had that of nobody", "169.254.3.4", []string{"10.0.0.1"}, "eth0 no longer has 169.254.3.4 (--local)"},
		{"IPv6 stays", "2001:db8::1", []string{"2001:db8::2", "2001:db8::1", "fe80::1%eth0"}, ""},
		{"IPv6 is another", "2001:db8::1", []string{"2001:db8::2", "fe80::1%eth0"}, "eth0 no longer has 2001:db8::1 (--local)"},
		{"IPv6 is only link-local", "2001:db8::1", []string{"fe80::1%eth0"}, ""},
		{"link-local stays", "fe80::1%eth0", []string{"2001:db8::1", "fe80::1%eth0"}, ""},
		{"link-local stays, with a zone as Windows has it", "fe80::1%7", []string{"fe80::1%eth0"}, ""},
		{"link-local is another", "fe80::1%eth0", []string{"2001:db8::1", "fe80::2%eth0"}, "eth0 no longer has fe80::1 (--local)"},
		{"link-local is missing", "fe80::1%eth0", []string{"2001:db8::1"}, ""},
	} {
		bound := netip.MustParseAddr(c.bound)
		l := &Link{config: &config{local: "eth0"}, addrs: func(iface string, family transport.Family) (all []netip.Addr, err error) {
			if iface != "eth0" || !family.Has(bound) {
				t.Errorf("%s: asked for %s, %v", c.name, iface, family)
			}
			for _, a := range c.has {
				all = append(all, netip.MustParseAddr(a))
			}
			if all == nil {
				err = errors.New("it has none")
			}
			return all, err
		}}
		got := ""
		if err := l.moved(bound); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// loopbackName is that of this host's loopback interface.
func loopbackName(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"lo", "lo0", "Loopback Pseudo-Interface 1"} {
		if transport.IsInterface(name) {
			return name
		}
	}
	t.Fatal("no loopback interface")
	return ""
}
