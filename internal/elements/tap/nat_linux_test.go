package tap

import (
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// outside puts an outer server behind this host's uplink up0: 203.0.113.9 and
// 2001:db8:9::9 in a namespace that knows no way back to any TAP's network.
func outside(t *testing.T) *nstest.Host {
	t.Helper()
	outer := nstest.New(t, "outer")
	run(t, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "e0", "netns", outer.Name)
	t.Cleanup(func() { run(t, "ip", "link", "del", "up0") })
	outer.IP("addr", "add", "192.0.2.2/24", "dev", "e0")
	outer.IP("addr", "add", "2001:db8:2::2/64", "dev", "e0", "nodad")
	outer.IP("addr", "add", "203.0.113.9/32", "dev", "lo")
	outer.IP("addr", "add", "2001:db8:9::9/128", "dev", "lo")
	outer.IP("link", "set", "e0", "up")
	run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
	run(t, "ip", "addr", "add", "2001:db8:2::1/64", "dev", "up0", "nodad")
	run(t, "ip", "link", "set", "up0", "up")
	eventually(t, "the uplink is ready", func() bool {
		return !strings.Contains(run(t, "ip", "-6", "addr", "show", "dev", "up0"), "tentative") &&
			!strings.Contains(outer.IP("-6", "addr", "show", "dev", "e0"), "tentative")
	})
	return outer
}

// defaultRoutes leads all else to the outer server.
func defaultRoutes(t *testing.T) {
	t.Helper()
	run(t, "ip", "route", "add", "default", "via", "192.0.2.2")
	run(t, "ip", "-6", "route", "add", "default", "via", "2001:db8:2::2")
}

// station makes a machine in a namespace, behind the port of a TAP of this
// host whose networks are 10.N.0.0/24 and fd00:N::/64.
func station(t *testing.T, tap *running, net string) *nstest.Host {
	t.Helper()
	h := nstest.New(t, "station"+net)
	inner := start(t, "tme/host/tun/tap", "netns "+h.Name+" interface le0 nat none inet 10."+net+".0.2 netmask 255.255.255.0 inet6 fd00:"+net+"::2/64")
	h.IP("route", "add", "default", "via", "10."+net+".0.1")
	h.IP("-6", "route", "add", "default", "via", "fd00:"+net+"::1")
	join(t, &tap.port, &inner.port)
	return h
}

func words4and6(net string) string {
	return "inet 10." + net + ".0.1 netmask 255.255.255.0 inet6 fd00:" + net + "::1/64"
}

// reaches says whether a station gets answers, sending until d has passed.
func reaches(h *nstest.Host, addr string, d time.Duration) bool {
	return nstest.Eventually(d, func() bool {
		_, err := h.Try("ping", "-n", "-c", "1", "-W", "1", addr)
		return err == nil
	})
}

const patience = 20 * time.Second

func needReach(t *testing.T, h *nstest.Host, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		if !reaches(h, a, patience) {
			t.Errorf("%s does not reach %s", h.Name, a)
		}
	}
}

func TestAutoNAT(t *testing.T) {
	nstest.InNamespace(t)
	nstest.NeedPrograms(t, "ping")
	leakless(t)
	outside(t)
	defaultRoutes(t)
	unchanged(t)
	a := start(t, "tme/host/tun/tap", words4and6("1"))
	hostA := station(t, a, "1")
	needReach(t, hostA, "10.1.0.1", "203.0.113.9", "fd00:1::1", "2001:db8:9::9")
	for _, path := range []string{"ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding", "ipv6/conf/up0/forwarding", "ipv4/conf/lo/forwarding"} {
		if on := strings.TrimSpace(readFile(t, "/proc/sys/net/"+path)); on != "0" {
			t.Errorf("%s is %s: forwarding is on for more than two interfaces", path, on)
		}
	}
	if !strings.Contains(a.Status(), "nat of 10.1.0.0/24 by up0") {
		t.Errorf("the status is %q", a.Status())
	}

	// A second TAP shares the uplink; the first one's end must not be its end.
	b := start(t, "tme/host/tun/tap", words4and6("2")+" nat up0")
	hostB := station(t, b, "2")
	needReach(t, hostB, "203.0.113.9", "2001:db8:9::9", "10.1.0.2")
	a.stopNow(t)
	needReach(t, hostB, "203.0.113.9", "2001:db8:9::9")
	if rules := run(t, "nft", "list", "ruleset"); strings.Contains(rules, "tmelink-"+"tap0") {
		t.Errorf("the first one's table is still there:\n%s", rules)
	}
}

