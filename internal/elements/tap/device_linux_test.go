package tap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestOptionsReachTheInterface(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	for _, c := range []struct {
		path, text, iface string
		want              []string // in `ip -d addr show dev IFACE`
	}{
		{"tme/host/tun/tap", "", "tap0", []string{"tun type tap", "UP,LOWER_UP", "mtu 1500", "persist off", "pi off", "vnet_hdr on"}},
		{"tme/host/tun/tap", "inet 10.0.77.1", "tap0", []string{"inet 10.0.77.1/8 brd 10.255.255.255"}},
		{"tme/host/tun/tap", "inet 10.0.77.1 netmask 255.255.255.0 bcast 10.0.77.200", "tap0", []string{"inet 10.0.77.1/24 brd 10.0.77.200"}},
		{"tme/host/tun/tap", "inet 10.0.77.1 netmask 255.255.255.254", "tap0", []string{"inet 10.0.77.1/31 scope"}},
		{"tme/host/tun/tap", "inet6 fd00:77::1/64", "tap0", []string{"inet6 fd00:77::1/64 scope global nodad"}},
		{"tme/host/tun/tap", "interface lan mtu 9000 hwaddr 8:0:20:1:2:3", "lan", []string{"mtu 9000", "link/ether 08:00:20:01:02:03"}},
		{"tme/host/openvpn/tap", "--dev tap5 --ifconfig 10.0.77.1 255.255.255.0 --ifconfig-ipv6 fd00:77::1/64", "tap5", []string{"inet 10.0.77.1/24 brd 10.0.77.255", "inet6 fd00:77::1/64"}},
		{"tme/host/openvpn/tun/tap", "--dev tap --lladdr 02:00:00:00:00:01 --tun-mtu 1400 --dev-node /dev/net/tun", "tap0", []string{"mtu 1400", "link/ether 02:00:00:00:00:01"}},
	} {
		r := start(t, c.path, c.text)
		if r.name() != c.iface {
			t.Errorf("%s %s: the interface is %s, want %s", c.path, c.text, r.name(), c.iface)
		}
		got := run(t, "ip", "-d", "addr", "show", "dev", r.name())
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s %s: %q is missing in\n%s", c.path, c.text, w, got)
			}
		}
		if !strings.Contains(r.Status(), c.iface) {
			t.Errorf("the status %q does not name the interface", r.Status())
		}
		r.stopNow(t)
	}
}

func TestFirstFreeName(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	run(t, "ip", "tuntap", "add", "tap1", "mode", "tap")
	t.Cleanup(func() { run(t, "ip", "tuntap", "del", "tap1", "mode", "tap") })
	for _, want := range []string{"tap0", "tap2"} {
		if r := start(t, "tme/host/tun/tap", ""); r.name() != want {
			t.Errorf("the interface is %s, want %s", r.name(), want)
		}
	}
}

func TestBridge(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	cable(t, "portx")
	run(t, "ip", "link", "set", "portx", "address", "02:00:00:00:00:01")
	run(t, "ip", "link", "add", "brx", "type", "bridge")
	t.Cleanup(func() { run(t, "ip", "link", "del", "brx") })
	run(t, "ip", "link", "set", "portx", "master", "brx")
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "bridge brx")
	if got := run(t, "ip", "link", "show", "dev", r.name()); !strings.Contains(got, "master brx") {
		t.Errorf("the interface is no port of the bridge:\n%s", got)
	}
	if got := run(t, "ip", "link", "show", "dev", "brx"); !strings.Contains(got, "02:00:00:00:00:01") {
		t.Errorf("the bridge changed its address:\n%s", got)
	}
	eventually(t, "the port knows of the bridge", func() bool { return r.port.host.Load().enslaved })
	r.stopNow(t)
	if _, err := tryStart(t, "tme/host/tun/tap", "bridge nobr"); err == nil || !strings.Contains(err.Error(), "ip link add nobr type bridge") {
		t.Errorf("a bridge that is missing: %v", err)
	}
	if _, err := tryStart(t, "tme/host/tun/tap", "bridge portx"); err == nil || !strings.Contains(err.Error(), "is no bridge") {
		t.Errorf("a bridge that is none: %v", err)
	}
}

