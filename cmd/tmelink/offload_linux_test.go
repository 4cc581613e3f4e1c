package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// tunnel is two hosts, each with a TAP and a link; the two links meet on a wire
// of MTU 1500.
type tunnel struct {
	reach
	ours [2]*nstest.Process // of a and b
}

// wired makes two hosts with a wire between them, 192.168.0.1 and .2 on eth0.
func wired(t *testing.T) (a, b *nstest.Host) {
	t.Helper()
	a, b = nstest.New(t, "a"), nstest.New(t, "b")
	nstest.Cable(t, a, "eth0", "192.168.0.1/24", b, "eth0", "192.168.0.2/24")
	for i, h := range []*nstest.Host{a, b} {
		h.IP("addr", "add", fmt.Sprintf("fd00::%d/64", i+1), "dev", "eth0", "nodad")
	}
	return a, b
}

// linkEnds are the elements of a link's two ends.
type linkEnds struct{ name, a, b string }

func linkOf(name, a, b string) linkEnds {
	const element = "tme/host/openvpn/socket/link --dev tap "
	return linkEnds{name, element + a, element + b}
}

var (
	overUDP = linkOf("UDP", "--local 192.168.0.1 --remote 192.168.0.2", "--local 192.168.0.2 --remote 192.168.0.1")
	overTCP = linkOf("TCP", "--local 192.168.0.1 --proto tcp-server", "--local 192.168.0.2 --proto tcp-client --remote 192.168.0.1")
)

// with adds options at both ends.
func (l linkEnds) with(name, options string) linkEnds {
	return linkEnds{name, l.a + " " + options, l.b + " " + options}
}

// dig runs tmelink at both hosts and waits until the tunnel is there.
func dig(t *testing.T, a, b *nstest.Host, link linkEnds, tapA, tapB string) *tunnel {
	t.Helper()
	u := &tunnel{reach: reach{a, b, "tap0", "tap0", 2, false}}
	u.ours[0] = runs(t, a, tapLine("tap0", 1, tapA)+"link0 at tap0: "+link.a+"\n")
	u.ours[1] = runs(t, b, tapLine("tap0", 2, tapB)+"link0 at tap0: "+link.b+"\n")
	for _, p := range u.ours {
		p.Expect(t, "up after", 20*time.Second)
	}
	return u
}

// runs starts tmelink with a description, and waits until it listens where it is
// a tcp-server. The race detector would take a second to end.
func runs(t *testing.T, h *nstest.Host, description string) *nstest.Process {
	t.Helper()
	p := h.Start("env", "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=50", "tmelink", "run", write(t, "m.tme", description))
	if strings.Contains(description, "tcp-server") {
		p.Expect(t, "waiting for a peer to connect", 20*time.Second)
	}
	return p
}

// TestOffloads carries TCP and UDP, all of whose bytes are compared, through links
// of every kind between TAPs with and without offloads: first at peace, then
// while the offloads of all interfaces are switched underneath. What a VLAN device
// would send, which this kernel may not have, is sent by packet sockets.
func TestOffloads(t *testing.T) {
	nstest.Need(t, "ethtool")
	for _, link := range []linkEnds{overUDP, overUDP.with("UDP without offloads", "--offload off"), overTCP} {
		for _, taps := range tapOffloads {
			t.Run(link.name+", TAPs "+taps[0]+" and "+taps[1], func(t *testing.T) {
				a, b := wired(t)
				u := dig(t, a, b, link, "offload "+taps[0], "offload "+taps[1])
				for _, e := range tapEnds {
					u.tcp(t, e, 2_000_000)
					sender, receiver := carried(t, a), carried(t, b)
					n := u.udp(t, e, true)
					inSuperFrames(t, "the sender", carried(t, a).sent-sender.sent, n, taps[0] == "on")
					// Elsewhere it is up to chance how many come together.
					if taps[1] == "off" || link.name == overUDP.name {
						inSuperFrames(t, "the receiver", carried(t, b).received-receiver.received, n, taps[1] == "on")
					}
				}
				u.tagged(t, true)
				u.inUnrest(t, netif{a, "tap0"}, netif{b, "tap0"}, netif{a, "eth0"}, netif{b, "eth0"})
				endsWell(t, u.ours[:], "control")
			})
		}
	}
}

