//go:build unix

package main

import (
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
