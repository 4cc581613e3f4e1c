// Package nstest gives tests hosts of their own: network namespaces with
// interfaces between them, programs that run inside, and nothing left behind.
//
// A test that needs a kernel's network alone puts its whole test binary into a
// fresh namespace with Main; one that needs several hosts makes them with New
// and starts programs in them with Host.Command.
package nstest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Supported says why namespaces cannot be made here, or "" where they can.
func Supported() string {
	switch {
	case runtime.GOOS != "linux":
		return "network namespaces are Linux's"
	case os.Geteuid() != 0:
		return "network namespaces need root"
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return "ip (Debian: iproute2) is missing"
	}
	return ""
}

// Need skips the test where namespaces or one of the programs are missing. The
// programs' absence is an error where TMELINK_PEERS=must is set, as `make test`
// does after it has installed them.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	if why := Supported(); why != "" {
		t.Skipf("skipped: %s", why)
	}
	NeedPrograms(t, programs...)
}

// NeedPrograms is Need for a test that needs no namespace.
func NeedPrograms(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("TMELINK_PEERS") == "must" {
			t.Fatalf("%s is missing: `make peers` installs it", p)
		}
		t.Skipf("skipped: %s is missing: `make peers` installs it", p)
	}
}

// Host is a network namespace.
type Host struct {
	Name string // of the namespace, unique on this machine
	t    testing.TB
}

var made atomic.Int64

// New makes a namespace, its loopback up, removed when the test ends.
func New(t testing.TB, name string) *Host {
	t.Helper()
	Need(t)
	h := &Host{Name: fmt.Sprintf("tml%d-%d-%s", os.Getpid(), made.Add(1), name), t: t}
	must(t, "ip", "netns", "add", h.Name)
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", h.Name).CombinedOutput(); err != nil {
			t.Errorf("ip netns del %s: %v: %s", h.Name, err, out)
		}
	})
	h.IP("link", "set", "lo", "up")
	return h
}

// Cable joins two hosts with a veth pair whose ends have the names and
// addresses given ("10.0.0.1/24"; "" for none), both up.
func Cable(t testing.TB, a *Host, nameA, addrA string, b *Host, nameB, addrB string) {
	t.Helper()
	must(t, "ip", "link", "add", nameA, "netns", a.Name, "type", "veth", "peer", "name", nameB, "netns", b.Name)
	for _, end := range []struct {
		h          *Host
		name, addr string
	}{{a, nameA, addrA}, {b, nameB, addrB}} {
		if end.addr != "" {
			end.h.IP("addr", "add", end.addr, "dev", end.name)
		}
		end.h.IP("link", "set", end.name, "up")
	}
}

// IP runs `ip` in the host and fails the test if that fails.
func (h *Host) IP(args ...string) string {
	h.t.Helper()
	return must(h.t, "ip", append([]string{"-n", h.Name}, args...)...)
}

// Run runs a program in the host, at most 30 s, and fails the test if it fails.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.Try(name, args...)
	if err != nil {
		h.t.Fatalf("%s: %s %s: %v\n%s", h.Name, name, strings.Join(args, " "), err, out)
	}
	return out
}

// Try runs a program in the host, at most 30 s.
func (h *Host) Try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.Name, name}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Process is a program that runs in the background of a test.
type Process struct {
	Cmd  *exec.Cmd
	out  *Buffer
	done chan struct{}
	err  error
}

// Start starts a program in the host. It gets SIGTERM when the test ends, and
// SIGKILL 10 s later.
func (h *Host) Start(name string, args ...string) *Process {
	h.t.Helper()
	return Start(h.t, "ip", append([]string{"netns", "exec", h.Name, name}, args...)...)
}

// Start is Host.Start for the namespace that the test runs in.
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := &Process{Cmd: exec.Command(name, args...), out: &Buffer{}, done: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = p.out, p.out
	p.Cmd.SysProcAttr = endWithParent()
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.Cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s %s said:\n%s", name, strings.Join(args, " "), p.Output())
		}
	})
	return p
}

// Output is what the program has written until now.
func (p *Process) Output() string { return p.out.String() }

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) { p.Cmd.Process.Signal(s) }

// Stop ends the program with SIGTERM, after 10 s with SIGKILL, and gives its
// exit error.
func (p *Process) Stop() error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.Cmd.Process.Kill()
		<-p.done
	}
	return p.err
}

// Wait waits until the program ends by itself, at most d, and gives its exit error.
func (p *Process) Wait(t testing.TB, d time.Duration) error {
	t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(d):
		t.Fatalf("still running after %v; it said:\n%s", d, p.Output())
		return nil
	}
}

// Expect waits until the program's output contains text, at most d.
func (p *Process) Expect(t testing.TB, text string, d time.Duration) {
	t.Helper()
	p.ExpectN(t, text, 1, d)
}

// ExpectN waits until the program's output contains text n times, at most d.
func (p *Process) ExpectN(t testing.TB, text string, n int, d time.Duration) {
	t.Helper()
	ok := Eventually(d, func() bool { return strings.Count(p.Output(), text) >= n })
	if !ok {
		t.Fatalf("%q did not come %d times within %v; the output was:\n%s", text, n, d, p.Output())
	}
}

// Eventually asks until the answer is yes, or d has passed.
func Eventually(d time.Duration, ask func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ask() {
			return true
		}
	}
	return ask()
}

func must(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Buffer is a text that one goroutine writes while another reads it, such as a
// log. The zero Buffer is empty.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is what was written until now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