// tapOffloads are the offloads of TAPs at two ends.
var tapOffloads = [][2]string{{"on", "on"}, {"on", "off"}, {"off", "on"}, {"off", "off"}}

// TestOffloadsInside is TestOffloads for two TAPs of one process, whose
// super-frames go from one to the other whole.
func TestOffloadsInside(t *testing.T) {
	nstest.Need(t, "ethtool")
	const trunk = "sw0: tme/generic/switch\nsw1: tme/generic/switch\nsw0 trunk at sw1 trunk\n"
	for _, way := range []struct {
		name, first, second string
		tags                int
	}{
		{"by a switch", "sw0: tme/generic/switch\ntap1 at sw0", "tap2 at sw0", 2},
		{"by a trunk", trunk + "tap1 at sw0 trunk native 10", "tap2 at sw1 trunk native 10", 1}, // which puts one more before an 802.1ad tag
		{"side by side", "tap1", "tap2 at tap1", 2},
	} {
		for _, taps := range tapOffloads {
			t.Run(way.name+", TAPs "+taps[0]+" and "+taps[1], func(t *testing.T) {
				here, a, b := nstest.New(t, "here"), nstest.New(t, "a"), nstest.New(t, "b")
				ours := runs(t, here, tapLine(way.first, 1, "netns "+a.Name+" offload "+taps[0])+
					tapLine(way.second, 2, "netns "+b.Name+" offload "+taps[1]))
				ours.Expect(t, "up after", 20*time.Second)
				r := reach{a, b, "tap0", "tap0", way.tags, false}
				for _, e := range tapEnds {
					r.tcp(t, e, 2_000_000)
					r.udp(t, e, true)
				}
				r.tagged(t, true)
				r.inUnrest(t, netif{a, "tap0"}, netif{b, "tap0"})
				endsWell(t, []*nstest.Process{ours}, "queue-full")
			})
		}
	}
}

// TestOffloadsOfPacketSockets is TestOffloads for a packet socket on a wire whose
// far end is a host, with its network card's offloads.
func TestOffloadsOfPacketSockets(t *testing.T) {
	nstest.Need(t, "ethtool")
	for _, link := range []linkEnds{overUDP, overTCP} {
		for _, offload := range []string{"on", "off"} {
			t.Run(link.name+", TAP "+offload, func(t *testing.T) {
				far := nstest.New(t, "far")
				a, b := wired(t)
				nstest.Cable(t, far, "eth1", "10.0.77.1/24", a, "eth1", "")
				far.IP("addr", "add", "fd77::1/64", "dev", "eth1", "nodad")
				ours := []*nstest.Process{
					runs(t, a, "bpf0: tme/host/bsd/bpf interface eth1\nlink0 at bpf0: "+link.a+"\n"),
					runs(t, b, tapLine("tap0", 2, "offload "+offload)+"link0 at tap0: "+link.b+"\n"),
				}
				for _, p := range ours {
					p.Expect(t, "up after", 20*time.Second)
				}
				// A wire takes longer frames by one tag only.
				r := reach{far, b, "eth1", "tap0", 1, false}
				back := r.turned()
				for _, e := range tapEnds {
					r.tcp(t, e, 2_000_000)
					r.udp(t, e, true)
					back.udp(t, e, true)
				}
				r.tagged(t, true)
				back.tagged(t, true)
				r.inUnrest(t, netif{far, "eth1"}, netif{b, "tap0"}, netif{a, "eth1"}, netif{a, "eth0"})
				endsWell(t, ours, "control")
			})
		}
	}
}

