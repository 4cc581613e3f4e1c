package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// TestTwoHosts runs examples/two-hosts, one machine on each of two hosts.
func TestTwoHosts(t *testing.T) {
	nstest.Need(t)
	hosts := lan(t, 2)
	a := hosts[0].Start("tmelink", "run", "--once", withCommands(t, "two-hosts/a.tme", nil))
	b := hosts[1].Start("tmelink", "run", withCommands(t, "two-hosts/b.tme", nil))
	if err := a.Wait(t, 60*time.Second); err != nil {
		t.Errorf("machine a: %v\n%s", err, a.Output())
	}
	b.Expect(t, "all commands have succeeded", 60*time.Second)
	answered(t, "a", a.Output(), "10.0.77.2")
	answered(t, "b", b.Output(), "10.0.77.1")
	if err := b.Stop(); err != nil {
		t.Errorf("machine b, ended by SIGTERM: %v", err)
	}
}

// outside puts a server beyond host 1 and gives it, with host 1's default route to it.
func outside(t *testing.T, h1 *nstest.Host) *nstest.Host {
	t.Helper()
	outer := nstest.New(t, "outer")
	nstest.Cable(t, h1, "eth1", "203.0.113.2/24", outer, "eth0", "203.0.113.1/24")
	h1.IP("route", "add", "default", "via", "203.0.113.1")
	return outer
}

