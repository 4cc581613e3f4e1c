package transport

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestResolveLocal(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		local  string
		family Family
		want   string // "" for an error
	}{
		{"127.0.0.1", 0, "127.0.0.1"},
		{"127.0.0.1", 6, ""},
		{"::ffff:127.0.0.1", 4, "127.0.0.1"},
		{"::1", 6, "::1"},
		{"lo", 4, "127.0.0.1"},
		{"localhost", 4, "127.0.0.1"},
	} {
		got, err := ResolveLocal(ctx, c.local, c.family)
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), "no IPv6 address") {
				t.Errorf("%s, %v: %v, %v", c.local, c.family, got, err)
			}
			continue
		}
		if err != nil || !slices.Contains(got, netip.MustParseAddr(c.want)) {
			t.Errorf("%s, %v: %v, %v", c.local, c.family, got, err)
		}
	}
}

func TestResolveFailureNamesTheHost(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ResolveHost(ctx, "peer.invalid", 0); err == nil || !strings.Contains(err.Error(), `"peer.invalid"`) {
		t.Errorf("got %v", err)
	}
}

func TestCheckHost(t *testing.T) {
	for host, ok := range map[string]bool{
		"10.0.0.1": true, "fe80::1%eth0": true, "::": true, "eth0.100": true, "a-b.example.org": true, "lo": true,
		"10.0.0.256": false, "10.0.0": false, "1:2": false, "": false, "a b": false, "--remote": false,
		"a\x00b": false, "h/1": false, "fe80::1%wlan0.7": true, "fe80::1%12": true, "fe80::1%Wörk": true,
		"2001:db8::1%x\r\nEvil: y": false, "fe80::1%a b": false, "fe80::1%a/b": false, "fe80::1%a:b": false, "fe80::1%a%b": false,
		"fe80::1%\x00": false, "fe80::1%a\u2028b": false, "fe80::1%\xff": false, "fe80::1%": false, strings.Repeat("a", 254): false, "ä": false,
	} {
		if err := CheckHost(host); (err == nil) != ok {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func FuzzCheckHost(f *testing.F) {
	f.Add("10.0.0.1")
	f.Add("a.example")
	f.Add("fe80::1%eth0\r\nX: y")
	f.Fuzz(func(t *testing.T, host string) {
		if CheckHost(host) == nil && (host == "" || strings.ContainsAny(host, " /\r\n\x00")) {
			t.Errorf("%q passes", host)
		}
	})
}
