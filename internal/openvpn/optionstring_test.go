package openvpn

import (
	"net/netip"
	"testing"
)

func TestOptionStringIsOpenVPNs(t *testing.T) {
	// As OpenVPN 2.6.14 prints them at --verb 4.
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{MTU: 1500, Proto: UDP}, "V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto UDPv4"},
		{Options{MTU: 1400, Proto: TCPServer}, "V4,dev-type tap,link-mtu 1432,tun-mtu 1400,proto TCPv4_SERVER"},
		{Options{MTU: 1500, Proto: TCPClient}, "V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto TCPv4_CLIENT"},
		{Options{MTU: 1500, Proto: UDP, Network: netip.MustParsePrefix("10.0.77.1/24")},
			"V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto UDPv4,ifconfig 10.0.77.0 255.255.255.0"},
		{Options{MTU: 1500, Proto: UDP, IPv6: true, Network: netip.MustParsePrefix("172.16.200.9/21")},
			"V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto UDPv4,tun-ipv6,ifconfig 172.16.200.0 255.255.248.0"},
		{Options{MTU: 1500, Proto: UDP, Network: netip.MustParsePrefix("1.2.3.4/0")},
			"V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto UDPv4,ifconfig 0.0.0.0 0.0.0.0"},
	} {
		if got := c.options.String(); got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.options, got, c.want)
		}
	}
}

func TestMaxPacketIsOpenVPNsBuffer(t *testing.T) {
	for mtu, want := range map[int]int{100: 1800, 1500: 1800, 9000: 9200, 65485: 65535} {
		if got := MaxPacket(mtu); got != want {
			t.Errorf("MTU %d: %d, want %d", mtu, got, want)
		}
	}
}
