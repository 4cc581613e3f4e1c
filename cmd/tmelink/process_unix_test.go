//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// write makes a description in a folder of the test's.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPortTaken runs a link whose port another program has.
func TestPortTaken(t *testing.T) {
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_, udpPort, _ := net.SplitHostPort(udp.LocalAddr().String())
	_, tcpPort, _ := net.SplitHostPort(tcp.Addr().String())
	for _, link := range []string{"--lport " + udpPort, "--lport " + tcpPort + " --proto tcp-server"} {
		p := nstest.Start(t, "tmelink", "run", write(t, "m.tme", "link0: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 "+link+"\n"))
		err := p.Wait(t, 20*time.Second)
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 {
			t.Errorf("%s: %v, want exit code 1", link, err)
		}
		if want := regexp.MustCompile(`m.tme:1:1: link0: .*127\.0\.0\.1.*in use`); !want.MatchString(p.Output()) {
			t.Errorf("%s: the output does not match %v:\n%s", link, want, p.Output())
		}
	}
}

// TestStatusOnSignal has a run print its counters.
func TestStatusOnSignal(t *testing.T) {
	text := "sw0: tme/generic/switch\n" +
		"le0 at sw0: tme/ic/am7990 inet 10.0.0.1 netmask 255.255.255.0\n" +
		"le1 at sw0: tme/ic/am7990 inet 10.0.0.2 netmask 255.255.255.0\n" +
		"command le0 ping 10.0.0.2 count 3 interval 0.1\n"
	p := nstest.Start(t, "tmelink", "run", write(t, "m.tme", text))
	p.Expect(t, "all commands have succeeded", 20*time.Second)
	p.Signal(syscall.SIGUSR2)
	p.Expect(t, "tmelink status", 10*time.Second)
	line := regexp.MustCompile(`(?m)^  le0 -> sw0  +frames (\d+)  +bytes (\d+)  +dropped 0`)
	if !nstest.Eventually(10*time.Second, func() bool { return line.MatchString(p.Output()) }) {
		t.Fatalf("no line like %v in:\n%s", line, p.Output())
	}
	var frames, bytes int
	m := line.FindStringSubmatch(p.Output())
	fmt.Sscan(m[1]+" "+m[2], &frames, &bytes)
	if frames < 4 || bytes < 3*98+42 { // an ARP request and three echoes at the least
		t.Errorf("%d frames of %d bytes, want at least 4 of 336", frames, bytes)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
}

// TestMainJobAsOrdinaryUser runs the README's first command as nobody.
func TestMainJobAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: becoming another user needs root; TestScript/run_once is the same job as this one")
	}
	dir, err := os.MkdirTemp("", "tmelink")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("tmelink")
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, program, filepath.Join(dir, "tmelink"), 0o755)
	for _, name := range []string{"a.tme", "b.tme"} {
		copyFile(t, filepath.Join("../../examples/two-machines", name), filepath.Join(dir, name), 0o644)
	}
	cmd := exec.Command(filepath.Join(dir, "tmelink"), "run", "--once", "a.tme", "b.tme")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}} // nobody
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	answered(t, "a", string(out), "10.0.77.2")
	if !strings.Contains(string(out), "b: all commands have succeeded") {
		t.Errorf("machine b did not succeed:\n%s", out)
	}
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, mode); err != nil {
		t.Fatal(err)
	}
}

// twoOnASwitch is a machine that pings itself and goes on.
const twoOnASwitch = "sw0: tme/generic/switch\n" +
	"le0 at sw0: tme/ic/am7990 inet 10.0.0.1 netmask 255.255.255.0\n" +
	"le1 at sw0: tme/ic/am7990 inet 10.0.0.2 netmask 255.255.255.0\n" +
	"command le0 ping 10.0.0.2 count 1\n"

