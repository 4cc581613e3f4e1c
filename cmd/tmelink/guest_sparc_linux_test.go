package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// askRARP is a program in Forth for the SPARCstation's firmware, which has no driver of
// its own for the network: it asks by RARP (RFC 903) through the machine's Am7990 and
// says what the answer is. What is shared with the Am7990 is a page of memory, in it
// its initialization block at 0 (here and below in hexadecimal), the descriptor of
// the received frame at 40 and of the sent one at 50, the sent frame at 100 and the
// received one at 800.
const askRARP = `hex
0 value sbus  0 value page  0 value shared  0 value am7990  0 value ledma
" /iommu/sbus" open-dev to sbus
: call sbus $call-method ;
1000 " dma-alloc" call to page  page 1000 0 fill
page 1000 0 " dma-map-in" call to shared
8c00000 5 4 " map-in" call to am7990
8400010 5 10 " map-in" call to ledma
shared ff000000 and ledma c + l!

: put page + w! ;
: low shared + ffff and ;
: high shared + 10 rshift ff and ;
: csr! am7990 2 + w! am7990 w! ;

0008 2 put  0120 4 put  0302 6 put
40 low 10 put  40 high 12 put
50 low 14 put  50 high 16 put
800 low 40 put  800 high 8000 or 42 put  fa00 44 put
100 low 50 put  100 high 8300 or 52 put  ffc4 54 put

: me 0800 over put 2001 over 2 + put 0203 swap 4 + put ;
ffff 100 put  ffff 102 put  ffff 104 put  106 me  8035 10c put
1 10e put  800 110 put  604 112 put  3 114 put  116 me  120 me

4 0 csr!  4 3 csr!  0 low 1 csr!  0 high 2 csr!
1 0 csr!  a 0 csr!
: wait begin page 42 + w@ 8000 and 0= until ;
wait
decimal
: tell page + swap 0 do dup i + c@ . loop drop ;
." <rarp " 2 hex 814 decimal tell ." server " 4 hex 81c decimal tell ." own " 4 hex 826 decimal tell ." >"
`

// TestSPARCstationAsksRARP has the Am7990 in QEMU's SPARCstation ask the gateway for
// its address as a real one's boot PROM does. The firmware of QEMU, OpenBIOS, does
// not: in its version of QEMU 7.2 "boot net" sends no frame.
func TestSPARCstationAsksRARP(t *testing.T) {
	nstest.Need(t, "qemu-system-sparc")
	host := nstest.New(t, "host")
	socket := filepath.Join(t.TempDir(), "s")
	ours := runs(t, host, "nat0: tme/host/nat inet 10.0.77.1/24 lease 08:00:20:01:02:03=10.0.77.5\n"+
		"q0 at nat0: tme/host/qemu/stream listen "+socket+"\n")
	ours.Expect(t, "up after", 20*time.Second)
	program := strings.Join(strings.Fields(askRARP), " ")
	guest := host.Start("qemu-system-sparc", append(append(qemuArgs[:len(qemuArgs):len(qemuArgs)], streamBackend(socket)...),
		"-M", "SS-5", "-m", "64", "-net", "nic,model=lance,netdev=n0,macaddr=08:00:20:01:02:03",
		"-prom-env", "auto-boot?=true", "-prom-env", "boot-command="+program)...)
	if got, want := strings.Join(reported(t, guest, "rarp", 1), " "), "0 4 server 10 0 77 1 own 10 0 77 5"; got != want {
		t.Errorf("the answer is %q, want %q", got, want)
	}
	endsWell(t, []*nstest.Process{ours}, "disconnected")
}
