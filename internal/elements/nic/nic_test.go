package nic

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// words makes an argument list of a line; what stands in it at column n is n
// characters into it.
func words(line string) element.Args {
	args := element.Args{Pos: tmesh.Pos{File: "t.tme", Line: 1, Column: 1}}
	at := 0
	for _, w := range strings.Fields(line) {
		at += strings.Index(line[at:], w)
		args.Words = append(args.Words, tmesh.Word{Text: w, Pos: tmesh.Pos{File: "t.tme", Line: 1, Column: at + 1}})
		at += len(w)
	}
	return args
}

// build makes an interface that is closed when the test ends.
func build(t testing.TB, path, name, line string) *Interface {
	t.Helper()
	typ, ok := element.Lookup(path)
	if !ok {
		t.Fatalf("no type %s", path)
	}
	e, err := typ.New(element.Env{Machine: "m", Name: name, Log: slog.New(slog.DiscardHandler)}, words(line))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e.(*Interface)
}

// pair is two started interfaces joined by a connection. When the test ends, no
// goroutine of theirs may be left.
func pair(t testing.TB, lineA, lineB string) (a, b *Interface) {
	t.Helper()
	return pairAfter(t, lineA, lineB, func(*Interface) {})
}

// pairAfter is a pair of which the first has something done to it before it starts.
func pairAfter(t testing.TB, lineA, lineB string, do func(a *Interface)) (a, b *Interface) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	var pumps sync.WaitGroup
	t.Cleanup(pumps.Wait)
	a, b = build(t, "tme/ic/am7990", "le0", lineA), build(t, "nme/ic/i82586", "ie0", lineB)
	do(a)
	ports := map[*Interface]ethernet.Port{}
	for _, i := range []*Interface{a, b} {
		p, err := i.Attach(element.Args{})
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		ports[i] = p
	}
	for _, way := range [][2]ethernet.Port{{ports[a], ports[b]}, {ports[b], ports[a]}} {
		pumps.Go(func() {
			var finisher ethernet.Segmenter
			for {
				frames, err := way[0].ReadFrames()
				if err != nil {
					return
				}
				frames = finisher.Finish(frames, way[1].Offloads(), way[1].MaxFrame(), &way[1].Counters().Write)
				if way[1].WriteFrames(frames) != nil {
					return
				}
			}
		})
	}
	return a, b
}

// within gives a context that ends well after anything that should happen.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// command prepares a command and carries it out.
func command(t testing.TB, i *Interface, line string) (string, error) {
	t.Helper()
	run, err := i.Prepare(words(line))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = run(within(t), &out)
	return out.String(), err
}

