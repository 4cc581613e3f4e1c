package bpf

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestArguments(t *testing.T) {
	for _, c := range []struct{ text, fault string }{
		{"", ""},
		{"interface tap0 delay 10000 promisc rbufsz 16384", ""},
		{"interface", "test:1:1: interface wants NAME"},
		{"interface a/b", "test:1:11: interface: \"a/b\" cannot be an interface's name"},
		{"delay -1", "test:1:7: delay: \"-1\" is not a number from 0 to 1000000"},
		{"delay 2000000", "not a number from 0 to 1000000"},
		{"intreface tap0", "test:1:1: unknown option \"intreface\"; did you mean interface?"},
		{"promisc promisc", "promisc is given twice"},
		{"rbufsz 1", "not a number from 4096"},
	} {
		_, err := New(element.Env{Log: slog.New(slog.DiscardHandler)}, words(c.text))
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: %v, want %q", c.text, err, c.fault)
		}
	}
	e, _ := New(element.Env{Log: slog.New(slog.DiscardHandler)}, element.Args{})
	if _, err := e.Attach(words("slot 0")); err == nil || !strings.Contains(err.Error(), "test:1:1: unknown option") {
		t.Errorf("arguments on its side of a connection: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("close before start: %v", err)
	}
}

// begin starts an element and gives the error.
func begin(ctx context.Context, t *testing.T, text string) error {
	t.Helper()
	e, err := New(element.Env{Log: slog.New(slog.DiscardHandler)}, words(text))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.Start(ctx)
}

func TestStartFails(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	ip(t, "tuntap", "add", "dev", "tun7", "mode", "tun")
	t.Cleanup(func() { exec.Command("ip", "tuntap", "del", "dev", "tun7", "mode", "tun").Run() })
	for _, c := range []struct{ text, want string }{
		{"interface v2", `this host has no interface "v2", and none came within 5s (there are lo, `},
		{"interface v2", "; did you mean v0 or v1?"},
		{"interface tun7", `listen on interface "tun7": it carries no Ethernet frames`},
		{"", "name one with interface NAME (there are lo, "},
	} {
		if err := begin(t.Context(), t, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := begin(ctx, t, "interface v2"); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped while it waits: %v", err)
	}
}

func TestLoopbackIsEthernet(t *testing.T) {
	alone(t)
	p := listen(t, "interface lo", filterOf(machine))
	socket := start(t, "interface lo", nil)
	write(t, socket, frame(machine, other, 1), frame(ethernet.Broadcast, other, 2))
	if got := p.counts(t, 2); len(got) != 1 || got[1] != 1 {
		t.Errorf("what goes out on a loopback comes in again: %v", got)
	}
}

func TestFirstInterface(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	ip(t, "addr", "add", "192.0.2.1/32", "dev", "lo")
	t.Cleanup(func() { exec.Command("ip", "addr", "del", "192.0.2.1/32", "dev", "lo").Run() })
	ip(t, "addr", "add", "10.1.0.1/24", "dev", "v1")
	if p := start(t, "", nil); p.status() != "interface v1" {
		t.Errorf("took %s", p.status())
	}
}

// Without the privilege nobody waits for an interface first.
func TestNoPrivilege(t *testing.T) {
	alone(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, less [2]unix.CapUserData
	if err := unix.Capget(&head, &have[0]); err != nil {
		t.Fatal(err)
	}
	less = have
	less[0].Effective &^= 1 << unix.CAP_NET_RAW
	if err := unix.Capset(&head, &less[0]); err != nil {
		t.Fatal(err)
	}
	err := begin(t.Context(), t, "interface missing0")
	if err := unix.Capset(&head, &have[0]); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, errPrivilege) || !strings.Contains(err.Error(), `interface "missing0"`) {
		t.Errorf("%v", err)
	}
}

// A TAP that another machine is about to make is waited for, until it has its
// MTU and is up.
func TestInterfaceAppears(t *testing.T) {
	alone(t)
	t.Cleanup(func() { exec.Command("ip", "link", "del", "late0").Run() })
	for range 10 {
		took := make(chan time.Duration)
		go func() {
			exec.Command("ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1").Run()
			made := time.Now()
			time.Sleep(5 * lookEvery) // for the port to see it as it is now
			exec.Command("ip", "link", "set", "late0", "mtu", "1300").Run()
			exec.Command("ip", "link", "set", "late0", "up").Run()
			took <- time.Since(made)
		}()
		p := start(t, "interface late0", nil)
		if d := <-took; d > settleWait { // a busy machine: no port waits that long
			p.Close()
			ip(t, "link", "del", "late0")
			continue
		}
		if p.MaxFrame() != ethernet.FrameLen(1300) {
			t.Errorf("longest frame %d", p.MaxFrame())
		}
		return
	}
	t.Skip("skipped: the machine is too busy to set up an interface in time")
}

// While it listens the interface is promiscuous, and not afterwards.
func TestPromiscuousWhileOpen(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	promiscuity := func() string {
		out, err := exec.Command("ip", "-d", "-o", "link", "show", "v0").Output()
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(out), "promiscuity ")
		return strings.Fields(rest)[0]
	}
	p := start(t, "interface v0", filterOf(machine))
	if n := promiscuity(); n != "1" {
		t.Errorf("promiscuity %s while open", n)
	}
	p.Close()
	if n := promiscuity(); n != "0" {
		t.Errorf("promiscuity %s after close", n)
	}
}

