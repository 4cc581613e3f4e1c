package bpf

import (
	"bytes"
	"maps"
	"net"
	"testing"

	"tmelink/internal/ethernet"
)

var (
	machine  = ethernet.Addr{2, 0, 0, 0, 0, 0xa}
	other    = ethernet.Addr{2, 0, 0, 0, 0, 0xb}
	remote   = ethernet.Addr{2, 0, 0, 0, 0, 0xc}
	joined   = ethernet.Addr{0x33, 0x33, 0, 0, 0, 1}
	unjoined = ethernet.Addr{0x33, 0x33, 0, 0, 0, 2}
)

// What comes from outside, from the host and from another packet socket: once
// each to whom it concerns.
func TestKindsOfFrames(t *testing.T) {
	alone(t)
	const last = 99
	for _, c := range []struct {
		name, args string
		filter     *ethernet.Filter
		dsts       []ethernet.Addr // those that arrive
		filtered   uint64          // user land's part: of each way, unjoined multicast
	}{
		{"a station", "", filterOf(machine, joined), []ethernet.Addr{machine, ethernet.Broadcast, joined}, 2},
		{"behind a link", "", nil, []ethernet.Addr{machine, other, ethernet.Broadcast, joined, unjoined}, 0},
		{"promisc", "promisc", filterOf(machine), []ethernet.Addr{machine, other, ethernet.Broadcast, joined, unjoined}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tap := openTAP(t, "tap0", false)
			p := listen(t, "interface tap0 "+c.args, c.filter)
			socket := start(t, "interface tap0", nil)
			want := map[uint32]int{}
			for i, dst := range []ethernet.Addr{machine, other, ethernet.Broadcast, joined, unjoined} {
				id := uint32(10 * i)
				tap.send(t, frame(dst, remote, id))
				write(t, socket, frame(dst, tap.addr, id+1)) // as the host's: its own address
				for _, d := range c.dsts {
					if d == dst {
						want[id], want[id+1] = 1, 1
					}
				}
			}
			tap.send(t, frame(ethernet.Broadcast, remote, last))
			if got := p.counts(t, last); !maps.Equal(got, want) {
				t.Errorf("arrived %v, want %v", got, want)
			}
			if n := p.Counters().Read.Count(ethernet.FilteredOut); n != c.filtered {
				t.Errorf("%d frames reached user land in vain, want %d: has the kernel its filter?", n, c.filtered)
			}
		})
	}
}

// The seed's TAP: machine A's and machine B's packet sockets, a third one with a
// link behind it, and an owner that reflects to the host.
func TestSharedTAPDeliversOnce(t *testing.T) {
	alone(t)
	a, b, d := machine, other, ethernet.Addr{2, 0, 0, 0, 0, 0xd}
	tap := openTAP(t, "tap0", true)
	ports := []*tapped{
		listen(t, "interface tap0", filterOf(a, joined)),
		listen(t, "interface tap0", filterOf(b, joined)),
		listen(t, "interface tap0", nil), // a link, machine D at its far end
	}
	senders := []ethernet.Addr{a, b, d}
	id := uint32(0)
	want := make([]map[uint32]int, len(ports))
	for i := range want {
		want[i] = map[uint32]int{}
	}
	expect := func(from int, dst ethernet.Addr) {
		for to := range ports {
			hears := dst.IsGroup() && dst != unjoined || dst == senders[to] || to == 2
			if hears && to != from {
				want[to][id]++
			}
		}
	}
	for range 50 {
		for _, dst := range []ethernet.Addr{a, b, d, remote, tap.addr, ethernet.Broadcast, joined, unjoined} {
			for from, src := range senders {
				if src == dst {
					continue
				}
				id++
				expect(from, dst)
				write(t, ports[from].port, frame(dst, src, id))
			}
			if dst == tap.addr || dst == remote {
				continue
			}
			id++ // from a machine behind the TAP's own connection
			expect(-1, dst)
			tap.send(t, frame(dst, remote, id))
		}
	}
	last := id + 1
	tap.send(t, frame(ethernet.Broadcast, remote, last))
	for i, p := range ports {
		if got := p.counts(t, last); !maps.Equal(got, want[i]) {
			for n := uint32(1); n < last; n++ {
				if got[n] != want[i][n] {
					t.Errorf("port %d: frame %d arrived %d times, want %d", i, n, got[n], want[i][n])
				}
			}
		}
	}
	// The link's port hears every group frame and none of the copies; that
	// there were copies shows that the test can fail.
	if n := ports[2].Counters().Read.Count(ethernet.Reflected); n < 3*3*50 {
		t.Errorf("only %d copies came back", n)
	}
}