// TestSharedTAP runs examples/shared-tap as it is written on three hosts with a
// server beyond the first: every machine pings every other, the TAP's address,
// and the server through AutoNAT; each answer comes once, and nothing is left
// on the hosts afterwards.
func TestSharedTAP(t *testing.T) {
	for _, together := range []bool{false, true} {
		t.Run(fmt.Sprintf("A and B in one process %v", together), func(t *testing.T) {
			nstest.Need(t, "nft", "ping")
			hosts := lan(t, 3)
			outside(t, hosts[0])
			before := state(hosts[0])

			addrs := map[string]string{"a": "10.0.77.11", "b": "10.0.77.12", "c": "10.0.77.13", "d": "10.0.77.14"}
			others := append([]string{"10.0.77.1", "203.0.113.1"}, values(addrs)...)
			file := map[string]string{}
			for m := range addrs {
				var commands []string
				for _, to := range others {
					if to != addrs[m] {
						commands = append(commands, "command le0 ping "+to+" count 8 interval 0.5")
					}
				}
				file[m] = withCommands(t, "shared-tap/"+m+".tme", commands)
			}
			run := map[string]*nstest.Process{}
			if together {
				run["a"] = hosts[0].Start("tmelink", "run", file["b"], file["a"]) // the TAP's owner last
			} else {
				run["a"] = hosts[0].Start("tmelink", "run", file["a"])
				run["b"] = hosts[0].Start("tmelink", "run", file["b"])
			}
			run["c"] = hosts[1].Start("tmelink", "run", file["c"])
			run["d"] = hosts[2].Start("tmelink", "run", file["d"])
			for _, m := range []string{"a", "b", "c", "d"} {
				output := ""
				if together && m < "c" {
					run["a"].ExpectN(t, "all commands have succeeded", 2, 90*time.Second)
					output = only(run["a"].Output(), m+": ")
				} else {
					run[m].Expect(t, "all commands have succeeded", 90*time.Second)
					output = run[m].Output()
				}
				var expect []string
				for _, to := range others {
					if to != addrs[m] {
						expect = append(expect, to)
					}
				}
				answered(t, "machine "+m, output, expect...)
			}
			hosts[0].Run("ping", "-c", "2", "-W", "5", addrs["c"])
			for _, m := range []string{"d", "c", "b", "a"} { // tap0 goes last
				if p := run[m]; p == nil {
					continue
				} else if err := p.Stop(); err != nil {
					t.Errorf("machine %s, ended by SIGTERM: %v\n%s", m, err, p.Output())
				}
			}
			if after := state(hosts[0]); after != before {
				t.Errorf("host 1 is not as it was. Before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// only keeps the lines that begin with prefix.
func only(text, prefix string) string {
	var kept []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, prefix) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func values(m map[string]string) []string {
	var v []string
	for _, s := range m {
		v = append(v, s)
	}
	sort.Strings(v)
	return v
}

// state is what a run could leave changed on a host.
func state(h *nstest.Host) string {
	return h.IP("-o", "-br", "addr") + h.IP("route") + h.Run("nft", "list", "ruleset") +
		h.Run("sh", "-c", "cd /proc/sys/net && head ipv4/ip_forward ipv4/conf/*/forwarding ipv6/conf/*/forwarding ipv6/conf/*/accept_ra")
}

// TestEveryFrameArrivesOnce replaces the machines' interfaces of the shared-tap
// example by probes, which print each copy of a frame that reaches them, and
// counts for every sender (the four machines and the host) each unicast,
// broadcast and multicast frame at everybody.
func TestEveryFrameArrivesOnce(t *testing.T) {
	nstest.Need(t)
	hosts := lan(t, 3)
	names := []string{"a", "b", "c", "d"}
	mac := func(m string) string { return "02:00:00:00:00:0" + fmt.Sprint(strings.Index("abcd", m)+1) }
	addr := func(m string) string { return "10.0.77.1" + fmt.Sprint(strings.Index("abcd", m)+1) }
	const tapMAC = "02:00:00:00:00:aa"

	allUp := filepath.Join(t.TempDir(), "all-up")
	file := map[string]string{}
	for i, m := range names {
		send := func(mac, ip, tag string) string {
			return fmt.Sprintf("command le0 send %s %s %s-%s", mac, ip, m, tag)
		}
		commands := []string{"command le0 await " + allUp}
		for _, to := range names {
			if to != m {
				commands = append(commands, send(mac(to), addr(to), "to-"+to))
			}
		}
		commands = append(commands,
			send(tapMAC, "10.0.77.1", "to-host"),
			send("ff:ff:ff:ff:ff:ff", "10.0.77.255", "to-all"),
			send("01:00:5e:01:02:03", tagGroup.String(), "to-group"),
			send("02:00:00:00:00:99", "10.0.77.99", "to-nobody"))
		edits := []string{
			fmt.Sprintf("le0: tme/ic/am7990 inet 10.0.77.1%d netmask 255.255.255.0 gateway 10.0.77.1", i+1),
			fmt.Sprintf("le0: tme/test/probe hwaddr %s inet %s", mac(m), addr(m)),
		}
		if m == "a" {
			edits = append(edits, "bcast 10.0.77.255", "bcast 10.0.77.255 hwaddr "+tapMAC)
		}
		file[m] = withCommands(t, "shared-tap/"+m+".tme", commands, edits...)
	}
	a := hosts[0].Start("tmelink", "run", file["a"])
	// Machine A waits for C with its tap0 there already; the host listens on it.
	a.Expect(t, "link2 waits for", 20*time.Second)
	host := hosts[0].Start("udpcount", "tap0")
	host.Expect(t, "ready", 10*time.Second)
	for _, m := range names {
		hosts[0].IP("neigh", "replace", addr(m), "lladdr", mac(m), "dev", "tap0")
	}
	hosts[0].IP("route", "add", "239.0.0.0/8", "dev", "tap0")
	run := map[string]*nstest.Process{
		"a": a,
		"b": hosts[0].Start("tmelink", "run", file["b"]),
		"c": hosts[1].Start("tmelink", "run", file["c"]),
		"d": hosts[2].Start("tmelink", "run", file["d"]),
	}
	for _, m := range names {
		run[m].Expect(t, "up after", 60*time.Second)
	}
	if err := os.WriteFile(allUp, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, m := range names {
		run[m].Expect(t, "all commands have succeeded", 60*time.Second)
	}
	for _, m := range names {
		hosts[0].Run("udpsend", addr(m), "host-to-"+m)
	}
	hosts[0].Run("udpsend", tagGroup.String(), "host-to-group")

	senders := append([]string{"host"}, names...)
	want := map[string]int{} // "who got what", each once
	for _, from := range senders {
		for _, at := range senders {
			if from == at {
				continue
			}
			want[at+" got "+from+"-to-"+at] = 1
			want[at+" got "+from+"-to-group"] = 1
			if from != "host" {
				want[at+" got "+from+"-to-all"] = 1
			}
		}
	}
	want["host got host-to-group"] = 1 // looped back by the host's own stack
	// C and D are at the far ends of cables, which carry what is for others too;
	// only what is for the TAP itself its owner does not send on to C.
	for _, at := range []string{"c", "d"} {
		for _, from := range senders {
			for _, to := range append(senders, "nobody") {
				if from == at || to == at || from == to || from == "host" && to == "nobody" || at == "c" && to == "host" {
					continue
				}
				want[at+" overheard "+from+"-to-"+to] = 1
			}
		}
	}
	count := func() map[string]int {
		got := map[string]int{}
		outputs := host.Output()
		for _, p := range run {
			outputs += p.Output()
		}
		for _, line := range regexp.MustCompile(`(?m)^\w+ (got|overheard) \S+$`).FindAllString(outputs, -1) {
			got[line]++
		}
		return got
	}
	nstest.Eventually(20*time.Second, func() bool { return len(count()) >= len(want) })
	time.Sleep(time.Second) // for second copies, which nothing announces
	got := count()
	for line, n := range want {
		if got[line] != n {
			t.Errorf("%s: %d times, want %d", line, got[line], n)
		}
	}
	for line, n := range got {
		if want[line] == 0 {
			t.Errorf("%s: %d times, want never", line, n)
		}
	}
}
