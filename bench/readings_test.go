package main

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParseIperf(t *testing.T) {
	got, err := parseIperf(read(t, "testdata/iperf3-tcp.json"))
	want := stream{bitsPerSecond: 837050732.663039, bytes: 103022592 + 102236160 + 107479040, retransmits: 21197}
	if err != nil || got != want {
		t.Errorf("TCP: got %+v, %v; want %+v", got, err, want)
	}
	got, err = parseIperf(read(t, "testdata/iperf3-udp.json"))
	if err != nil || got.bitsPerSecond != 18406507.984812841 {
		t.Errorf("UDP: got %+v, %v; the sender's rate is not the receiver's", got, err)
	}
	for _, c := range []struct{ name, text, fault string }{
		{"an error of its own", `{"start":{},"intervals":[],"end":{},"error":"error - unable to connect to server: Connection refused"}`, "Connection refused"},
		{"nothing received", `{"start":{},"intervals":[],"end":{}}`, "nothing received"},
		{"no JSON", "iperf3: parameter error", "no JSON"},
		{"nothing", "", "no JSON"},
	} {
		if _, err := parseIperf(c.text); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.fault)
		}
	}
}

func TestParsePing(t *testing.T) {
	got, err := parsePing(`PING 10.98.0.2 (10.98.0.2) 56(84) bytes of data.
64 bytes from 10.98.0.2: icmp_seq=1 ttl=64 time=0.495 ms
64 bytes from 10.98.0.2: icmp_seq=2 ttl=64 time=0.078 ms
64 bytes from 10.98.0.2: icmp_seq=2 ttl=64 time=0.080 ms (DUP!)
64 bytes from 10.98.0.2: icmp_seq=3 ttl=64 time=12 ms

--- 10.98.0.2 ping statistics ---
3 packets transmitted, 3 received, +1 duplicates, 0% packet loss, time 1020ms
rtt min/avg/max/mdev = 0.078/3.1/12/0.133 ms
`)
	if want := []float64{0.495, 0.078, 0.080, 12}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, text := range []string{"", "1 packets transmitted, 0 received, 100% packet loss, time 0ms\n", "icmp_seq=1 time=fast ms"} {
		if got, err := parsePing(text); err == nil {
			t.Errorf("%q: got %v and no error", text, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	line := "8130 (tme) (link) S 1 8130 8130 0 -1 4194560 2011 0 0 0 321 1254 0 0 20 0 6 0 12345 1 2 18446744073709551615\n"
	if got, err := parseStat(line); err != nil || got != 15.75 {
		t.Errorf("got %v, %v; want 15.75", got, err)
	}
	for _, text := range []string{"", "8130 (x) S 1 2", "8130 (x) S 1 2 3 4 5 6 7 8 9 10 a b 13 14"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestParseUsage(t *testing.T) {
	used, all, err := parseUsage("cpu  76342 420 45342 263019 535 0 6541 56 7 8")
	if err != nil || used != 76342+420+45342+6541+56 || all != used+263019+535 {
		t.Errorf("got %v, %v, %v", used, all, err)
	}
	for _, text := range []string{"", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 x 4 5 6 7 8"} {
		if _, _, err := parseUsage(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestParseMicro(t *testing.T) {
	got := parseMicro(`goos: linux
pkg: tmelink/internal/ethernet
cpu: AMD EPYC
BenchmarkSegment/super-frame-2   	  235690	      5123 ns/op	12800.50 MB/s	       0 B/op	       0 allocs/op
BenchmarkChecksum     	86432	 12.5 ns/op	 3 frames/op	      16 B/op	       1 allocs/op
PASS
ok  	tmelink/internal/ethernet	2.531s
BenchmarkOfNothing
pkg: tmelink/internal/openvpn
BenchmarkPing-2 	 100 	 7 ns/op
`)
	want := []Micro{
		{Package: "tmelink/internal/ethernet", Name: "Segment/super-frame", Ns: 5123, MBs: 12800.5},
		{Package: "tmelink/internal/ethernet", Name: "Checksum", Ns: 12.5, Bytes: 16, Allocs: 1},
		{Package: "tmelink/internal/openvpn", Name: "Ping", Ns: 7},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParsePerf(t *testing.T) {
	p := parsePerf(`# To display the perf.data header info, please use --header/--header-only options.
#
#     Samples|Command        |Shared Object      |Symbol
          30 |tmelink        |[kernel.kallsyms]  |[k] _copy_to_iter
          20 |iperf3         |[kernel.kallsyms]  |[k] _copy_to_iter
          10 |tmelink2       |tmelink2           |[.] tmelink/internal/ethernet.(*Segmenter).Next
           5 |tmelink2       |tmelink2           |[.] runtime.findRunnable
           5 |iperf3         |libc.so.6          |[.] read
          20 |swapper        |[kernel.kallsyms]  |[k] pv_native_safe_halt
           4 |swapper        |[kernel.kallsyms]  |[k] handle_softirqs
           3 |iperf3         |[kernel.kallsyms]  |[k] tcp_ack
           2 |tmelink2       |[kernel.kallsyms]  |[k] csum_partial
           1 |perf           |perf               |[.] main
`, "/tmp/x/tmelink2")
	want := map[string]float64{copies: 50, checksums: 2, scheduling: 4, otherKern: 3, goSegments: 10, otherGo: 5, measuring: 5, elsewhere: 1, idle: 20}
	got := map[string]float64{}
	for _, g := range p.Groups {
		got[g.Group] = g.Percent
	}
	if p.Samples != 100 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d samples, groups %v; want %v", p.Samples, got, want)
	}
	if first := p.Functions[0]; first != (Function{"_copy_to_iter", "kernel", copies, 50}) {
		t.Errorf("the first function is %+v", first)
	}
	if third := p.Functions[2]; third.Where != "tmelink" || third.Group != goSegments {
		t.Errorf("the third function is %+v", third)
	}
}

func TestGroupOf(t *testing.T) {
	for name, want := range map[string]string{
		"crypto/internal/fips140/aes/gcm.gcmAesEnc":                 goSeals,
		"golang.org/x/crypto/chacha20poly1305.chacha20Poly1305Open": goSeals,
		"tmelink/internal/openvpn/datachannel.(*Sealer).Seal":       goSeals,
		"tmelink/internal/openvpn.(*Session).sealFrames":            otherGo,
		"tmelink/internal/ethernet.(*Coalescer).Join":               goSegments,
	} {
		if got := groupOf("tmelink", "tmelink", name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"_copy_from_iter": copies, "__memcpy": copies, "skb_copy_bits": copies, "rep_movs_alternative": copies,
		"csum_partial_copy_generic": checksums, "__skb_checksum": checksums,
		"_raw_spin_unlock_irqrestore": scheduling, "try_to_wake_up": scheduling, "ep_poll_callback": scheduling, "do_sched_yield": scheduling,
		"pv_native_safe_halt": idle, "default_idle": idle, "cpuidle_enter_state": idle, "do_idle": idle,
		"veth_xmit": otherKern, "tcp_v4_rcv": otherKern, "skb_segment": otherKern, "do_syscall_64": otherKern,
	} {
		if got := groupOf("tmelink", "[kernel.kallsyms]", name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
