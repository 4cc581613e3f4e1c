package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// freePort is a UDP port of an address that nobody has.
func freePort(t testing.TB, addr netip.Addr) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return portOf(c)
}

// keyed makes a configuration that recognizes packets that begin with a text.
func keyed(c UDPConfig, key string) UDPConfig {
	c.Recognize = func(p []byte) bool { return strings.HasPrefix(string(p), key) }
	c.Introduce = func(p []byte, _ netip.AddrPort) bool { return strings.HasPrefix(string(p), key) }
	return c
}

// TestWhoseADatagramIs: by the sender's address, by the key, and by who floats.
func TestWhoseADatagramIs(t *testing.T) {
	local := freePort(t, loopback.Addr())
	a, b, c, d, e := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	fixed, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(a)}})
	moving, movingDrops, _ := openUDP(t, keyed(UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(b)}, Float: true}, "moving"))
	floating, floatingDrops, _ := openUDP(t, UDPConfig{Local: local})
	arrives := func(from *net.UDPConn, text string, to *UDP) {
		t.Helper()
		from.WriteToUDPAddrPort([]byte(text), local)
		if got := gather(t, to, 1)[0]; got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
		if to.Peer() != portOf(from) {
			t.Fatalf("the peer is %v, want %v", to.Peer(), portOf(from))
		}
		to.WritePackets([][]byte{[]byte("answer to " + text)})
		if got := receive(t, from); got != "answer to "+text {
			t.Fatalf("the answer is %q", got)
		}
	}
	arrives(a, "fixed", fixed)
	arrives(b, "anything", moving)
	arrives(c, "somebody", floating)
	arrives(d, "moving to elsewhere", moving)
	arrives(d, "and anything", moving)
	arrives(e, "somebody else", floating)
	arrives(c, "back", floating)
	arrives(a, "moving, it says, and is not", fixed)
	arrives(b, "moving back", moving)
	if n := movingDrops.Read.Total() + floatingDrops.Read.Total(); n != 0 {
		t.Errorf("%d dropped", n)
	}
	// A peer of the one who floats becomes the peer of one with a remote.
	late, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(c)}})
	arrives(c, "now fixed", late)
}

// TestOneFloatingMemberWithARemote is for who may be anywhere, if it is the only one.
func TestOneFloatingMemberWithARemote(t *testing.T) {
	local := freePort(t, loopback.Addr())
	a, b, c := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(a)}})
	floating, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(b)}, Float: true})
	c.WriteToUDPAddrPort([]byte("from elsewhere"), local)
	if got := gather(t, floating, 1)[0]; got != "from elsewhere" || floating.Peer() != portOf(c) {
		t.Errorf("got %q of %v", got, floating.Peer())
	}
}

// TestStrangersAtASharedPort are counted once, at the eldest member, and told of.
func TestStrangersAtASharedPort(t *testing.T) {
	local := freePort(t, loopback.Addr())
	a, b, stranger := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	first, firstDrops, l := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(a)}})
	second, secondDrops, _ := openUDP(t, keyed(UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(b)}}, "evil"))
	for range 7 {
		stranger.WriteToUDPAddrPort([]byte("evil"), local)
	}
	a.WriteToUDPAddrPort([]byte("a"), local)
	b.WriteToUDPAddrPort([]byte("b"), local)
	if got := gather(t, first, 1)[0] + gather(t, second, 1)[0]; got != "ab" {
		t.Errorf("got %q", got)
	}
	if n := firstDrops.Read.Count(ethernet.Stranger); n != 7 || firstDrops.Read.Total()+secondDrops.Read.Total() != n {
		t.Errorf("%d strangers counted, want 7; all in all %d and %d", n, firstDrops.Read.Total(), secondDrops.Read.Total())
	}
	if !l.has("dropped what none of the port's links has for its peer") || !l.has(portOf(stranger).String()) {
		t.Errorf("the log does not tell: %s", l.b.String())
	}
}

func TestWhoCannotShare(t *testing.T) {
	local := freePort(t, loopback.Addr())
	remote, other := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("127.0.0.1:10")
	openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{remote}})
	openUDP(t, UDPConfig{Local: local})
	for name, c := range map[string]struct {
		config UDPConfig
		want   string
	}{
		"two without a remote":    {UDPConfig{}, "takes packets of anybody"},
		"one that floats":         {UDPConfig{Remotes: []netip.AddrPort{other}, Float: true}, "takes packets of anybody"},
		"the same peer":           {UDPConfig{Remotes: []netip.AddrPort{other, remote}}, "a peer at the same address and port"},
		"another buffer":          {UDPConfig{Remotes: []netip.AddrPort{other}, Socket: Socket{ReceiveBuffer: 100000}}, "--rcvbuf"},
		"without joined packets":  {UDPConfig{Remotes: []netip.AddrPort{other}, Plain: true}, "--offload"},
		"an address of the whole": {UDPConfig{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port()), Remotes: []netip.AddrPort{other}}, "address already in use"},
	} {
		c.config.Log, c.config.Counters, c.config.MaxPacket = (&log{}).logger(), &ethernet.Counters{}, 100
		if !c.config.Local.IsValid() {
			c.config.Local = local
		}
		u, err := OpenUDP(context.Background(), c.config)
		if err == nil {
			u.Close()
		}
		t.Run(name, func(t *testing.T) {
			checkBind(t, err, "listen on udp "+c.config.Local.String()+": ", c.want)
			checkBind(t, err, "listen on udp", "--lport")
		})
	}
	// And after all that it can still be shared.
	openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{other}})
}