func TestTypes(t *testing.T) {
	for _, path := range []string{"tme/ic/am7990", "nme/ic/i82586", "tme/bus/multibus/3c400"} {
		typ, ok := element.Lookup(path)
		if !ok {
			t.Fatalf("no type %s", path)
		}
		if typ.MaxConnections != 1 || !typ.Unplugged || !strings.Contains(typ.Example, typ.Path+" ") {
			t.Errorf("%+v", typ)
		}
		hasEther := false
		for _, o := range append(typ.Options, typ.Commands...) {
			hasEther = hasEther || o.Name == "ether"
			if o.Doc == "" {
				t.Errorf("%s: %s is not explained", path, o.Name)
			}
		}
		if hasEther != strings.HasSuffix(path, "3c400") {
			t.Errorf("%s: ether is known: %v", path, hasEther)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"inet 10.0.0.300", `1:6: inet: "10.0.0.300" is not an IPv4 address`},
		{"inet 224.0.0.1", "1:6: inet: 224.0.0.1 is not the address of one station"},
		{"inet 127.0.0.1", "1:6: inet: 127.0.0.1 is not"},
		{"inet 255.255.255.255", "1:6: inet: 255.255.255.255 is not"},
		{"inet 10.0.0.0", "1:6: inet: 10.0.0.0 is the first or last address of its network 10.0.0.0/8"},
		{"inet 10.0.0.255 netmask 255.255.255.0", "1:6: inet: 10.0.0.255 is the first or last"},
		{"inet 10.0.0.1 netmask 255.0.255.0", `1:23: netmask: "255.0.255.0" is not a netmask`},
		{"inet 10.0.0.1 netmask 0.0.0.0", "1:23: netmask: a netmask of no ones"},
		{"netmask 255.0.0.0", "1:9: netmask: it needs inet"},
		{"gateway 10.0.0.1", "1:9: gateway: it needs inet"},
		{"gateway6 fe80::1", "1:10: gateway6: it needs inet6"},
		{"dns 10.0.0.1 mtu 1500", "1:5: dns: it needs inet or inet6"},
		{"dns 10.0.0.1 mtu 1500", "1:18: mtu: it needs inet or inet6"},
		{"inet 10.0.0.1 gateway 11.0.0.1", "1:23: gateway: 11.0.0.1 is not in the network 10.0.0.0/8"},
		{"inet 10.0.0.1 gateway 10.0.0.1", "1:23: gateway: 10.0.0.1 is the interface's own address"},
		{"inet6 fd00::1", `1:7: inet6: "fd00::1" is not an IPv6 address with its prefix length`},
		{"inet6 fe80::1/64", "1:7: inet6: the link-local address comes by itself"},
		{"inet6 ff02::1/64", "1:7: inet6: ff02::1 is not the address of one station"},
		{"inet6 fd00::1/0", "1:7: inet6: a prefix of length 0"},
		{"inet6 fd00::1/64 gateway6 fd01::1", "1:27: gateway6: fd01::1 is not in the network fd00::/64"},
		{"inet6 fd00::1/64 gateway6 fd00::1", "1:27: gateway6: fd00::1 is the interface's own"},
		{"inet6 fd00::1/64 gateway6 10.0.0.1", `1:27: gateway6: "10.0.0.1" is not an IPv6 address`},
		{"hwaddr 01:00:00:00:00:00", "1:8: hwaddr: 01:00:00:00:00:00 is not the hardware address of one station"},
		{"ether 02:00:00:00:00:01 hwaddr 02:00:00:00:00:02", "1:32: hwaddr: the hardware address is given already"},
		{"inet 10.0.0.1 mtu 1279", `1:19: mtu: "1279" is not a number from 1280`},
		{"inet 10.0.0.1 promiscuous", `1:15: unknown option "promiscuous"`},
		{"slot 0", `1:1: unknown option "slot"`},
		{"inet 1 mtu 1", "1:12: mtu"},
	} {
		typ, _ := element.Lookup("tme/bus/multibus/3c400")
		_, err := typ.New(element.Env{Log: slog.New(slog.DiscardHandler)}, words(tt.line))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.line, err, tt.want)
		}
	}
}

