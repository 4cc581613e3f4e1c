package main

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestAttachEmulators starts real emulators at an interface of which the description
// says nothing. The one that boots from its network card asks for an address, which
// comes out of the machine's link; each ends when tmelink attach is asked to.
func TestAttachEmulators(t *testing.T) {
	nstest.NeedPrograms(t, "qemu-system-x86_64", "qemu-system-sparc")
	t.Setenv("XDG_RUNTIME_DIR", private(t))
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	_, port, _ := net.SplitHostPort(peer.LocalAddr().String())
	machine := nstest.Start(t, "tmelink", "run", write(t, "m.tme",
		"le0: tme/ic/am7990\nlink0 at le0: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport 0 --remote 127.0.0.1 "+port+"\n"))
	machine.Expect(t, "for QEMU: -netdev stream", 20*time.Second)
	for i, emulator := range [][]string{
		{"qemu-system-x86_64", "-machine", "pc", "-nodefaults", "-display", "none", "-m", "64", "-netdev", "%net", "-device", "e1000,netdev=tmelink,mac=52:54:00:12:34:56,bootindex=0"},
		{"qemu-system-sparc", "-M", "SS-5", "-nographic"},
	} {
		p := nstest.Start(t, "tmelink", append([]string{"attach", "le0", "--"}, emulator...)...)
		machine.ExpectN(t, "emulator connected", i+1, time.Minute)
		if i == 0 {
			expectDHCP(t, peer)
		} else { // its firmware has no driver for the network
			p.Expect(t, "OpenBIOS", 2*time.Minute)
		}
		p.Signal(syscall.SIGTERM)
		if err := p.Wait(t, time.Minute); err != nil {
			t.Errorf("%s: %v\n%s", emulator[0], err, p.Output())
		}
		machine.ExpectN(t, "emulator has gone", i+1, time.Minute)
	}
	if err := machine.Stop(); err != nil {
		t.Error(err)
	}
}

// TestAttachedThroughQEMU has two hosts reach each other through two interfaces to
// which one real QEMU is attached, in different ways, as a hub between its two.
func TestAttachedThroughQEMU(t *testing.T) {
	nstest.NeedPrograms(t, "qemu-system-x86_64")
	folder := private(t)
	var ports [3]string
	var held [3]*net.UDPConn // until all are known, so that each is another one
	for i := range ports {
		var err error
		if held[i], err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
		_, ports[i], _ = net.SplitHostPort(held[i].LocalAddr().String())
	}
	for _, c := range held {
		c.Close()
	}
	fill := strings.NewReplacer("FOLDER", folder, "OURS", ports[0], "THEIRS", ports[1], "TCP", ports[2])
	udp := fill.Replace("dgram,id=n0,local.type=inet,local.host=127.0.0.1,local.port=THEIRS,remote.type=inet,remote.host=127.0.0.1,remote.port=OURS")
	for attach, netdev := range map[string]string{
		"qemu:tcp-connect:127.0.0.1:TCP":       "stream,id=n1,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=TCP",
		"qemu:unix-connect:FOLDER/s":           "stream,id=n1,server=on,addr.type=unix,addr.path=FOLDER/s",
		"qemu:dgram:FOLDER/ours,FOLDER/theirs": "dgram,id=n1,local.type=unix,local.path=FOLDER/theirs,remote.type=unix,remote.path=FOLDER/ours",
	} {
		qemu := nstest.Start(t, "qemu-system-x86_64", "-machine", "none", "-display", "none", "-monitor", "none", "-serial", "none", "-nodefaults",
			"-netdev", udp, "-netdev", "hubport,id=h0,hubid=0,netdev=n0",
			"-netdev", fill.Replace(netdev), "-netdev", "hubport,id=h1,hubid=0,netdev=n1")
		run := nstest.Start(t, "tmelink", "run", "--once", write(t, "m.tme", fill.Replace(`
le0: tme/ic/am7990 attach udp:127.0.0.1:OURS,127.0.0.1:THEIRS
h0 at le0: tme/ic/am7990 inet 10.0.0.1 netmask 255.255.255.0
le1: tme/ic/am7990 attach `+attach+`
h1 at le1: tme/ic/am7990 inet 10.0.0.2 netmask 255.255.255.0
command h0 ping 10.0.0.2 count 5
`)))
		if err := run.Wait(t, time.Minute); err != nil {
			t.Errorf("%s: %v", attach, err)
		}
		if !strings.Contains(run.Output(), "bytes from 10.0.0.2: icmp_seq=") {
			t.Errorf("%s: no answer comes:\n%s\nQEMU says:\n%s", attach, run.Output(), qemu.Output())
		}
		qemu.Stop()
	}
}

// private is a folder that is this user's alone.
func private(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "run")
	if err := syscall.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	return folder
}

// expectDHCP waits for a machine that asks for an address.
func expectDHCP(t *testing.T, peer *net.UDPConn) {
	t.Helper()
	peer.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for frame := make([]byte, 2000); ; {
		n, err := peer.Read(frame)
		if err != nil {
			t.Fatalf("no machine asks for an address: %v", err)
		}
		// IPv4 without options, UDP to port 67.
		if n > 42 && frame[12] == 8 && frame[13] == 0 && frame[23] == 17 && frame[37] == 67 {
			return
		}
	}
}
