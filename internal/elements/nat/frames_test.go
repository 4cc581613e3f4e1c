package nat

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"tmelink/internal/ethernet"
)

// FuzzFrame throws frames at a gateway through which nothing gets out. It must live;
// nothing else is asked of it. The checksums of IPv4 and ICMP are mended, and that
// of UDP is taken away.
func FuzzFrame(f *testing.F) {
	n, _ := build(f, "inet 10.0.77.1/24 inet6 fd00:77::1/64 dhcp 10.0.77.10-10.0.77.20 lease 08:00:20:01:02:03=10.0.77.5 outbound deny 0.0.0.0/0 ::/0 dns 127.0.0.1 tftp "+f.TempDir())
	start(f, n)
	f.Cleanup(func() { n.Close() })
	go func() {
		for {
			if _, err := n.host.Port().ReadFrames(); err != nil {
				return
			}
		}
	}()
	from := netip.MustParseAddrPort("10.0.77.5:1000")
	for to, payload := range map[string]string{
		"10.0.77.1:53": "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01", "10.0.77.1:69": "\x00\x01x\x00octet\x00",
		"10.0.77.1:1": "x", "192.0.2.1:1": "x", "224.0.0.1:1": "x",
	} {
		f.Add(udpFrame(n.config.hwaddr, client, from, netip.MustParseAddrPort(to), []byte(payload)), false)
	}
	f.Add(udpFrame(ethernet.Broadcast, client, netip.AddrPortFrom(nobody, dhcpClientPort), netip.AddrPortFrom(anybody, dhcpServerPort), ask(client, "", kind(discover))), false)
	f.Add(arpRequest(client, gateway4), true)
	f.Add(rarp(client, client), false)
	f.Fuzz(func(t *testing.T, data []byte, trusted bool) {
		frame := ethernet.Frame{Data: bytes.Clone(data)}
		if trusted {
			frame.Needs = ethernet.Checksum
		}
		mend(frame.Data)
		if err := n.host.Port().WriteFrames([]ethernet.Frame{frame}); err != nil {
			t.Fatal(err)
		}
	})
}

func mend(frame []byte) {
	if len(frame) < ethernet.HeaderLen+ipv4HeaderLen+udpHeaderLen || binary.BigEndian.Uint16(frame[12:]) != ethernet.TypeIPv4 {
		return
	}
	ip := frame[ethernet.HeaderLen:]
	header := int(ip[0]&15) * 4
	if header < ipv4HeaderLen || header+udpHeaderLen > len(ip) {
		return
	}
	payload := ip[header:]
	switch ip[9] {
	case protoUDP:
		binary.BigEndian.PutUint16(payload[6:], 0)
	case 1:
		binary.BigEndian.PutUint16(payload[2:], 0)
		binary.BigEndian.PutUint16(payload[2:], ^ethernet.InternetSum(payload, 0))
	}
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], ^ethernet.InternetSum(ip[:header], 0))
}