func TestInterfaceDownAndUp(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	p, peer := listen(t, "interface v0", nil), start(t, "interface v1", nil)
	write(t, peer, frame(machine, other, 1))
	p.counts(t, 1)
	ip(t, "link", "set", "v0", "down")
	if !nstest.Eventually(wait, func() bool { return p.status() == "interface v0, which is down" }) {
		t.Fatalf("status is %q", p.status())
	}
	write(t, p.port, frame(other, machine, 2), frame(other, machine, 3))
	if n := p.Counters().Write.Count(ethernet.InterfaceDown); n != 2 {
		t.Errorf("%d frames counted as sent on an interface that is down, want 2: %v", n, drops(&p.Counters().Write))
	}
	ip(t, "link", "set", "v0", "up")
	id := uint32(3)
	if !nstest.Eventually(wait, func() bool {
		id++
		write(t, peer, frame(machine, other, id))
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.seen) > 1
	}) {
		t.Fatal("nothing arrives after the interface is up again")
	}
	if !nstest.Eventually(wait, func() bool { return p.status() == "interface v0" }) {
		t.Errorf("status is %q", p.status())
	}
	p.Close()
	<-p.done
	if log := p.log.String(); strings.Count(log, "v0 is down") != 1 || strings.Count(log, "v0 is up") != 1 {
		t.Errorf("one line an event:\n%s", log)
	}
}

// The kernel says once that the interface is down. The reader learns of it also
// when the writer ran into it first.
func TestWriterMeetsDown(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	p, peer := start(t, "interface v0", nil), start(t, "interface v1", nil)
	ip(t, "link", "set", "v0", "down")
	write(t, p, frame(other, machine, 1))
	if n := p.Counters().Write.Count(ethernet.InterfaceDown); n != 1 {
		t.Errorf("dropped %v", drops(&p.Counters().Write))
	}
	got := make(chan error)
	go func() {
		_, err := p.ReadFrames()
		got <- err
	}()
	if !nstest.Eventually(wait, func() bool { return p.status() == "interface v0, which is down" }) {
		t.Errorf("status is %q", p.status())
	}
	ip(t, "link", "set", "v0", "up")
	for end := time.After(wait); ; {
		write(t, peer, frame(machine, other, 2))
		select {
		case err := <-got:
			if err != nil {
				t.Error(err)
			}
			return
		case <-time.After(10 * time.Millisecond):
		case <-end:
			t.Fatal("nothing arrives after the interface is up")
		}
	}
}

