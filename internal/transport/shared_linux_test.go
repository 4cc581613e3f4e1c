package transport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestMembersOfAPortEachHearTheirPeer(t *testing.T) {
	for name, addr := range map[string]netip.AddrPort{"IPv4": loopback, "IPv6": loopback6} {
		for _, plainly := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/plain %v", name, plainly), func(t *testing.T) {
				const n = 20
				local := freePort(t, addr.Addr())
				var members, peers []*UDP
				for range n {
					peer, _, _ := openUDP(t, UDPConfig{Local: addr, Remotes: []netip.AddrPort{local}, Plain: plainly})
					member, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{peer.Local()}, Plain: plainly})
					peers, members = append(peers, peer), append(members, member)
					if member.conn != members[0].conn {
						t.Fatal("a socket of its own")
					}
				}
				for i := range n {
					packets := packetsOf(same(30+i, 1000+i), true)
					peers[i].WritePackets(packets)
					compare(t, take(t, members[i], len(packets)), packets)
					members[i].WritePackets(packets)
					compare(t, take(t, peers[i], len(packets)), packets)
				}
				// All at once.
				roomy(t, members[0].conn, 600)
				for i := range n {
					peers[i].WritePackets(packetsOf(same(15+i, 900+i), true))
				}
				for i := range n {
					compare(t, take(t, members[i], 15+i), packetsOf(same(15+i, 900+i), true))
				}
				for i := range n {
					if n := members[i].config.Counters.Read.Total(); n != 0 {
						t.Errorf("member %d has dropped %d", i, n)
					}
				}
			})
		}
	}
}

// TestErrorsGoToTheMemberTheyConcern, and cost the others nothing.
func TestErrorsGoToTheMemberTheyConcern(t *testing.T) {
	local := freePort(t, loopback.Addr())
	dead := freePort(t, loopback.Addr())
	peer := plain(t, "127.0.0.1:0")
	roomy(t, peer, 500)
	toDead, _, deadLog := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{dead}})
	toPeer, counters, peerLog := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(peer)}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 500 {
			toDead.WritePackets(texts("is anybody there %d", 3))
		}
	}()
	var sent [][]byte
	for i := range 500 {
		p := binary.BigEndian.AppendUint32(nil, uint32(i))
		toPeer.WritePackets([][]byte{p})
		sent = append(sent, p)
	}
	<-done
	compare(t, takePlain(t, peer, len(sent)), sent)
	if n := counters.Write.Total(); n != 0 {
		t.Errorf("%d packets are counted as not sent", n)
	}
	if !nstest.Eventually(10*time.Second, func() bool { return deadLog.has(nobodyListens) }) || peerLog.has("reports") {
		t.Errorf("the one whose peer is away says: %s\nthe other: %s", deadLog.b.String(), peerLog.b.String())
	}
}

// TestDropsOfASharedPortAreCountedOnce, at whichever member asks first.
func TestDropsOfASharedPortAreCountedOnce(t *testing.T) {
	local := freePort(t, loopback.Addr())
	small := Socket{ReceiveBuffer: 1} // the kernel's least
	peer := plain(t, "127.0.0.1:0")
	first, a, _ := openUDP(t, UDPConfig{Socket: small, Local: local, Remotes: []netip.AddrPort{portOf(peer)}})
	second, b, _ := openUDP(t, UDPConfig{Socket: small, Local: local})
	const n = 1000
	// While the batch is not handed out, the socket is not read.
	first.port.mu.Lock()
	for range n {
		peer.WriteToUDPAddrPort(make([]byte, 1000), local)
	}
	first.port.mu.Unlock()
	for range 3 {
		first.CountDropped()
		second.CountDropped()
	}
	dropped := a.Read.Count(ethernet.KernelDrop) + b.Read.Count(ethernet.KernelDrop)
	if dropped == 0 || dropped >= n {
		t.Fatalf("%d of %d are counted", dropped, n)
	}
	gather(t, first, n-int(dropped))
	if a.Read.Total()+b.Read.Total() != dropped {
		t.Errorf("%d are counted of %d", a.Read.Total()+b.Read.Total(), dropped)
	}
}

