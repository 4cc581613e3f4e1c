package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestSIMH puts a PDP-11 of SIMH, whose Debian build has Ethernet by libpcap alone, on an
// interface of its namespace: its first frame, a probe for its own address, reaches what
// else is on the switch, and does not come back, which it would take for another station
// with its address.
func TestSIMH(t *testing.T) {
	nstest.Need(t, "pdp11", "tcpdump")
	t.Parallel()
	sim := nstest.New(t, "sim")
	capture := filepath.Join(t.TempDir(), "sim.pcap")
	ours := nstest.Start(t, "tmelink", "run", write(t, "sim.tme", fmt.Sprintf("sw0: tme/generic/switch\n"+
		"net0 at sw0: tme/host/netns %s interface xq0\n"+
		"cap0 at sw0: tme/host/pcap/file write %s\n", sim.Name, capture)))
	ours.Expect(t, "up after", 30*time.Second)
	commands := write(t, "sim.ini", "set xq enabled\nattach xq xq0\nshow xq\nquit\n")
	out := sim.Run("pdp11", commands)
	if !strings.Contains(out, "MAC=08:00:2B:AA:BB:CC") || !strings.Contains(out, "attached to xq0") || strings.Contains(strings.ToLower(out), "conflict") {
		t.Errorf("SIMH says:\n%s", out)
	}
	const probe = "08:00:2b:aa:bb:cc > 08:00:2b:aa:bb:cc, ethertype Loopback (0x9000)"
	if !nstest.Eventually(20*time.Second, func() bool {
		seen, _ := sim.Try("tcpdump", "-r", capture, "-e", "-n")
		return strings.Contains(seen, probe)
	}) {
		t.Errorf("SIMH's probe has not come:\n%s", ours.Output())
	}
	if err := ours.Stop(); err != nil {
		t.Errorf("tmelink: %v\n%s", err, ours.Output())
	}
}