func TestNamespace(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	h := nstest.New(t, "inner")
	r := start(t, "tme/host/tun/tap", "netns "+h.Name+" inet 10.0.77.1 netmask 255.255.255.0 up "+script(t, `ip link show dev "$1"`))
	if got := h.IP("addr", "show", "dev", "tap0"); !strings.Contains(got, "inet 10.0.77.1/24") || !strings.Contains(got, "UP,LOWER_UP") {
		t.Errorf("in the namespace:\n%s", got)
	}
	if out := run(t, "ip", "link"); strings.Contains(out, "tap0") {
		t.Errorf("the interface is in the process's own namespace:\n%s", out)
	}
	h.IP("link", "add", "brx", "type", "bridge")
	h.IP("link", "set", "tap0", "master", "brx")
	eventually(t, "the port knows of the bridge there", func() bool { return r.port.host.Load().enslaved })
	r.stopNow(t)
	if out := h.IP("link"); strings.Contains(out, "tap0") {
		t.Errorf("the interface was left behind:\n%s", out)
	}
	if _, err := tryStart(t, "tme/host/tun/tap", "netns nowhere-at-all"); err == nil || !strings.Contains(err.Error(), "ip netns add") {
		t.Errorf("a namespace that is missing: %v", err)
	}
}

// cable makes an interface whose other end nobody holds.
func cable(t *testing.T, name string) {
	t.Helper()
	run(t, "ip", "link", "add", name, "type", "veth", "peer", "name", name+"-far")
	t.Cleanup(func() { run(t, "ip", "link", "del", name) })
}

// persistent makes a persistent TAP device with a state of its own.
func persistent(t *testing.T, extra ...string) {
	t.Helper()
	run(t, "ip", append([]string{"tuntap", "add", "tapp", "mode", "tap"}, extra...)...)
	t.Cleanup(func() { run(t, "ip", "link", "del", "tapp") })
	run(t, "ip", "link", "set", "tapp", "mtu", "1400", "address", "02:00:00:00:00:11")
	run(t, "ip", "addr", "add", "10.0.78.1/24", "dev", "tapp")
	// The kernel gives an interface its queueing discipline when it first
	// comes up, and leaves it there.
	run(t, "ip", "link", "set", "tapp", "up")
	run(t, "ip", "link", "set", "tapp", "down")
}

func TestPersistentDeviceGetsItsStateBack(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	cable(t, "portx")
	run(t, "ip", "link", "add", "brx", "type", "bridge")
	t.Cleanup(func() { run(t, "ip", "link", "del", "brx") })
	run(t, "ip", "link", "set", "portx", "master", "brx")
	persistent(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "interface tapp mtu 1500 hwaddr 02:00:00:00:00:12 inet 10.0.77.1 netmask 255.255.255.0 inet6 fd00:77::1/64 bridge brx nat none")
	got := run(t, "ip", "-d", "addr", "show", "dev", "tapp")
	for _, want := range []string{"mtu 1500", "02:00:00:00:00:12", "10.0.77.1/24", "10.0.78.1/24", "fd00:77::1/64", "master brx", "UP,LOWER_UP"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if rules := run(t, "nft", "list", "ruleset"); !strings.Contains(rules, `comment "mtu tapp`) {
		t.Errorf("the journal is missing in\n%s", rules)
	}
	r.stopNow(t)
}

func TestPersistentMultiQueueDevice(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	persistent(t, "multi_queue")
	unchanged(t)
	start(t, "tme/host/tun/tap", "interface tapp")
}

func TestFailedStartIsUndone(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	persistent(t)
	cable(t, "upx")
	run(t, "ip", "link", "set", "upx", "up")
	unchanged(t)
	for _, text := range []string{
		"inet 10.0.77.1 inet6 fd00:77::1/64 nat upx up /bin/false",
		"interface tapp mtu 1500 inet 10.0.77.1 nat upx up /bin/false",
		"inet 10.0.77.1 nat nosuch",
		"inet 10.0.77.1 up /no/such/script",
	} {
		if _, err := tryStart(t, "tme/host/tun/tap", text); err == nil {
			t.Errorf("%s: it started", text)
		}
	}
}

func TestDeviceErrors(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	start(t, "tme/host/tun/tap", "interface tapx")
	run(t, "ip", "tuntap", "add", "tunx", "mode", "tun")
	t.Cleanup(func() { run(t, "ip", "tuntap", "del", "tunx", "mode", "tun") })
	for _, c := range []struct{ path, text, want string }{
		{"tme/host/tun/tap", "interface tapx", "another process has it"},
		{"tme/host/tun/tap", "interface lo", "is no tap device"},
		{"tme/host/tun/tap", "interface tunx", "is no tap device"},
		{"tme/host/openvpn/tap", "--dev tap --dev-node /dev/no-tun", "modprobe tun"},
	} {
		if _, err := tryStart(t, c.path, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: the error is %v, want %q in it", c.path, c.text, err, c.want)
		}
	}
}

// script writes a shell script and gives its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUpScript(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	out := filepath.Join(t.TempDir(), "out")
	start(t, "tme/host/tun/tap", "interface tapx up "+script(t, `ip -o link show dev "$1" up > `+out+"\n")).stopNow(t)
	if got, _ := os.ReadFile(out); !strings.Contains(string(got), "tapx") {
		t.Errorf("the script saw %q of the interface", got)
	}
	if _, err := tryStart(t, "tme/host/tun/tap", "up "+script(t, "echo no good >&2; exit 3\n")); err == nil ||
		!strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no good") {
		t.Errorf("a script that fails gave %v", err)
	}
}