// An interface that is down at start is taken as it is.
func TestStartedDown(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	ip(t, "link", "set", "v0", "down")
	p, peer := listen(t, "interface v0", nil), start(t, "interface v1", nil)
	ip(t, "link", "set", "v0", "up")
	if !nstest.Eventually(wait, func() bool {
		write(t, peer, frame(machine, other, 1))
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.seen[1] > 0
	}) {
		t.Fatal("nothing arrives after the interface is up")
	}
}

func TestInterfaceRemoved(t *testing.T) {
	for _, down := range []bool{false, true} {
		t.Run(map[bool]string{false: "up", true: "down"}[down], func(t *testing.T) {
			alone(t)
			veth(t, "v0", "v1")
			p := listen(t, "interface v0", nil)
			if down {
				ip(t, "link", "set", "v0", "down")
				if !nstest.Eventually(wait, func() bool { return p.status() != "interface v0" }) {
					t.Fatal("not seen to be down")
				}
			}
			ip(t, "link", "del", "v0")
			if err := p.failure(t); err == nil || errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), `interface "v0" is gone`) {
				t.Errorf("the reader ends with %v", err)
			}
			write(t, p.port, frame(other, machine, 1))
			if n := p.Counters().Write.Count(ethernet.InterfaceDown); n != 1 {
				t.Errorf("dropped %v", drops(&p.Counters().Write))
			}
		})
	}
}

func TestCloseWakesReader(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	for _, text := range []string{"interface v0", "interface v0 delay 1000000"} {
		p, peer := listen(t, text, nil), start(t, "interface v1", nil)
		write(t, peer, frame(machine, other, 1)) // with a delay, it is being held
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Error(err)
		}
		if err := p.failure(t); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the reader ends with %v", text, err)
		}
		if err := p.WriteFrames([]ethernet.Frame{{Data: frame(other, machine, 2)}}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after Close: %v", err)
		}
	}
}

func TestOversizeToSend(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	p, peer := start(t, "interface v0", nil), listen(t, "interface v1", nil)
	long := append(frame(ethernet.Broadcast, machine, 1), make([]byte, 2000)...)
	write(t, p, long, frame(ethernet.Broadcast, machine, 2))
	if got := peer.counts(t, 2); len(got) != 0 {
		t.Errorf("arrived: %v", got)
	}
	if n := p.Counters().Write.Count(ethernet.Oversize); n != 1 {
		t.Errorf("dropped %v", drops(&p.Counters().Write))
	}
}

// What the kernel drops because nobody reads is counted.
func TestKernelDrops(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	p, peer := start(t, "interface v0 rbufsz 4096", nil), start(t, "interface v1", nil)
	const sent = 500
	for i := range uint32(sent) {
		write(t, peer, frame(machine, other, i))
	}
	if !nstest.Eventually(wait, func() bool { return p.Counters().Read.Count(ethernet.KernelDrop) > 0 }) {
		t.Fatal("no drop counted")
	}
	got := uint64(0)
	for got+p.Counters().Read.Count(ethernet.KernelDrop) < sent {
		frames, err := p.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		got += uint64(len(frames))
	}
	if dropped := p.Counters().Read.Count(ethernet.KernelDrop); got+dropped != sent {
		t.Errorf("%d frames read and %d dropped of %d sent", got, dropped, sent)
	}
}

// No frame is handed over sooner than the delay after it was sent.
func TestDelay(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	p, peer := start(t, "interface v0 delay 60000", nil), start(t, "interface v1", nil)
	for i := range uint32(3) {
		sent := time.Now()
		write(t, peer, frame(machine, other, i))
		if _, err := p.ReadFrames(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(sent); d < 60*time.Millisecond {
			t.Errorf("frame %d came after %v", i, d)
		}
	}
}