// TestJoinedDatagramsOfASharedPort go whole to one member, cut as ever.
func TestJoinedDatagramsOfASharedPort(t *testing.T) {
	for _, addr := range []netip.AddrPort{loopback, loopback6} {
		local := freePort(t, addr.Addr())
		peers := []*net.UDPConn{plain(t, addr.String()), plain(t, addr.String()), plain(t, addr.String())}
		var members []*UDP
		for _, p := range peers[:2] {
			m, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(p)}, MaxPacket: 65535})
			members = append(members, m)
		}
		roomy(t, members[0].conn, 90*20) // of which each is as much as 20 others
		counters := members[0].config.Counters
		for range 30 {
			for i, p := range peers {
				sendJoined(t, p, local, packetsOf([]int{60000 + i}, true)[0], 1000)
			}
		}
		for i, m := range members {
			data := packetsOf([]int{60000 + i}, true)[0]
			got := take(t, m, 30*(60+i))
			for range 30 {
				var whole []byte
				for range 60 + i {
					whole, got = append(whole, got[0]...), got[1:]
				}
				compare(t, [][]byte{whole}, [][]byte{data})
			}
		}
		if !nstest.Eventually(10*time.Second, func() bool { return counters.Read.Count(ethernet.Stranger) == 30*61 }) {
			t.Errorf("%d of strangers are counted, want %d", counters.Read.Count(ethernet.Stranger), 30*61)
		}
	}
}

// TestLongestDatagramsSideBySide: the memory behind each is its reader's, too.
func TestLongestDatagramsSideBySide(t *testing.T) {
	local := freePort(t, loopback6.Addr())
	a, b := plain(t, "[::1]:0"), plain(t, "[::1]:0")
	first, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(a)}, MaxPacket: 65535})
	second, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(b)}, MaxPacket: 65535})
	roomy(t, first.conn, 8*20)
	const longest = 65527 // RFC 8200, without jumbograms
	data := packetsOf([]int{longest}, true)[0]
	for range 4 {
		for _, p := range []*net.UDPConn{a, b} {
			if _, err := p.WriteToUDPAddrPort(data, local); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := make(chan struct{})
	read := func(u *UDP) {
		for n := 0; n < 4; {
			packets, err := u.ReadPackets()
			if err != nil {
				t.Error(err)
				return
			}
			for _, p := range packets {
				if !bytes.Equal(p, data) {
					t.Errorf("a packet of %d bytes is not the %d that were sent", len(p), len(data))
				}
				clear(p[:cap(p)])
				n++
			}
		}
	}
	go func() {
		defer close(done)
		read(second)
	}()
	read(first)
	<-done
}

// TestCloseOfAMemberWakesItsWriter, who waits for the socket to take its packets, and
// whose packets the others' are behind.
func TestCloseOfAMemberWakesItsWriter(t *testing.T) {
	ownNamespace(t)
	nstest.NeedPrograms(t, "tc")
	run(t, "ip link add v0 type veth peer name v1")
	run(t, "ip addr add 192.0.2.1/24 dev v0")
	run(t, "ip link set v0 up")
	run(t, "ip link set v1 up")
	run(t, "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev v0")
	run(t, "tc qdisc add dev v0 root tbf rate 8kbit burst 2kb latency 1000s")
	local := netip.MustParseAddrPort("192.0.2.1:7")
	small := Socket{SendBuffer: 1}
	var members []*UDP
	var written []chan error
	for _, far := range []string{"192.0.2.2:8", "192.0.2.2:9"} {
		m, _, _ := openUDP(t, UDPConfig{Socket: small, Local: local, Remotes: []netip.AddrPort{netip.MustParseAddrPort(far)}})
		done := make(chan error, 1)
		go func() { done <- m.WritePackets(packetsOf(same(640, 1000), true)) }()
		members, written = append(members, m), append(written, done)
	}
	time.Sleep(50 * time.Millisecond)
	for i, m := range members {
		select {
		case err := <-written[i]:
			t.Fatalf("writer %d does not wait: %v", i, err)
		default:
		}
		m.Close()
		select {
		case err := <-written[i]:
			if err != net.ErrClosed {
				t.Errorf("writer %d: %v", i, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("writer %d still waits", i)
		}
	}
}