func TestCommandFaults(t *testing.T) {
	plugged := build(t, "tme/ic/am7990", "le0", "inet6 fd00::1/64")
	for _, tt := range []struct{ line, want string }{
		{"", "1:1: command le0 wants one of [ping get arp]"},
		{"pang", `1:1: unknown command "pang"`},
		{"pang", "ping"},
		{"arp now", `1:5: unknown option "now"`},
		{"ping", "1:1: ping wants ADDR|NAME"},
		{"ping 10.0.0.1", "1:6: ping: le0 has no IPv4 address"},
		{"ping ::ffff:10.0.0.1", "1:6: ping: le0 has no IPv4 address"},
		{"ping ::1", "1:6: ping: ::1 is no address of a station on the wire"},
		{"ping ::", "1:6: ping: :: is no address of a station on the wire"},
		{"get http://127.0.0.1/", "1:5: get: 127.0.0.1 is no address of a station on the wire"},
		{"get http://10.0.0.1/", "1:5: get: le0 has no IPv4 address"},
		{"ping www.example", `1:6: ping: "www.example" is not an IP address`},
		{"ping fd00::2 count 0", `1:20: count: "0" is not a number from 1`},
		{"ping fd00::2 interval 0", "1:23: interval"},
		{"ping fd00::2 interval NaN", "1:23: interval"},
		{"ping fd00::2 size 65508", "1:19: size"},
		{"ping fd00::2 timeout 1e9", "1:22: timeout"},
		{"ping fd00::2 fd00::3", `1:14: unknown option "fd00::3"`},
		{"get", "1:1: get wants URL"},
		{"get https://[fd00::2]/", "1:5: get: \"https://[fd00::2]/\" is not a URL such as"},
		{"get http://", "is not a URL such as"},
		{"get http://www.example/", `1:5: get: "www.example" is not an IP address`},
		{"get http://[fd00::2]/ timeout x", "1:31: timeout"},
	} {
		if _, err := plugged.Prepare(words(tt.line)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.line, err, tt.want)
		}
	}
	for _, line := range []string{"ping www.example count 2", "get http://www.example:8080/x sum"} {
		named := build(t, "tme/ic/am7990", "le0", "inet 10.0.0.1 dns 10.0.0.2 dns 10.0.0.3")
		if _, err := named.Prepare(words(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	only4 := build(t, "tme/ic/am7990", "le0", "inet 169.254.0.1")
	if _, err := only4.Prepare(words("ping fd00::2")); err == nil || !strings.Contains(err.Error(), "le0 has no IPv6 address but a link-local one") {
		t.Errorf("a command to a family that the host has not: %v", err)
	}
	for _, line := range []string{"ping fe80::1", "ping ff02::1", "ping 169.254.0.2", "get http://169.254.0.2/"} {
		if _, err := only4.Prepare(words(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	unplugged := build(t, "tme/ic/am7990", "le1", "hwaddr 8:0:20:1:2:3")
	if _, err := unplugged.Prepare(words("arp")); err == nil || !strings.Contains(err.Error(), "le1 has no built-in host") {
		t.Errorf("a command without a host: %v", err)
	}
}

func TestHardwareAddr(t *testing.T) {
	seen := map[ethernet.Addr]string{}
	for _, line := range []string{"", "inet 10.0.0.1", "inet 10.0.0.2", "inet6 fd00::1/64"} {
		for _, name := range []string{"le0", "le1"} {
			a := build(t, "tme/ic/am7990", name, line).host.HardwareAddr()
			if again := build(t, "tme/ic/am7990", name, line).host.HardwareAddr(); again != a {
				t.Errorf("%s %s: %s, then %s", name, line, a, again)
			}
			if a.IsGroup() || a[0]&2 == 0 {
				t.Errorf("%s is not locally administered", a)
			}
			if other := seen[a]; other != "" {
				t.Errorf("%s %s has the address of %s", name, line, other)
			}
			seen[a] = name + " " + line
		}
	}
	ec := build(t, "tme/bus/multibus/3c400", "ec0", "ether 02:60:8c:00:00:01")
	if got := ec.host.HardwareAddr(); got != (ethernet.Addr{2, 0x60, 0x8c, 0, 0, 1}) {
		t.Errorf("ether gave %s", got)
	}
}

func TestUnplugged(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var log bytes.Buffer
	typ, _ := element.Lookup("tme/ic/am7990")
	e, err := typ.New(element.Env{Name: "le0", Log: slog.New(slog.NewTextHandler(&log, nil))}, element.Args{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Attach(element.Args{})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(t.TempDir(), "none")) // so that it cannot wait for an emulator either
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "nothing is plugged in, and no emulator can be") {
		t.Errorf("the log says %q", log.String())
	}
	if got := e.(element.Reporter).Status(); got != "nothing is plugged in" {
		t.Errorf("status %q", got)
	}
	if err := p.WriteFrames(make([]ethernet.Frame, 3)); err != nil || p.Counters().Write.Count(ethernet.Disconnected) != 3 {
		t.Errorf("%v, %d of 3 frames counted", err, p.Counters().Write.Count(ethernet.Disconnected))
	}
	ended := make(chan error)
	go func() {
		_, err := p.ReadFrames()
		ended <- err
	}()
	e.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a frame came from nowhere")
		}
	case <-within(t).Done():
		t.Fatal("Close leaves the reader waiting")
	}
}

func TestAttachTakesNoWords(t *testing.T) {
	i := build(t, "tme/ic/am7990", "le0", "")
	if _, err := i.Attach(words("slot 0")); err == nil || !strings.Contains(err.Error(), `1:1: unknown option "slot"`) {
		t.Errorf("%v", err)
	}
}

func TestStatus(t *testing.T) {
	a, b := pair(t, "inet 10.0.0.1 netmask 255.255.255.0 hwaddr 02:00:00:00:00:01", "inet 10.0.0.2 netmask 255.255.255.0")
	if out, err := command(t, a, "ping 10.0.0.2 count 1"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, want := a.Status(), "10.0.0.1/24 fe80::ff:fe00:1/64 at 02:00:00:00:00:01, neighbours 1"; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	out, err := command(t, a, "arp")
	if want := fmt.Sprintf("? (10.0.0.2) at %s [ether] on le0\n", b.host.HardwareAddr()); err != nil || out != want {
		t.Errorf("arp (%v):\n%swant %s", err, out, want)
	}
}
