package hostnet

import (
	"context"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// switchesNow are all switches of IP interfaces, by path.
func switchesNow(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range []string{"ipv4/conf", "ipv6/conf"} {
		filepath.WalkDir(filepath.Join(sysctlDir, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				if value, err := os.ReadFile(path); err == nil {
					all[path] = strings.TrimSpace(string(value))
				}
			}
			return nil
		})
	}
	return all
}

func sameSwitches(t testing.TB, before map[string]string) {
	t.Helper()
	after := switchesNow(t)
	for path, was := range before {
		if after[path] != was {
			t.Errorf("%s was %s and is %s", path, was, after[path])
		}
	}
	if rules := run(t, "nft", "list", "ruleset"); rules != "" {
		t.Errorf("rules are left:\n%s", rules)
	}
}

func openHere(t testing.TB) *Namespace {
	t.Helper()
	n, err := OpenNamespace("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func openTAP(t testing.TB, n *Namespace, name string) *TAP {
	t.Helper()
	tap, err := n.OpenTAP(TAPOptions{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close() })
	return tap
}

// uplinkCable makes an interface up0 whose far end is in another host.
func uplinkCable(t *testing.T) *nstest.Host {
	t.Helper()
	far := nstest.New(t, "far")
	run(t, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "e0", "netns", far.Name)
	t.Cleanup(func() { run(t, "ip", "link", "del", "up0") })
	far.IP("link", "set", "e0", "up")
	run(t, "ip", "link", "set", "up0", "up")
	return far
}

var quiet = slog.New(slog.DiscardHandler)

func prefixes(ps ...string) (all []netip.Prefix) {
	for _, p := range ps {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func masqueradeOn(t *testing.T, n *Namespace, tap string, networks ...string) *Changes {
	t.Helper()
	c := n.Change(openTAP(t, n, tap))
	if _, err := c.Masquerade(context.Background(), NAT{Networks: prefixes(networks...), Uplink: "up0"}, quiet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Undo() })
	return c
}

func undo(t *testing.T, c *Changes) {
	t.Helper()
	if err := c.Undo(); err != nil {
		t.Errorf("undo: %v", err)
	}
}

// TestSharedUplink ends the sharers in the order that they began and in the
// reverse one; the last one gives the uplink its switches back.
func TestSharedUplink(t *testing.T) {
	nstest.InNamespace(t)
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		for _, kernel := range []string{"force_forwarding", "no_such_switch"} {
			t.Run(kernel, func(t *testing.T) {
				uplinkCable(t)
				setForwardOne6(t, kernel)
				n := openHere(t)
				before := switchesNow(t)
				var sharers []*Changes
				for i, tap := range []string{"tapa", "tapb", "tapc"} {
					sharers = append(sharers, masqueradeOn(t, n, tap, "10.1."+string(rune('0'+i))+".0/24", "fd00:"+string(rune('1'+i))+"::/64"))
				}
				paths := []string{"ipv4/conf/up0/forwarding", "ipv6/conf/up0/force_forwarding"}
				if kernel == "no_such_switch" {
					paths[1] = "ipv6/conf/all/forwarding"
				}
				for i, at := range order {
					for _, p := range paths {
						if on, _ := n.readSwitch(p); on == "0" {
							t.Errorf("with %d sharers left %s is %s", len(order)-i, p, on)
						}
					}
					undo(t, sharers[at])
				}
				sameSwitches(t, before)
			})
		}
	}
}

// setForwardOne6 has IPv6 forwarding done as on a kernel with or without a
// switch for each interface.
func setForwardOne6(t *testing.T, name string) {
	old := forwardOne6
	forwardOne6 = name
	t.Cleanup(func() { forwardOne6 = old })
}

// TestReclaimSparesTheLiving has a killed process's journal share a switch with
// one that runs.
func TestReclaimSparesTheLiving(t *testing.T) {
	nstest.InNamespace(t)
	uplinkCable(t)
	n := openHere(t)
	before := switchesNow(t)
	c := masqueradeOn(t, n, "tapa", "10.1.0.0/24")
	killedSharer(t)
	if err := n.Reclaim(context.Background(), "", quiet); err != nil {
		t.Error(err)
	}
	if rules := run(t, "nft", "list", "ruleset"); strings.Contains(rules, "tmelink-tapd") || !strings.Contains(rules, "tmelink-tapa") {
		t.Errorf("the tables are now\n%s", rules)
	}
	if on, _ := n.readSwitch("ipv4/conf/up0/forwarding"); on == "0" {
		t.Error("the living one's switch was put back")
	}
	undo(t, c)
	sameSwitches(t, before)
}

// killedSharer writes the journal of a process that has shared up0 and was killed.
func killedSharer(t *testing.T) {
	t.Helper()
	dead := must(self())
	dead.start++
	run(t, "nft", `add table inet tmelink-tapd; add chain inet tmelink-tapd journal; `+
		`add rule inet tmelink-tapd journal counter comment "`+dead.String()+`"; `+
		`add rule inet tmelink-tapd journal counter comment "sysctl ipv4/conf/up0/forwarding 0 2"`)
}

// TestUndoDoesNotCountTheDead ends the last living of two that shared an uplink,
// of which the other was killed: nobody may come to take its traces back.
func TestUndoDoesNotCountTheDead(t *testing.T) {
	nstest.InNamespace(t)
	uplinkCable(t)
	n := openHere(t)
	before := switchesNow(t)
	c := masqueradeOn(t, n, "tapa", "10.1.0.0/24")
	killedSharer(t)
	undo(t, c)
	if on, _ := n.readSwitch("ipv4/conf/up0/forwarding"); on != "0" {
		t.Errorf("the last one to end left forwarding at %s", on)
	}
	if err := n.Reclaim(context.Background(), "", quiet); err != nil {
		t.Error(err)
	}
	sameSwitches(t, before)
}

// TestForwardingOfOthers has somebody turn forwarding on for all interfaces
// while there is NAT, as container engines do: it is theirs then.
func TestForwardingOfOthers(t *testing.T) {
	nstest.InNamespace(t)
	uplinkCable(t)
	n := openHere(t)
	first := masqueradeOn(t, n, "tapa", "10.1.0.0/24")
	if err := n.writeSwitch("ipv4/ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.writeSwitch("ipv4/ip_forward", "0") })
	before := switchesNow(t)
	second := masqueradeOn(t, n, "tapb", "10.2.0.0/24")
	undo(t, first)
	undo(t, second)
	sameSwitches(t, before)
}

// TestNoWayOut asks for NAT by interfaces that lead nowhere.
func TestNoWayOut(t *testing.T) {
	nstest.InNamespace(t)
	n := openHere(t)
	before := switchesNow(t)
	c := n.Change(openTAP(t, n, "tapa"))
	for uplink, want := range map[string]string{"tapa": "the tap device itself", "lo": "the loopback", "nope": "no interface of that name"} {
		_, err := c.Masquerade(context.Background(), NAT{Networks: prefixes("10.1.0.0/24"), Uplink: uplink}, quiet)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nat by %s: the error is %v, want %q in it", uplink, err, want)
		}
		undo(t, c)
	}
	sameSwitches(t, before)
}

// TestSwitchThatWasOn leaves alone what was on before, and what somebody has
// changed since.
func TestSwitchThatWasOn(t *testing.T) {
	nstest.InNamespace(t)
	uplinkCable(t)
	n := openHere(t)
	if err := n.writeSwitch("ipv4/conf/up0/forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	before := switchesNow(t)
	undo(t, masqueradeOn(t, n, "tapa", "10.1.0.0/24"))
	sameSwitches(t, before)

	n.writeSwitch("ipv4/conf/up0/forwarding", "0")
	c := masqueradeOn(t, n, "tapb", "10.1.0.0/24")
	n.writeSwitch("ipv4/conf/up0/forwarding", "0") // by somebody else
	before = switchesNow(t)
	undo(t, c)
	sameSwitches(t, before)
}

// TestRemovedInterfaces undoes for interfaces that others have removed.
func TestRemovedInterfaces(t *testing.T) {
	nstest.InNamespace(t)
	uplinkCable(t)
	run(t, "ip", "tuntap", "add", "tapp", "mode", "tap")
	n := openHere(t)
	tap := openTAP(t, n, "tapp")
	c := n.Change(tap)
	for _, err := range []error{
		c.SetMTU(1400), c.SetHardwareAddr(ethernet.Addr{2, 0, 0, 0, 0, 9}),
		c.AddAddress(netip.MustParsePrefix("10.0.77.1/24"), netip.Addr{}), c.SetUp(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Masquerade(context.Background(), NAT{Networks: prefixes("10.0.77.1/24"), Uplink: "up0"}, quiet); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "del", "tapp")
	run(t, "ip", "tuntap", "add", "tapp", "mode", "tap") // another one of that name
	t.Cleanup(func() { run(t, "ip", "link", "del", "tapp") })
	run(t, "ip", "addr", "add", "10.0.77.1/24", "dev", "tapp")
	undo(t, c)
	if got := run(t, "ip", "addr", "show", "dev", "tapp"); !strings.Contains(got, "10.0.77.1/24") {
		t.Errorf("the undo took another interface's address:\n%s", got)
	}
}

// TestForeignTables leaves alone what only looks like a journal.
func TestForeignTables(t *testing.T) {
	nstest.InNamespace(t)
	n := openHere(t)
	run(t, "nft", "add", "table", "inet", "tmelink-other")
	run(t, "nft", "add table inet tmelink-empty; add chain inet tmelink-empty journal")
	run(t, "nft", "add table ip tmelink-ip; add chain ip tmelink-ip journal; add rule ip tmelink-ip journal counter comment \"owner 1 1 pid:[1]\"")
	t.Cleanup(func() { run(t, "nft", "flush", "ruleset") })
	before := run(t, "nft", "list", "ruleset")
	if err := n.Reclaim(context.Background(), "", quiet); err != nil {
		t.Error(err)
	}
	if after := run(t, "nft", "list", "ruleset"); after != before {
		t.Errorf("the rules were\n%s\nand are\n%s", before, after)
	}
}

// TestStrangeLinesAreLeftOut has a journal of no living process ask for what no
// journal may ask for.
func TestStrangeLinesAreLeftOut(t *testing.T) {
	nstest.InNamespace(t)
	n := openHere(t)
	run(t, "nft", `add table inet tmelink-x; add chain inet tmelink-x journal; add rule inet tmelink-x journal counter comment "owner 4194305 1 `+must(self()).pidns+`"; `+
		`add rule inet tmelink-x journal counter comment "sysctl ipv4/ip_forward 1 0"; add rule inet tmelink-x journal counter; `+
		`add rule inet tmelink-x journal counter comment "sysctl ipv4/conf/lo/forwarding 1 0"`)
	if err := n.Reclaim(context.Background(), "", quiet); err != nil {
		t.Error(err)
	}
	if on, _ := n.readSwitch("ipv4/conf/lo/forwarding"); on != "1" {
		t.Errorf("the good line was not carried out")
	}
	n.writeSwitch("ipv4/conf/lo/forwarding", "0")
	if on, _ := n.readSwitch("ipv4/ip_forward"); on != "0" {
		t.Errorf("the bad line was carried out")
	}
	sameSwitches(t, map[string]string{})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestLock(t *testing.T) {
	nstest.InNamespace(t)
	a, b := openHere(t), openHere(t)
	unlock, err := a.lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.lock(ctx); err == nil {
		t.Fatal("two hold the lock")
	}
	unlock()
	unlock, err = b.lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestDefaultRoute(t *testing.T) {
	nstest.InNamespace(t)
	uplinkCable(t)
	run(t, "ip", "link", "add", "up1", "type", "veth", "peer", "name", "up2")
	t.Cleanup(func() { run(t, "ip", "link", "del", "up1") })
	for _, i := range []string{"up1", "up2"} {
		run(t, "ip", "link", "set", i, "up")
	}
	n := openHere(t)
	expect := func(ip6 bool, want string) {
		t.Helper()
		if got, err := n.defaultRoute(ip6); err != nil || got != want {
			t.Errorf("the default route goes by %q, %v, want %q", got, err, want)
		}
	}
	expect(false, "")
	run(t, "ip", "route", "add", "unreachable", "default", "metric", "1")
	t.Cleanup(func() { run(t, "ip", "route", "del", "unreachable", "default") })
	expect(false, "")
	run(t, "ip", "route", "add", "default", "dev", "up1", "metric", "200")
	run(t, "ip", "route", "add", "10.0.0.0/8", "dev", "up2")
	expect(false, "up1")
	run(t, "ip", "route", "add", "default", "dev", "up0", "metric", "100")
	expect(false, "up0")
	run(t, "ip", "route", "add", "default", "metric", "50", "nexthop", "dev", "up2", "nexthop", "dev", "up1")
	expect(false, "up2")
	expect(true, "")
	run(t, "ip", "-6", "route", "add", "default", "dev", "up1")
	expect(true, "up1")
}

func TestWatch(t *testing.T) {
	nstest.InNamespace(t)
	ignore := goleak.IgnoreCurrent()
	n, err := OpenNamespace("")
	if err != nil {
		t.Fatal(err)
	}
	tap := openTAP(t, n, "tapw")
	states := make(chan LinkState, 100)
	stop, err := tap.Watch(func(s LinkState) { states <- s })
	if err != nil {
		t.Fatal(err)
	}
	if s := <-states; s.Up || s.Enslaved || s.MTU != 1500 {
		t.Errorf("the first state is %+v", s)
	}
	run(t, "ip", "link", "set", "tapw", "up", "mtu", "1300")
	for s := range states {
		if s.Up && s.MTU == 1300 {
			break
		}
	}
	stop()
	stop()
	n.Close()
	tap.Close()
	goleak.VerifyNone(t, ignore)
}