// inUnrest carries everything while the offloads of interfaces are switched, and
// once more TCP in the state that they are left in.
func (r reach) inUnrest(t *testing.T, interfaces ...netif) {
	t.Helper()
	for s := unrest(t, interfaces); !s.enough(); {
		for _, e := range tapEnds {
			x, y := r.dial(t, e)
			result := make(chan error, 1)
			go func() { result <- exchange(x, y, 2_000_000) }()
			r.udp(t, e, false)
			if err := <-result; err != nil {
				t.Fatalf("TCP over %v while offloads are switched: %v", e, err)
			}
		}
		r.tagged(t, false)
	}
	for _, e := range tapEnds {
		r.tcp(t, e, 500_000)
	}
}

// inSuperFrames fails the test if a TAP that has offloads has carried n datagrams
// one by one, of which nine in ten were sent together, or one without offloads has not.
func inSuperFrames(t *testing.T, whose string, frames, n int, on bool) {
	t.Helper()
	switch {
	case on && frames > n/2:
		t.Errorf("the TAP of %s has carried %d datagrams in %d frames: super-frames are not used", whose, n, frames)
	case !on && frames < n:
		t.Errorf("the TAP of %s has carried %d datagrams in %d frames, although its offloads are off", whose, n, frames)
	}
}

// counted is how many frames an interface has sent and received.
type counted struct{ sent, received int }

// carried asks a host's TAP; a super-frame counts once.
func carried(t *testing.T, h *nstest.Host) (c counted) {
	t.Helper()
	text := h.Run("cat", "/sys/class/net/tap0/statistics/tx_packets", "/sys/class/net/tap0/statistics/rx_packets")
	if n, err := fmt.Sscan(text, &c.sent, &c.received); n != 2 {
		t.Fatalf("the counters of tap0 in %s: %v: %s", h.Name, err, text)
	}
	return c
}

// netif is an interface of a host.
type netif struct {
	host   *nstest.Host
	device string
}

func (n netif) String() string { return n.device + " in " + n.host.Name }

// Features that are switched of a TAP, and of a wire's end. A wire with gro queues
// packets, and loses those in the queue when it is turned off.
var (
	tapFeatures  = []string{"tso", "gso", "gro", "tx", "sg", "tx-udp-segmentation", "rx-udp-gro-forwarding", "rx-gro-list"}
	wireFeatures = []string{"tso", "gso", "gro", "tx", "rx", "sg", "tx-udp-segmentation", "rx-udp-gro-forwarding"}
)

// switching is a goroutine that switches offloads.
type switching struct {
	calls   atomic.Int32
	least   int32
	stop    chan struct{}
	running sync.WaitGroup
}

// unrest switches features of interfaces, one interface every 50 ms, until it was
// enough or the test ends.
func unrest(t *testing.T, interfaces []netif) *switching {
	t.Helper()
	s := &switching{stop: make(chan struct{}), least: int32(4 * len(interfaces))}
	random := rand.New(rand.NewPCG(transferSeed, 1))
	done := map[netif]int{}
	s.running.Go(func() {
		for i := 0; ; i++ {
			n := interfaces[i%len(interfaces)]
			features := wireFeatures
			if strings.HasPrefix(n.device, "tap") {
				features = tapFeatures
			}
			arguments := []string{"-K", n.device}
			for _, f := range features {
				if random.IntN(3) > 0 {
					arguments = append(arguments, f, []string{"off", "on"}[random.IntN(2)])
				}
			}
			// It fails also where only some of what it is asked for can be done.
			if out, err := n.host.Try("ethtool", arguments...); err == nil || strings.Contains(out, "Actual changes") {
				done[n]++
			}
			s.calls.Add(1)
			select {
			case <-s.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		s.end()
		for _, n := range interfaces {
			if done[n] == 0 && !t.Failed() {
				t.Errorf("ethtool has never switched anything of %v", n)
			}
		}
	})
	return s
}

// enough says whether every interface was switched a few times, and ends it then.
func (s *switching) enough() bool {
	if s.calls.Load() < s.least {
		return false
	}
	s.end()
	return true
}

func (s *switching) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.running.Wait()
}
