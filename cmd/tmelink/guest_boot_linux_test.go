package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// bootScript has iPXE load the kernel and its file system from where it has this
// script, and start them.
const bootScript = `#!ipxe
echo <script by ${next-server} for ${net0/ip}>
kernel vmlinuz initrd=initramfs ` + kernelLine + ` booted-by=ipxe
initrd initramfs
boot
`

// guestBooted is a guest that says how it was booted, and asks for an address itself.
const guestBooted = `report booted $(sed 's/.*booted-by=//' /proc/cmdline)
` + guestDHCP + `
report address $(ip -4 -o addr show dev eth0 | sed 's/.*inet //; s/ .*//')
poweroff -f
`

// TestGuestBootsFromNAT has the iPXE in QEMU's virtio card ask for an address and a
// boot file, and load by TFTP a script, the kernel, and its file system. The
// kernel gets the same address. Without an IPv6 router iPXE waits for one for 12 s.
func TestGuestBootsFromNAT(t *testing.T) {
	needGuests(t)
	host := nstest.New(t, "host")
	folder := t.TempDir()
	copyFile(t, kernelImage(t), filepath.Join(folder, "vmlinuz"), 0o644)
	copyFile(t, initramfs(t, guestBooted, nil), filepath.Join(folder, "initramfs"), 0o644)
	if err := os.WriteFile(filepath.Join(folder, "boot.ipxe"), []byte(bootScript), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	ours := runs(t, host, "nat0: tme/host/nat inet 10.0.77.1/24 inet6 fd00:77::1/64 dhcp 10.0.77.10-10.0.77.20 boot-file boot.ipxe tftp "+folder+"\n"+
		"q0 at nat0: tme/host/qemu/stream listen "+socket+"\n")
	ours.Expect(t, "up after", 20*time.Second)
	began := time.Now()
	guest := qemu(t, host, append(append(streamBackend(socket), device("virtio-net-pci", 1)...), "-M", "pc,graphics=off", "-boot", "n")...)
	if got := strings.Join(reported(t, guest, "script", 1), " "); got != "by 10.0.77.1 for 10.0.77.10" {
		t.Errorf("iPXE has a script %q", got)
	}
	script := time.Since(began)
	if got := strings.Join(reported(t, guest, "booted", 1), " "); got != "ipxe" {
		t.Errorf("the guest was booted by %q", got)
	}
	booted := time.Since(began)
	if got := strings.Join(reported(t, guest, "address", 1), " "); got != "10.0.77.10/24" {
		t.Errorf("the guest's address is %q", got)
	}
	t.Logf("iPXE has its script after %.1f s, the kernel runs after %.1f s", script.Seconds(), booted.Seconds())
	if err := guest.Wait(t, 60*time.Second); err != nil {
		t.Errorf("QEMU, whose machine was switched off: %v", err)
	}
	endsWell(t, []*nstest.Process{ours}, "disconnected", "filtered")
}

// TestGuestBootsByHTTP has the iPXE in QEMU's e1000 load its boot file by HTTP from a
// server outside, whose name it looks up.
func TestGuestBootsByHTTP(t *testing.T) {
	needGuests(t)
	host, outer := behindNAT(t)
	serveNames(t, outer)
	serveHTTP(t, outer, func(w http.ResponseWriter) {
		io.WriteString(w, "#!ipxe\necho <script for ${net0/ip} with ${net0/dns}>\nprompt\n")
	})
	socket := filepath.Join(t.TempDir(), "s")
	ours := runs(t, host, "nat0: tme/host/nat inet 10.0.77.1/24 inet6 fd00:77::1/64 lease 52:54:00:00:77:01=10.0.77.33 boot-file http://www.example/boot.ipxe dns "+outside4+"\n"+
		"q0 at nat0: tme/host/qemu/stream listen "+socket+"\n")
	ours.Expect(t, "up after", 20*time.Second)
	guest := qemu(t, host, append(append(streamBackend(socket), device("e1000", 1)...), "-M", "pc,graphics=off", "-boot", "n")...)
	if got := strings.Join(reported(t, guest, "script", 1), " "); got != "for 10.0.77.33 with 10.0.77.1" {
		t.Errorf("iPXE has a script %q", got)
	}
	endsWell(t, []*nstest.Process{ours}, "disconnected", "filtered")
}
