package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// guestAgain is a guest that fetches a file from outside again and again.
const guestAgain = guestDHCP + `
while :; do
	timeout 5 wget -q -O /file http://` + outside4 + `/ && report file $(sha256sum </file)
	usleep 100000
done
`

// TestGuestAfterRestart kills QEMU and boots its guest again, and ends tmelink and
// starts it again while the guest runs: each time the guest fetches files as before.
// QEMU's stream connects only once before QEMU 8, so that there only a QEMU that
// listens meets a tmelink that was started anew.
func TestGuestAfterRestart(t *testing.T) {
	const size = 1 << 20
	for _, test := range []struct {
		name, element string
		backend       func(folder string) []string
		meetsAnew     bool // QEMU meets a tmelink that was started anew
	}{
		{"QEMU connects", "stream listen {}/s", func(f string) []string { return streamBackend(f + "/s") }, false},
		{"QEMU listens", "stream connect {}/s", func(f string) []string {
			return []string{"-netdev", "stream,id=n0,server=on,addr.type=unix,addr.path=" + f + "/s"}
		}, true},
		{"dgram", "dgram local {}/t remote {}/q", func(f string) []string { return dgramBackend(f+"/q", f+"/t") }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // most of the time a guest boots, which takes one processor
			needGuests(t)
			host, outer := behindNAT(t)
			serveWeb(t, outer, size)
			folder := t.TempDir()
			start := func() *nstest.Process {
				p := runs(t, host, "nat0: tme/host/nat inet 10.0.77.1/24 dhcp 10.0.77.10-10.0.77.20\n"+
					"q0 at nat0: tme/host/qemu/"+strings.ReplaceAll(test.element, "{}", folder)+"\n")
				p.Expect(t, "up after", 20*time.Second)
				return p
			}
			image := initramfs(t, guestAgain, nil)
			boot := func() *nstest.Process {
				return qemu(t, host, append(append(append(kernelArgs(t, image), test.backend(folder)...), device("virtio-net-pci", 1)...), "-M", "pc")...)
			}
			fetches := func(guest *nstest.Process) {
				t.Helper()
				// What was on its way is not the one that is waited for.
				n := strings.Count(guest.Output(), "<file ") + 2
				if got := reported(t, guest, "file", n); got[0] != sumOf(size) {
					t.Errorf("a file of checksum %s came, want %s", got[0], sumOf(size))
				}
			}
			ours := start()
			guest := boot()
			fetches(guest)
			if test.meetsAnew {
				if err := ours.Stop(); err != nil {
					t.Errorf("tmelink, ended by SIGTERM: %v", err)
				}
				ours = start()
				fetches(guest)
			}
			guest.Signal(syscall.SIGKILL)
			if err := guest.Wait(t, 10*time.Second); fmt.Sprint(err) != "signal: killed" {
				t.Errorf("QEMU, killed: %v", err)
			}
			guest = boot()
			fetches(guest)
			endsWell(t, []*nstest.Process{ours}, "disconnected", "filtered")
		})
	}
}