func TestNoNAT(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	outside(t)
	unchanged(t)
	for _, c := range []struct{ text, want string }{
		{"inet 10.1.0.1", "no nat: there is no default route"},
		{"inet 10.1.0.1 nat none", "no nat: the description says nat none"},
	} {
		r := start(t, "tme/host/tun/tap", c.text)
		if n := strings.Count(r.log.String(), c.want); n != 1 {
			t.Errorf("%s: the log says %q %d times:\n%s", c.text, c.want, n, r.log)
		}
		if rules := run(t, "nft", "list", "ruleset"); rules != "" {
			t.Errorf("%s: there are rules:\n%s", c.text, rules)
		}
		r.stopNow(t)
	}
	if r := start(t, "tme/host/tun/tap", ""); strings.Contains(r.log.String(), "nat") {
		t.Errorf("without an address the log speaks of nat:\n%s", r.log)
	}
}

var openWith = regexp.MustCompile(`open-with=("(?:[^"\\]|\\.)*")`)

// TestForeignPolicy has another table drop what is forwarded; the command in the
// log must open it.
func TestForeignPolicy(t *testing.T) {
	nstest.InNamespace(t)
	nstest.NeedPrograms(t, "ping")
	leakless(t)
	outside(t)
	defaultRoutes(t)
	for _, c := range []struct {
		family, chain string
		tells         int
	}{
		{"ip", "FORWARD", 1}, {"inet", "forward", 1}, {"ip6", "FORWARD", 1}, {"arp", "", 0},
	} {
		t.Run(c.family, func(t *testing.T) {
			run(t, "nft", "add", "table", c.family, "other")
			t.Cleanup(func() { run(t, "nft", "delete", "table", c.family, "other") })
			if c.chain != "" {
				run(t, "nft", "add chain "+c.family+" other "+c.chain+" { type filter hook forward priority 0; policy drop; }")
				run(t, "nft", "add chain "+c.family+" other input { type filter hook input priority 0; policy accept; }")
			}
			r := start(t, "tme/host/tun/tap", words4and6("1"))
			found := openWith.FindAllStringSubmatch(r.log.String(), -1)
			if len(found) != c.tells {
				t.Fatalf("%d lines tell how to open it, want %d:\n%s", len(found), c.tells, r.log)
			}
			if c.tells == 0 {
				return
			}
			h := station(t, r, "1")
			needReach(t, h, "10.1.0.1", "fd00:1::1")
			shut := "203.0.113.9"
			if c.family == "ip6" {
				shut = "2001:db8:9::9"
			}
			if _, err := h.Try("ping", "-n", "-c", "1", "-W", "1", shut); err == nil {
				t.Errorf("%s is reached in spite of the policy", shut)
			}
			command, err := strconv.Unquote(found[0][1])
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
			needReach(t, h, "203.0.113.9", "2001:db8:9::9")
		})
	}
}

// TestNATInNamespace lets a station out through another namespace's uplink.
func TestNATInNamespace(t *testing.T) {
	nstest.InNamespace(t)
	nstest.NeedPrograms(t, "ping")
	leakless(t)
	unchanged(t)
	gate, outer := nstest.New(t, "gate"), nstest.New(t, "outer")
	nstest.Cable(t, gate, "up0", "192.0.2.1/24", outer, "e0", "192.0.2.2/24")
	gate.IP("route", "add", "default", "via", "192.0.2.2")
	before := gate.Run("sysctl", "-a", "-r", "forwarding")
	r := start(t, "tme/host/tun/tap", "netns "+gate.Name+" "+words4and6("1"))
	h := station(t, r, "1")
	needReach(t, h, "192.0.2.2")
	r.stopNow(t)
	if after := gate.Run("sysctl", "-a", "-r", "forwarding"); after != before {
		t.Errorf("switches in the namespace:\n%s", diff(before, after))
	}
	if rules := gate.Run("nft", "list", "ruleset"); rules != "" {
		t.Errorf("rules in the namespace:\n%s", rules)
	}
}