// numberedFlow sends numbered packets to a port, window of them at a time, and waits
// for each of them at the member.
type numberedFlow struct {
	peer *UDP
	got  atomic.Int64
}

// read takes the member's packets, which must come without a gap and in order.
func (f *numberedFlow) read(t *testing.T, member *UDP, done *sync.WaitGroup) {
	defer done.Done()
	for want := uint32(0); ; {
		packets, err := member.ReadPackets()
		if err != nil {
			if err != net.ErrClosed {
				t.Error(err)
			}
			return
		}
		for _, p := range packets {
			if got := binary.BigEndian.Uint32(p); got != want {
				t.Errorf("packet %d came, want %d", got, want)
				want = got
			}
			want++
		}
		f.got.Add(int64(len(packets)))
	}
}

// send keeps a few packets on their way until stop, and gives how many it has sent.
func (f *numberedFlow) send(stop <-chan struct{}) (sent int64) {
	for {
		select {
		case <-stop:
			return sent
		default:
		}
		if sent-f.got.Load() > 64 {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		var packets [][]byte
		for range 8 {
			packets = append(packets, binary.BigEndian.AppendUint32(nil, uint32(sent)))
			sent++
		}
		f.peer.WritePackets(packets)
	}
}

// TestMembersComeAndGo has links join and leave a port while the packets of two others
// flow through it, of which none may be lost. The first has the port alone at the
// beginning, and the kernel knows its peer.
func TestMembersComeAndGo(t *testing.T) {
	for name, addr := range map[string]netip.AddrPort{"IPv4": loopback, "IPv6": loopback6} {
		t.Run(name, func(t *testing.T) {
			local := freePort(t, addr.Addr())
			var flows [2]numberedFlow
			var members [2]*UDP
			var readers, senders sync.WaitGroup
			var sent [2]int64
			stop := make(chan struct{})
			begin := func(i int) {
				flows[i].peer, _, _ = openUDP(t, UDPConfig{Local: addr, Remotes: []netip.AddrPort{local}})
				members[i], _, _ = openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{flows[i].peer.Local()}})
				readers.Add(1)
				go flows[i].read(t, members[i], &readers)
				senders.Go(func() { sent[i] = flows[i].send(stop) })
				if !nstest.Eventually(10*time.Second, func() bool { return flows[i].got.Load() > 100 }) {
					t.Fatal("nothing comes")
				}
			}
			begin(0)
			begin(1)
			third, _, _ := openUDP(t, UDPConfig{Local: addr, Remotes: []netip.AddrPort{local}})
			for range 200 {
				m, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{third.Local()}})
				third.WritePackets(texts("hello %d", 2))
				gather(t, m, 1)
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
				if err := m.Close(); err != net.ErrClosed {
					t.Fatalf("closed again: %v", err)
				}
				if err := m.WritePackets(texts("x", 1)); err != net.ErrClosed {
					t.Fatalf("written after close: %v", err)
				}
				if err := m.Send([]byte("x"), netip.AddrPort{}); err != net.ErrClosed {
					t.Fatalf("sent after close: %v", err)
				}
				if _, err := m.ReadPackets(); err != net.ErrClosed {
					t.Fatalf("read after close: %v", err)
				}
			}
			// The one that opened the socket goes as any other, and comes again.
			close(stop)
			senders.Wait()
			for i := range flows {
				if !nstest.Eventually(10*time.Second, func() bool { return flows[i].got.Load() == sent[i] }) {
					t.Errorf("of %d packets %d have come", sent[i], flows[i].got.Load())
				}
				if n := members[i].config.Counters.Read.Total() + flows[i].peer.config.Counters.Write.Total(); n != 0 && i > 0 {
					t.Errorf("flow %d: %d are counted as dropped", i, n)
				}
			}
			members[0].Close()
			flows[1].peer.WritePackets([][]byte{binary.BigEndian.AppendUint32(nil, uint32(sent[1]))})
			if !nstest.Eventually(10*time.Second, func() bool { return flows[1].got.Load() == sent[1]+1 }) {
				t.Error("without the first the second hears nothing")
			}
			again, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{flows[0].peer.Local()}})
			flows[0].peer.WritePackets(texts("again", 1))
			if got := gather(t, again, 1)[0]; !strings.HasPrefix(got, "again") {
				t.Errorf("got %q", got)
			}
			again.Close()
			members[1].Close()
			readers.Wait()
			ports.Lock()
			defer ports.Unlock()
			if len(ports.open) != 0 {
				t.Errorf("%d ports are left", len(ports.open))
			}
		})
	}
}

