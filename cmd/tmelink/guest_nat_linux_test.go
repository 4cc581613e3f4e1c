package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// guestFetches is a guest that learns its address, looks a name up, fetches a file from
// outside and gives it away itself.
const guestFetches = guestDHCP + `
report address $(ip -4 -o addr show dev eth0 | sed 's/.*inet //; s/ .*//') $(ip link show dev eth0 | sed -n 's/.* mtu \([0-9]*\).*/\1/p')
report name $(nslookup -type=a www.example | sed -n 's/^Address: *//p' | tail -n 1)
read begin rest </proc/uptime
wget -q -O /www/file http://www.example/
read end rest </proc/uptime
report file $(sha256sum </www/file) $begin $end
ping -c 3 -W 5 -q ` + outside4 + ` >/dev/null && report ping
httpd -p 80 -h /www
report ready
while :; do sleep 60; done
`

// TestGuestBehindNAT boots Debian's kernel with three network cards in QEMU and by
// three ways into tmelink. Each guest gets its address by DHCP, the server's by
// name, a file from outside and one to there.
func TestGuestBehindNAT(t *testing.T) {
	const size = 8 << 20
	for _, test := range []struct {
		name, element string
		qemu          []string // {} is the folder of sockets
	}{
		{"stream with virtio on q35", "qemu/stream listen {}/s", append(streamBackend("{}/s"), append(device("virtio-net-pci", 1), "-M", "q35")...)},
		{"dgram with vmxnet3 on pc", "qemu/dgram local {}/t remote {}/q", append(dgramBackend("{}/q", "{}/t"), append(device("vmxnet3", 1), "-M", "pc")...)},
		{"VDE with virtio on pc", "vde/plug {}/vde", append([]string{"-netdev", "vde,id=n0,sock={}/vde"}, append(device("virtio-net-pci", 1), "-M", "pc")...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // most of the time a guest boots, which takes one processor
			needGuests(t, "vde_switch")
			host, outer := behindNAT(t)
			serveNames(t, outer)
			serveWeb(t, outer, size)
			folder := t.TempDir()
			in := func(text string) string { return strings.ReplaceAll(text, "{}", folder) }
			ours := runs(t, host, "nat0: tme/host/nat inet 10.0.77.1/24 dhcp 10.0.77.10-10.0.77.20 mtu 1400 dns "+outside4+" forward tcp 0.0.0.0:8080=10.0.77.10:80\n"+
				"q0 at nat0: tme/host/"+in(test.element)+"\n")
			if strings.Contains(test.element, "vde") {
				vdeSwitch(t, host, in("{}/vde"))
				ours.Expect(t, "plugged in", 20*time.Second)
			}
			ours.Expect(t, "up after", 20*time.Second)

			began := time.Now()
			args := kernelArgs(t, initramfs(t, guestFetches, nil))
			for _, a := range test.qemu {
				args = append(args, in(a))
			}
			guest := qemu(t, host, args...)
			if got := strings.Join(reported(t, guest, "address", 1), " "); got != "10.0.77.10/24 1400" {
				t.Errorf("the guest's address and MTU are %q", got)
			}
			booted := time.Since(began)
			if got := strings.Join(reported(t, guest, "name", 1), " "); got != outside4 {
				t.Errorf("www.example is %q for the guest", got)
			}
			file := reported(t, guest, "file", 1)
			if want := sumOf(size); file[0] != want {
				t.Errorf("the guest has fetched a file of checksum %s, want %s", file[0], want)
			}
			var from, to float64
			fmt.Sscan(file[len(file)-2]+" "+file[len(file)-1], &from, &to)
			reported(t, guest, "ping", 1)
			reported(t, guest, "ready", 1)
			began = time.Now()
			if got, want := fetchHTTP(t, outer, "192.168.0.1:8080", "/file"), sumOf(size); got != want {
				t.Errorf("from the guest came a file of checksum %s, want %s", got, want)
			}
			t.Logf("an address after %.1f s, %d bytes fetched in %.2f s and given in %.2f s", booted.Seconds(), size, to-from, time.Since(began).Seconds())
			// The gateway speaks before the guest is there, and the guest asks for
			// neighbours and routers in IPv6, which this gateway has not.
			endsWell(t, []*nstest.Process{ours}, "disconnected", "filtered")
			if err := guest.Stop(); err != nil {
				t.Errorf("QEMU, ended by SIGTERM: %v", err)
			}
		})
	}
}

// vdeSwitch runs a vde_switch in a host. It ends when there is nothing to be read
// from its standard input: a pipe that is open both ways is silent.
func vdeSwitch(t *testing.T, h *nstest.Host, folder string) *nstest.Process {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	return h.Start("sh", "-c", `exec vde_switch -s "$0" <>"$1"`, folder, pipe)
}

// sumOf is the checksum of as many bytes of serveWeb.
func sumOf(size int) string {
	b := make([]byte, size)
	io.ReadFull(source(), b)
	return sumBytes(b)
}

func sumBytes(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// fetchHTTP fetches a file from a host and gives its checksum.
func fetchHTTP(t *testing.T, h *nstest.Host, server, path string) string {
	t.Helper()
	var c net.Conn
	inside(t, h, func() (err error) {
		c, err = net.DialTimeout("tcp", server, 20*time.Second)
		return err
	})
	defer c.Close()
	connected := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	client := http.Client{Transport: &http.Transport{DialContext: connected, DisableKeepAlives: true}, Timeout: 60 * time.Second}
	answer, err := client.Get("http://" + server + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("get %s from %s: %s, %v", path, server, answer.Status, err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}