// TestScriptBesideDescription names a script as a description does, whose folder
// is known by the path that the command line gave: as a rule a relative one.
func TestScriptBesideDescription(t *testing.T) {
	nstest.InNamespace(t)
	unchanged(t)
	path := script(t, "pwd > ran\n")
	folder := filepath.Dir(path)
	for _, c := range []struct{ wd, dir, script string }{
		{folder, ".", "script"},
		{folder, ".", "./script"},
		{filepath.Dir(folder), filepath.Base(folder), "script"},
		{filepath.Dir(folder), folder, "script"},
	} {
		t.Chdir(c.wd)
		os.Remove(filepath.Join(folder, "ran"))
		e, err := build(t, "tme/host/tun/tap", "up "+c.script, element.Env{Dir: c.dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(e.Start(t.Context()), e.Close()); err != nil {
			t.Errorf("%s beside a description in %s: %v", c.script, c.dir, err)
		} else if got := strings.TrimSpace(readFile(t, filepath.Join(folder, "ran"))); got != folder {
			t.Errorf("%s beside a description in %s ran in %s", c.script, c.dir, got)
		}
	}
}

// TestTalkativeScript has a script say more than anybody wants to hold.
func TestTalkativeScript(t *testing.T) {
	nstest.InNamespace(t)
	unchanged(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := tryStart(t, "tme/host/tun/tap", "up "+script(t, "yes blah | head -c 30000000; echo the end; exit 1\n"))
	runtime.ReadMemStats(&after)
	if err == nil || !strings.HasSuffix(err.Error(), "the end") {
		t.Errorf("the error does not end with the script's last words: %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 10<<20 {
		t.Errorf("%d bytes were allocated for what a script said", n)
	}
}

// TestStoppedScript stops the start while a script runs, which has started
// another process that keeps its output open.
func TestStoppedScript(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	pids := filepath.Join(t.TempDir(), "pids")
	s := script(t, "sleep 1000 &\necho $! > "+pids+".new\nmv "+pids+".new "+pids+"\nwait\n")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		nstest.Eventually(30*time.Second, func() bool { _, err := os.Stat(pids); return err == nil })
		cancel()
	}()
	if _, err := tryStartIn(ctx, t, "tme/host/tun/tap", "up "+s); !errors.Is(err, context.Canceled) {
		t.Errorf("start gave %v, want context.Canceled", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, pids)))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the script's own child has ended", func() bool { return ended(pid) })
}

// ended says whether a process is gone, or a zombie that its new parent has not
// buried yet.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestOpenVPNScripts(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	out := filepath.Join(t.TempDir(), "out")
	s := script(t, `{ echo "$script_type: $*"; env; ip link show dev "$dev" >/dev/null 2>&1 && echo there || echo gone; } >> `+out+"\n")
	r := start(t, "tme/host/openvpn/tap", "--dev tapx --ifconfig 10.0.77.1 255.255.255.0 --ifconfig-ipv6 fd00:77::1/64 fd00:77::2 --script-security 2 "+
		"--up '"+s+` "an argument"' --down `+s)
	up, _ := os.ReadFile(out)
	for _, want := range []string{"up: an argument tapx 1500 0 10.0.77.1 255.255.255.0 init\n", "dev=tapx\n", "dev_type=tap\n", "tun_mtu=1500\n", "script_context=init\n",
		"ifconfig_local=10.0.77.1\n", "ifconfig_netmask=255.255.255.0\n", "ifconfig_ipv6_local=fd00:77::1\n", "ifconfig_ipv6_netbits=64\n", "ifconfig_ipv6_remote=fd00:77::2\n", "there\n"} {
		if !strings.Contains(string(up), want) {
			t.Errorf("the up script has no %q:\n%s", want, up)
		}
	}
	if strings.Contains(string(up), "HOME=") {
		t.Errorf("the up script has more than OpenVPN's variables:\n%s", up)
	}
	r.stopNow(t)
	all, _ := os.ReadFile(out)
	down := strings.TrimPrefix(string(all), string(up))
	for _, want := range []string{"down: tapx 1500 0 10.0.77.1 255.255.255.0 init\n", "signal=unknown\n", "gone\n"} {
		if !strings.Contains(down, want) {
			t.Errorf("the down script has no %q:\n%s", want, down)
		}
	}
}

func TestKilledProcess(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	persistent(t)
	cable(t, "upx")
	run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "upx")
	run(t, "ip", "link", "set", "upx", "up")
	unchanged(t)
	// What it takes back is that of two that shared an uplink: the device of
	// one went with its process, that of the other stayed.
	var killed []*nstest.Process
	for _, text := range []string{
		"interface tapy inet 10.0.77.1 netmask 255.255.255.0 inet6 fd00:77::1/64 nat upx",
		"interface tapp inet 10.0.79.1 netmask 255.255.255.0 mtu 1500 nat upx",
	} {
		p := child(t, "tme/host/tun/tap", text)
		p.Expect(t, "ready:", 10*time.Second)
		killed = append(killed, p)
	}
	for _, p := range killed {
		p.Signal(unix.SIGKILL)
		p.Wait(t, 10*time.Second)
	}
	rules := run(t, "nft", "list", "ruleset")
	if !strings.Contains(rules, "table inet tmelink-tapp") || !strings.Contains(rules, "table inet tmelink-tapy") {
		t.Fatalf("the killed processes left no traces to take back:\n%s", rules)
	}
	if on := strings.TrimSpace(readFile(t, "/proc/sys/net/ipv4/conf/upx/forwarding")); on == "0" {
		t.Fatalf("forwarding is %s after the kill", on)
	}
	r := start(t, "tme/host/tun/tap", "interface tapz")
	if !strings.Contains(r.log.String(), "killed process") {
		t.Errorf("the log does not tell of the killed process:\n%s", r.log)
	}
	r.stopNow(t)
}

