package rawudp

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestGroupWords(t *testing.T) {
	for _, test := range []struct{ text, fault string }{
		{"group 230.0.0.1:1234", ""},
		{"group [ff15::1]:1234 interface eth0 ttl 255 loop off mtu 9000", ""},
		{"group [ff02::1]:1234 interface eth0", ""},
		{"group", "test:1:99: the group is missing"},
		{"group ttl 1", "the group is missing"},
		{"group 230.0.0.1", "is no group and port"},
		{"group 230.0.0.1:0", "is no group and port"},
		{"group 10.0.0.1:5", "test:1:1: group: 10.0.0.1 is no multicast group"},
		{"group [ff02::1]:1234", "name one with interface NAME"},
		{"group [ff02::1%eth0]:1234", "the interface belongs behind it"},
		{"group 230.0.0.1:1234 ttl 256", "not a number from 0 to 255"},
		{"group 230.0.0.1:1234 loop maybe", "neither on nor off"},
		{"group 230.0.0.1:1234 lop on", "did you mean loop?"},
	} {
		_, err := newElement(test.text, &nstest.Buffer{})
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%q: %v, want %q", test.text, err, test.fault)
		}
	}
}

// network makes an interface of the test's namespace by which groups are reached.
func network(t *testing.T, name, addr, addr6 string) {
	t.Helper()
	nstest.InNamespace(t)
	for _, line := range []string{
		"link add " + name + " type veth peer name " + name + "p",
		"link set " + name + "p up",
		"addr add " + addr + " dev " + name,
		"addr add " + addr6 + " dev " + name + " nodad",
		"link set " + name + " up multicast on",
		"route add 224.0.0.0/4 dev " + name,
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("ip", "link", "del", name).Run() })
}

func TestGroups(t *testing.T) {
	clean(t)
	network(t, "d0", "10.9.8.1/24", "fd00:9::1/64")
	for _, group := range []string{"230.0.0.1:1234", "230.0.0.1:1234 interface d0", "[ff15::77]:1234 interface d0", "[ff02::77]:1234 interface d0 ttl 0"} {
		t.Run(group, func(t *testing.T) {
			a, b := start(t, "group "+group), start(t, "group "+group)
			for range 3 {
				send(t, a, frame(1, 14))
				expect(t, b.came, frame(1, 14))
				send(t, b, frame(2, 1522))
				expect(t, a.came, frame(2, 1522))
			}
			for _, r := range []*running{a, b} {
				expectDrops(t, &r.Counters().Read, map[ethernet.Reason]uint64{ethernet.Reflected: 3})
				expectDrops(t, &r.Counters().Write, nil)
			}
		})
	}
}

// What is not of the group, and what is no frame.
func TestGroupBounds(t *testing.T) {
	clean(t)
	network(t, "d0", "10.9.8.1/24", "fd00:9::1/64")
	a := start(t, "group 230.0.0.1:1234")
	other := start(t, "group 230.0.0.2:1234")
	quiet := start(t, "group 230.0.0.1:1234 loop off")
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to := func(addr string, data []byte) {
		u, _ := net.ResolveUDPAddr("udp4", addr)
		if _, err := conn.WriteToUDP(data, u); err != nil {
			t.Error(err)
		}
	}
	none(t, a.came, func() {
		send(t, other, frame(3, 60))
		send(t, quiet, frame(4, 60))
		to("10.9.8.1:1234", frame(5, 60)) // nobody's, or refused
		for _, length := range []int{0, 13, 1523, 20000} {
			to("230.0.0.1:1234", frame(6, 20000)[:length])
		}
		to("230.0.0.1:1234", frame(7, 61))
	}, frame(7, 61))
	expect(t, quiet.came, frame(7, 61))
	expectDrops(t, &a.Counters().Read, map[ethernet.Reason]uint64{ethernet.Runt: 2, ethernet.Oversize: 2})
	if n := strings.Count(a.log.String(), "that is no frame"); n != 1 {
		t.Errorf("it is told %d times of datagrams that are no frames", n)
	}
	if len(other.came) > 0 {
		t.Error("another group hears")
	}
}

func TestGroupStartFails(t *testing.T) {
	clean(t)
	nstest.InNamespace(t)
	for text, want := range map[string]string{
		"group 230.0.0.9:1234":                  "join group 230.0.0.9:1234: no route of this host leads to it",
		"group 230.0.0.9:1234 interface nosuch": "on nosuch: this host has no interface",
	} {
		e, err := newElement(text, &nstest.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start: %v, want %q", err, want)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A network that goes costs frames and no more.
func TestGroupOfANetworkThatGoes(t *testing.T) {
	clean(t)
	network(t, "d0", "10.9.8.1/24", "fd00:9::1/64")
	r := start(t, "group 230.0.0.1:1234 interface d0")
	if out, err := exec.Command("ip", "link", "set", "d0", "down").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for range 3 {
		send(t, r, frame(1, 60))
	}
	expectDrops(t, &r.Counters().Write, map[ethernet.Reason]uint64{ethernet.SendFailed: 3})
	if n := strings.Count(r.log.String(), "refuses to send"); n != 1 {
		t.Errorf("it is told %d times of what is not sent", n)
	}
}

// The network boot of a QEMU asks for an address in its group.
func TestGroupWithQEMU(t *testing.T) {
	nstest.NeedPrograms(t, "qemu-system-x86_64")
	clean(t)
	network(t, "d0", "10.9.8.1/24", "fd00:9::1/64")
	a, b := start(t, "group 230.0.0.1:1234"), start(t, "group 230.0.0.1:1234 interface d0")
	nstest.Start(t, "qemu-system-x86_64", "-display", "none", "-monitor", "none", "-serial", "none", "-nodefaults", "-boot", "n",
		"-netdev", "socket,id=n0,mcast=230.0.0.1:1234", "-device", "e1000,netdev=n0,mac=02:00:00:00:00:07")
	for _, r := range []*running{a, b} {
		for end := time.After(90 * time.Second); ; {
			var f []byte
			select {
			case f = <-r.came:
			case <-end:
				t.Fatal("no DHCPDISCOVER came")
			}
			if ethernet.Src(f) == (ethernet.Addr{2, 0, 0, 0, 0, 7}) && bytes.Contains(f, []byte{0x63, 0x82, 0x53, 0x63, 53, 1, 1}) {
				break
			}
		}
	}
}