// bounded ends a program that does not end by itself.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestHangup: a terminal that is closed ends a run as SIGTERM does, but not one
// under nohup.
func TestHangup(t *testing.T) {
	file := write(t, "m.tme", twoOnASwitch)
	p := nstest.Start(t, "tmelink", "run", file)
	p.Expect(t, "all commands have succeeded", 20*time.Second)
	p.Signal(syscall.SIGHUP)
	if err := p.Wait(t, 10*time.Second); err != nil || !strings.Contains(p.Output(), "hangup: ending") {
		t.Errorf("ended by SIGHUP: %v:\n%s", err, p.Output())
	}

	p = nstest.Start(t, "sh", "-c", `trap "" HUP; exec tmelink run "$0"`, file)
	p.Expect(t, "all commands have succeeded", 20*time.Second)
	p.Signal(syscall.SIGHUP)
	p.Signal(syscall.SIGUSR2)
	p.Expect(t, "tmelink status", 10*time.Second)
	if err := p.Stop(); err != nil || !strings.Contains(p.Output(), "terminated: ending") {
		t.Errorf("under nohup, ended by SIGTERM: %v:\n%s", err, p.Output())
	}
}

// TestReaderGoesAway: `tmelink run … | head -1` must still come to its undoing.
func TestReaderGoesAway(t *testing.T) {
	read, printed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	read.Close()
	var progress strings.Builder
	cmd := exec.CommandContext(bounded(t), "tmelink", "run", "--once", write(t, "m.tme", twoOnASwitch))
	cmd.Stdout, cmd.Stderr = printed, &progress
	err = cmd.Run()
	printed.Close()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || !strings.Contains(progress.String(), "write what the commands print") {
		t.Errorf("%v, want exit code 1:\n%s", err, &progress)
	}
}

// TestJSON: with --log-json a program can read every line of standard error.
func TestJSON(t *testing.T) {
	var events strings.Builder
	cmd := exec.CommandContext(bounded(t), "tmelink", "run", "--once", "--log-json", write(t, "m.tme", "mem0: tme/host/posix/memory\n"+twoOnASwitch))
	cmd.Stderr = &events
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v:\n%s", err, &events)
	}
	for line := range strings.Lines(events.String()) {
		if event := map[string]any{}; json.Unmarshal([]byte(line), &event) != nil || event["msg"] == "" {
			t.Errorf("not an event in JSON: %s", line)
		}
	}
	for _, want := range []string{"left out", "m: up after", "all commands have succeeded"} {
		if !strings.Contains(events.String(), want) {
			t.Errorf("no event says %q:\n%s", want, &events)
		}
	}
}

// TestExitCodes: 2 where the command line or a description is wrong, 1 where
// something failed while it was done.
func TestExitCodes(t *testing.T) {
	good := write(t, "good.tme", twoOnASwitch)
	bad := write(t, "bad.tme", "tap0: tme/host/tun/tpa\n")
	unready := write(t, "unready.tme", "bpf0: tme/host/bsd/bpf interface nosuchif0\n")
	for _, test := range []struct {
		line string
		code int
	}{
		{"check " + good, 0}, {"fmt " + good, 0}, {"graph " + good, 0}, {"run --once " + good, 0},
		{"elements", 0}, {"elements am7990", 0}, {"--help", 0}, {"--version", 0}, {"", 0},
		{"check " + bad, 2}, {"graph " + bad, 2}, {"run " + bad, 2}, {"check " + good + ".not", 2}, {"check " + good + " " + good, 2},
		{"check", 2}, {"nonsense", 2}, {"run --nonsense x", 2}, {"graph --format png " + good, 2}, {"elements am7991", 2},
		{"run --log-level loud " + good, 2}, {"fmt -w --check " + good, 2},
		{"fmt " + good + ".not", 1}, {"run --once " + unready, 1}, {"man " + good, 1},
	} {
		out, err := exec.CommandContext(bounded(t), "tmelink", strings.Fields(test.line)...).CombinedOutput()
		code := 0
		if exit, ok := err.(*exec.ExitError); ok {
			code = exit.ExitCode()
		}
		if code != test.code {
			t.Errorf("tmelink %s: exit code %d, want %d:\n%s", test.line, code, test.code, out)
		}
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("skipped: this system has no /dev/full")
	}
	defer full.Close()
	for _, line := range []string{"check " + good, "fmt " + good, "graph " + good, "elements", "elements --markdown", "completion bash", "run --once " + good} {
		cmd := exec.CommandContext(bounded(t), "tmelink", strings.Fields(line)...)
		cmd.Stdout = full
		if exit, ok := cmd.Run().(*exec.ExitError); !ok || exit.ExitCode() != 1 {
			t.Errorf("tmelink %s to a full disk: %v, want exit code 1", line, exit)
		}
	}
}
