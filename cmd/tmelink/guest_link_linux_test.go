package main

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// guestPeer is guest %[1]d, which reaches guest %[2]d, fetches its file and gives its own.
const guestPeer = `ip addr add 10.0.77.%[1]d/24 dev eth0
httpd -p 80 -h /www
until ping -c 1 -W 1 10.0.77.%[2]d >/dev/null; do sleep 0.1; done
for size in 0 1472 4000; do
	ping -c 3 -W 10 -s $size -q 10.0.77.%[2]d >/dev/null && report pinged $size
done
read begin rest </proc/uptime
wget -q -O /file http://10.0.77.%[2]d/file
read end rest </proc/uptime
report file $(sha256sum </file) $begin $end
while :; do sleep 60; done
`

// TestGuestsOverOpenVPN joins two guests on two hosts: one in a QEMU whose stream is an
// element of tmelink's, and one in a QEMU on a bridge with the TAP of the real
// OpenVPN, whose kernel segments what that guest sends.
func TestGuestsOverOpenVPN(t *testing.T) {
	needGuests(t, "openvpn")
	const size = 4 << 20
	hosts := lan(t, 2)
	for _, command := range [][]string{
		{"link", "add", "br1", "type", "bridge", "forward_delay", "0"},
		{"tuntap", "add", "dev", "tap0", "mode", "tap"}, {"tuntap", "add", "dev", "guest0", "mode", "tap"},
		{"link", "set", "tap0", "master", "br1", "up"}, {"link", "set", "guest0", "master", "br1", "up"},
		{"link", "set", "br1", "up"},
	} {
		hosts[1].IP(command...)
	}
	socket := filepath.Join(t.TempDir(), "s")
	ours := runs(t, hosts[0], "q0: tme/host/qemu/stream listen "+socket+"\n"+
		"link0 at q0: tme/host/openvpn/socket/link --dev tap --local 192.168.0.1 --remote 192.168.0.2\n")
	ours.Expect(t, "up after", 20*time.Second)
	peer := hosts[1].Start("openvpn", "--dev", "tap0", "--proto", "udp", "--local", "192.168.0.2", "--remote", "192.168.0.1", "--verb", "3")

	sums := make([]string, 2)
	guests := make([]*nstest.Process, 2)
	for i, backend := range [][]string{streamBackend(socket), {"-netdev", "tap,id=n0,ifname=guest0,script=no,downscript=no"}} {
		file := make([]byte, size)
		io.ReadFull(stream(i), file)
		sums[i] = sumBytes(file)
		image := initramfs(t, fmt.Sprintf(guestPeer, i+1, 2-i), map[string][]byte{"www/file": file})
		guests[i] = qemu(t, hosts[i], append(append(append(kernelArgs(t, image), backend...), device("virtio-net-pci", byte(i+1))...), "-M", "pc")...)
	}
	for i, g := range guests {
		for n, want := range []string{"0", "1472", "4000"} {
			if got := reported(t, g, "pinged", n+1)[0]; got != want {
				t.Errorf("guest %d has an answer to %s bytes, want %s", i+1, got, want)
			}
		}
		file := reported(t, g, "file", 1)
		if file[0] != sums[1-i] {
			t.Errorf("guest %d has fetched a file of checksum %s, want %s", i+1, file[0], sums[1-i])
		}
		t.Logf("guest %d has fetched %d bytes from %s to %s s of its time", i+1, size, file[len(file)-2], file[len(file)-1])
	}
	complaints(t, peer.Output())
	endsWell(t, []*nstest.Process{ours}, "disconnected", "control")
}