// A frame of the host's own, sent by its IP stack, is heard.
func TestHostsOwnFrames(t *testing.T) {
	alone(t)
	tap := openTAP(t, "tap0", true)
	ip(t, "addr", "add", "10.0.77.1/24", "dev", "tap0")
	ip(t, "neigh", "add", "10.0.77.2", "lladdr", machine.String(), "dev", "tap0")
	p := start(t, "interface tap0", filterOf(machine))
	conn, err := net.Dial("udp4", "10.0.77.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 3 {
		conn.Write([]byte("from the host"))
	}
	got := 0
	for got < 3 {
		frames, err := p.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if ethernet.Src(f.Data) != tap.addr || ethernet.Dst(f.Data) != machine || f.Needs != 0 {
				t.Errorf("%+v", f)
			}
			got++
		}
	}
}

// The kernel takes the outer tag out of every frame that comes in; it comes back.
func TestVLANTags(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	in, out, socket := listen(t, "interface v0", filterOf(machine)), listen(t, "interface v1", nil), start(t, "interface v1", nil)
	var last uint32
	for i, tags := range []string{"", "\x81\x00\x60\x07", "\x81\x00\x00\x00", "\x88\xa8\x00\x05", "\x88\xa8\x00\x05\x81\x00\x00\x06"} {
		last = uint32(i + 1)
		plain := frame(machine, other, last)
		tagged := append([]byte(string(plain[:12])+tags), plain[12:]...)
		write(t, socket, bytes.Clone(tagged))
		for way, p := range map[string]*tapped{"coming in": in, "going out": out} {
			p.counts(t, last)
			p.mu.Lock()
			if got := p.last[last]; p.seen[last] != 1 || !bytes.Equal(got, tagged) {
				t.Errorf("%s: arrived %d times as %x, want %x", way, p.seen[last], got, tagged)
			}
			p.mu.Unlock()
		}
	}
}

// A filter that changes while the port runs reaches the kernel.
func TestFilterChanges(t *testing.T) {
	alone(t)
	tap := openTAP(t, "tap0", false)
	filter := filterOf(machine)
	p := listen(t, "interface tap0", filter)
	id := uint32(0)
	hears := func(dst ethernet.Addr) bool {
		id += 2
		tap.send(t, frame(dst, remote, id))
		tap.send(t, frame(ethernet.Broadcast, remote, id+1))
		return p.counts(t, id+1)[id] == 1
	}
	step := func(name string, dst ethernet.Addr, want bool) {
		t.Helper()
		if hears(dst) != want {
			t.Errorf("%s: %v arrives: %v", name, dst, !want)
		}
	}
	step("at first", other, false)
	filter.Add(other)
	step("added", other, true)
	filter.Remove(machine)
	step("removed", machine, false)
	filter.SetPromiscuous(true)
	step("promiscuous", remote, true)
	filter.SetPromiscuous(false)
	step("no more promiscuous", remote, false)
	step("still there", other, true)
	if n := p.Counters().Read.Count(ethernet.FilteredOut); n != 0 {
		t.Errorf("%d unicasts of others reached user land", n)
	}
	p.Close()
	filter.Add(remote) // after Close: no harm
}
