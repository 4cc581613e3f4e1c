package openvpn

import (
	"net/netip"
	"testing"

	"tmelink/internal/openvpn/datachannel"
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
		{Options{MTU: 1500, Proto: UDP, Fragments: true, Network: netip.MustParsePrefix("10.0.77.1/24")},
			"V4,dev-type tap,link-mtu 1536,tun-mtu 1500,proto UDPv4,ifconfig 10.0.77.0 255.255.255.0,mtu-dynamic"},
	} {
		if got := c.options.String(); got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.options, got, c.want)
		}
	}
}

func TestOptionStringWithKeysIsOpenVPNs(t *testing.T) {
	sha1, _ := datachannel.LookupDigest("SHA1")
	sha256, _ := datachannel.LookupDigest("SHA256")
	sha512, _ := datachannel.LookupDigest("SHA512")
	cipher := func(name string) *datachannel.Cipher {
		c, err := datachannel.LookupCipher(name)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// As OpenVPN 2.6.14 prints them at --verb 8.
	for _, c := range []struct {
		mtu   int
		proto Proto
		keys  KeyOptions
		want  string
	}{
		{1500, UDP, KeyOptions{Secret: true, Cipher: cipher("AES-256-CBC"), Digest: sha1},
			"V4,dev-type tap,link-mtu 1592,tun-mtu 1500,proto UDPv4,cipher AES-256-CBC,auth SHA1,keysize 256,secret"},
		{1500, UDP, KeyOptions{Secret: true, Direction: "1", Cipher: cipher("AES-128-CBC"), Digest: sha256},
			"V4,dev-type tap,link-mtu 1604,tun-mtu 1500,proto UDPv4,keydir 1,cipher AES-128-CBC,auth SHA256,keysize 128,secret"},
		{1500, UDP, KeyOptions{Server: true, Digest: sha1},
			"V4,dev-type tap,link-mtu 1573,tun-mtu 1500,proto UDPv4,cipher BF-CBC,auth SHA1,keysize 128,key-method 2,tls-server"},
		{1500, UDP, KeyOptions{Server: true, Cipher: cipher("AES-256-GCM"), Digest: sha1},
			"V4,dev-type tap,link-mtu 1581,tun-mtu 1500,proto UDPv4,cipher AES-256-GCM,auth [null-digest],keysize 256,key-method 2,tls-server"},
		{1500, UDP, KeyOptions{Server: true, Cipher: cipher("AES-256-CBC"), Digest: sha512},
			"V4,dev-type tap,link-mtu 1633,tun-mtu 1500,proto UDPv4,cipher AES-256-CBC,auth SHA512,keysize 256,key-method 2,tls-server"},
		{1400, UDP, KeyOptions{Server: true, Cipher: cipher("AES-192-CBC"), Digest: sha256},
			"V4,dev-type tap,link-mtu 1501,tun-mtu 1400,proto UDPv4,cipher AES-192-CBC,auth SHA256,keysize 192,key-method 2,tls-server"},
		{1500, UDP, KeyOptions{Server: true, Auth: true, Direction: "0", Cipher: cipher("CHACHA20-POLY1305"), Digest: sha1},
			"V4,dev-type tap,link-mtu 1566,tun-mtu 1500,proto UDPv4,keydir 0,cipher CHACHA20-POLY1305,auth [null-digest],keysize 256,tls-auth,key-method 2,tls-server"},
		{1500, TCPServer, KeyOptions{Server: true, Auth: true, Digest: sha1},
			"V4,dev-type tap,link-mtu 1575,tun-mtu 1500,proto TCPv4_SERVER,cipher BF-CBC,auth SHA1,keysize 128,tls-auth,key-method 2,tls-server"},
		{1500, UDP, KeyOptions{Pull: true, Digest: sha1},
			"V4,dev-type tap,link-mtu 1573,tun-mtu 1500,proto UDPv4,auth SHA1,keysize 128,key-method 2,tls-client"},
		{1500, UDP, KeyOptions{Pull: true, Cipher: cipher("AES-256-GCM"), Digest: sha1},
			"V4,dev-type tap,link-mtu 1581,tun-mtu 1500,proto UDPv4,cipher AES-256-GCM,auth [null-digest],keysize 256,key-method 2,tls-client"},
	} {
		if got := (Options{MTU: c.mtu, Proto: c.proto, Keys: &c.keys}).String(); got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.keys, got, c.want)
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