// TestTerminatedProcess is the other end of a process: it undoes all by itself.
func TestTerminatedProcess(t *testing.T) {
	nstest.InNamespace(t)
	persistent(t)
	unchanged(t)
	p := child(t, "tme/host/tun/tap", "interface tapp inet 10.0.79.1 mtu 1500")
	p.Expect(t, "ready:", 10*time.Second)
	if err := p.Stop(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, p.Output())
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestOrdinaryUser has a user without any privilege open a persistent device
// that root has made and configured for them.
func TestOrdinaryUser(t *testing.T) {
	nstest.InNamespace(t)
	nstest.NeedPrograms(t, "setpriv")
	leakless(t)
	const nobody = "65534"
	persistent(t, "user", nobody)
	run(t, "ip", "link", "set", "tapp", "up")
	node := userNode(t)
	as := []string{"setpriv", "--reuid=" + nobody, "--regid=" + nobody, "--clear-groups"}

	p := child(t, "tme/host/openvpn/tap", "--dev tapp --dev-node "+node+" --ifconfig 10.0.78.1 255.255.255.0 --tun-mtu 1400", as...)
	p.Expect(t, "ready:", 10*time.Second)
	sender := openPacket(t, "tapp", 0)
	sender.send(t, frameTo(ethernet.Broadcast, ethernet.Addr{2, 0, 0, 0, 0, 7}, "x"))
	p.Expect(t, "frames:", 10*time.Second)
	if err := p.Stop(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, p.Output())
	}

	for _, c := range []struct{ text, want string }{
		{"--dev tapp --dev-node " + node + " --tun-mtu 1500", "CAP_NET_ADMIN"},
		{"--dev tapq --dev-node " + node, "ip tuntap add tapq mode tap user USER"},
		{"--dev tapp --dev-node " + closedNode(t), "chmod 0666"},
	} {
		p := child(t, "tme/host/openvpn/tap", c.text, as...)
		if err := p.Wait(t, 10*time.Second); err == nil {
			t.Errorf("%s: it ended well", c.text)
		}
		if !strings.Contains(p.Output(), c.want) {
			t.Errorf("%s: %q is missing in %s", c.text, c.want, p.Output())
		}
	}
}

// userNode makes a tun device that every user may open, as udev makes it.
func userNode(t *testing.T) string { return makeNode(t, 0o666) }

// closedNode makes one that root alone may open.
func closedNode(t *testing.T) string { return makeNode(t, 0o600) }

func makeNode(t *testing.T, mode uint32) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tap-node")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "tun")
	// Major 10, minor 200: Documentation/admin-guide/devices.txt.
	if err := unix.Mknod(path, unix.S_IFCHR|mode, int(unix.Mkdev(10, 200))); err != nil {
		t.Skipf("skipped: no device file can be made here: %v", err)
	}
	for p, m := range map[string]uint32{dir: 0o755, path: mode} {
		if err := unix.Chmod(p, m); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