// TestAMemberThatDoesNotRead loses its packets, which are counted, and no other's.
func TestAMemberThatDoesNotRead(t *testing.T) {
	local := freePort(t, loopback.Addr())
	peer, lazyPeer := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	member, counters, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(peer)}})
	lazy, lazyCounters, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(lazyPeer)}})
	number := func(n int) []byte { return binary.BigEndian.AppendUint32(make([]byte, 0, 1000), uint32(n))[:1000] }
	n := 0
	for round := 0; lazyCounters.Read.Count(ethernet.QueueFull) < 100; round++ {
		for range 8 {
			lazyPeer.WriteToUDPAddrPort(number(n), local)
			n++
		}
		// What is behind them has come: so many the socket's own buffer can hold.
		peer.WriteToUDPAddrPort(number(round), local)
		if got := gather(t, member, 1)[0]; got != string(number(round)) {
			t.Fatalf("round %d: the other has %x", round, got[:4])
		}
		if n > 1e5 {
			t.Fatal("nothing is counted")
		}
	}
	lost := lazyCounters.Read.Count(ethernet.QueueFull)
	for i, p := range gather(t, lazy, n-int(lost)) {
		if p != string(number(i)) {
			t.Fatalf("packet %d is %x", i, p[:4])
		}
	}
	if n < 1000 {
		t.Errorf("of %d packets %d were lost", n, lost)
	}
	lazyPeer.WriteToUDPAddrPort([]byte("and on"), local)
	if got := gather(t, lazy, 1)[0]; got != "and on" {
		t.Errorf("got %q", got)
	}
	if n := counters.Read.Total(); n != 0 {
		t.Errorf("%d of the other's packets are dropped", n)
	}
}

// TestCloseOfAMemberWakesItsReader, and no other.
func TestCloseOfAMemberWakesItsReader(t *testing.T) {
	local := freePort(t, loopback.Addr())
	peer := plain(t, "127.0.0.1:0")
	first, _, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{portOf(peer)}})
	second, _, _ := openUDP(t, UDPConfig{Local: local})
	results := [2]chan error{make(chan error, 1), make(chan error, 1)}
	for i, u := range []*UDP{first, second} {
		go func() {
			_, err := u.ReadPackets()
			results[i] <- err
		}()
	}
	second.Close()
	if err := <-results[1]; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	peer.WriteToUDPAddrPort([]byte("still here"), local)
	if err := <-results[0]; err != nil {
		t.Errorf("the other: %v", err)
	}
}

// TestSharingLosesNothingOfTheFirst: whose peer the kernel knows while it sends, and
// whom it does not know any more once others join.
func TestSharingLosesNothingOfTheFirst(t *testing.T) {
	for name, addr := range map[string]netip.AddrPort{"IPv4": loopback, "IPv6": loopback6} {
		for range 30 {
			local := freePort(t, addr.Addr())
			peer, _, _ := openUDP(t, UDPConfig{Local: addr, Remotes: []netip.AddrPort{local}})
			first, counters, _ := openUDP(t, UDPConfig{Local: local, Remotes: []netip.AddrPort{peer.Local()}})
			peer.WritePackets(texts("hello %d", 1))
			gather(t, first, 1)
			flow := numberedFlow{peer: first}
			var reading, sending sync.WaitGroup
			reading.Add(1)
			go flow.read(t, peer, &reading)
			stop := make(chan struct{})
			var sent int64
			sending.Go(func() { sent = flow.send(stop) })
			some := flow.got.Load() + 50
			more := func() bool { return flow.got.Load() > some }
			if !nstest.Eventually(10*time.Second, more) || runtime.GOOS == "linux" && !first.connected.Load() {
				t.Fatalf("%s: the kernel does not know the peer of the first", name)
			}
			openUDP(t, UDPConfig{Local: local})
			some = flow.got.Load() + 50
			if !nstest.Eventually(10*time.Second, more) || first.connected.Load() {
				t.Fatalf("%s: the kernel still knows the peer of the first", name)
			}
			close(stop)
			sending.Wait()
			if !nstest.Eventually(10*time.Second, func() bool { return flow.got.Load() == sent }) || counters.Write.Total() != 0 {
				t.Errorf("%s: of %d packets %d have come, and %d are counted as lost", name, sent, flow.got.Load(), counters.Write.Total())
			}
			peer.Close()
			reading.Wait()
		}
	}
}
