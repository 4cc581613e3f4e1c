package tap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/frametest"
	"tmelink/internal/nstest"
)

// flows are one of each kind of super-frame between the station and the host.
func (r *running) flows(toHost bool) map[string]frametest.Flow {
	own := r.port.host.Load().addr
	v4 := frametest.Flow{Dst: own, Src: stationAddr, To: netip.AddrPortFrom(hostIP, 5001), From: netip.AddrPortFrom(stationIP, 5002)}
	v6 := v4
	v6.To, v6.From = netip.AddrPortFrom(hostIP6, 5001), netip.AddrPortFrom(stationIP6, 5002)
	all := map[string]frametest.Flow{}
	for name, f := range map[string]frametest.Flow{"IPv4": v4, "IPv6": v6} {
		if !toHost {
			f.Dst, f.Src, f.To, f.From = f.Src, f.Dst, f.From, f.To
		}
		all["UDP, "+name] = f
		f.TCP = true
		all["TCP, "+name] = f
		f.VLAN = 7
		all["TCP, tagged, "+name] = f
	}
	return all
}

// batchFrom reads until there are frames from a source address, and gives them.
func batchFrom(t testing.TB, p ethernet.Reader, src ethernet.Addr) (batch []ethernet.Frame) {
	t.Helper()
	for len(batch) == 0 {
		frames, err := p.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if ethernet.Src(f.Data) == src && len(f.Data) > 200 { // and none of the kernel's own
				batch = append(batch, f)
			}
		}
	}
	return batch
}

// next is batchFrom where one frame is to come.
func next(t testing.TB, p ethernet.Reader, src ethernet.Addr) ethernet.Frame {
	t.Helper()
	batch := batchFrom(t, p, src)
	if len(batch) != 1 {
		t.Errorf("%d frames came, want one", len(batch))
	}
	return batch[0]
}

// TestSuperFramesFromTheHost: what is sent on the interface in one piece comes out
// of the port in one piece.
func TestSuperFramesFromTheHost(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := onWire(t, "")
	s := virtioSocket(t, "tapx")
	for name, f := range r.flows(false) {
		f.Src = ethernet.Addr{2, 0, 0, 0, 0, 9} // no frame of the host's own
		sent := f.Super(frametest.Pattern(20300), 1000)
		s.sendSuper(t, sent)
		got := next(t, &r.port, f.Src)
		if !bytes.Equal(got.Data, sent.Data) {
			t.Errorf("%s: %d bytes came of %d, or other ones", name, len(got.Data), len(sent.Data))
		}
		got.Data, sent.Data = nil, nil
		if fmt.Sprint(got) != fmt.Sprint(sent) {
			t.Errorf("%s: %+v, want %+v", name, got, sent)
		}
	}
	// And what a program sends by a socket of UDP.
	host := atHost(t, hostIP)
	sendSegmented(t, host, frametest.Pattern(10300), 1000)
	got := next(t, &r.port, r.port.host.Load().addr)
	if got.Needs != ethernet.Checksum|ethernet.USO || got.SegmentSize != 1000 || !bytes.Equal(got.Data[42:], frametest.Pattern(10300)) {
		t.Errorf("of a program's super-datagram came %d bytes that need %v, in segments of %d", len(got.Data), got.Needs, got.SegmentSize)
	}
	if n := r.port.Counters().Read.Total(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// sendSegmented sends the station a super-datagram (UDP_SEGMENT of udp(7)).
func sendSegmented(t testing.TB, from *net.UDPConn, data []byte, size int) {
	t.Helper()
	raw, err := from.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) })
	if err == nil {
		_, err = from.WriteToUDPAddrPort(data, netip.AddrPortFrom(stationIP, 9))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFramesAreJoinedForTheHost: the host sees one super-frame in place of the
// frames of a flow, with the same content.
func TestFramesAreJoinedForTheHost(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	for _, words := range []string{"", "queues 2"} {
		r := onWire(t, words)
		s := virtioSocket(t, "tapx")
		for name, f := range r.flows(true) {
			if f.VLAN != 0 {
				continue // the kernel takes the tag out of what a socket sees
			}
			want := f.Super(frametest.Pattern(20300), 1000)
			if err := r.port.WriteFrames(f.Frames(frametest.Pattern(20300), 1000)); err != nil {
				t.Fatal(err)
			}
			got := s.receiveSuper(t, func(g ethernet.Frame) bool { return ethernet.Src(g.Data) == stationAddr })
			if got.Needs != want.Needs || got.SegmentSize != 1000 || !bytes.Equal(got.Data, want.Data) {
				t.Errorf("%s: %d bytes arrive that need %v, in segments of %d; want %d, %v", name, len(got.Data), got.Needs, got.SegmentSize, len(want.Data), want.Needs)
			}
		}
		// Whoever reads datagrams gets them as they were sent.
		for _, addr := range []netip.Addr{hostIP, hostIP6} {
			host := atHost(t, addr)
			if err := r.port.WriteFrames(r.fromStation(host, 5002).Frames(frametest.Pattern(20300), 1000)); err != nil {
				t.Fatal(err)
			}
			expectDatagrams(t, host, frametest.Pattern(20300), 1000)
		}
		if n := r.port.Counters().Write.Total(); n != 0 {
			t.Errorf("%d dropped", n)
		}
		r.stopNow(t)
	}
}

// expectDatagrams fails the test unless a socket gets data in pieces of a size.
func expectDatagrams(t testing.TB, c *net.UDPConn, data []byte, size int) {
	t.Helper()
	buf := make([]byte, 2000)
	for piece := range slices.Chunk(data, size) {
		n, _, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf[:n], piece) {
			t.Fatalf("a datagram of %d bytes arrives, want one of %d, or other content", n, len(piece))
		}
	}
}

// TestSuperFramesAreReflected: what a packet socket sends to the host goes back
// with its header, or the host could not take it.
func TestSuperFramesAreReflected(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := onWire(t, "")
	s := virtioSocket(t, "tapx")
	onward := make(chan int, 100)
	pump(t, &r.port, nil, func(f []byte) {
		if ethernet.Src(f) == stationAddr {
			onward <- len(f)
		}
	})
	for _, addr := range []netip.Addr{hostIP, hostIP6} {
		host := atHost(t, addr)
		f := r.fromStation(host, 5002)
		s.sendSuper(t, f.Super(frametest.Pattern(20300), 1000))
		expectDatagrams(t, host, frametest.Pattern(20300), 1000)
		// One frame whose checksum alone is unfinished.
		single := f.Super(frametest.Pattern(900), 1000)
		single.Needs, single.SegmentSize = ethernet.Checksum, 0
		s.sendSuper(t, single)
		expectDatagrams(t, host, frametest.Pattern(900), 1000)
	}
	group, port := listener(t, "tapx")
	f := frametest.Flow{Dst: ethernet.Addr{1, 0, 0x5e, 1, 2, 3}, Src: stationAddr, To: netip.AddrPortFrom(netip.MustParseAddr("239.1.2.3"), port), From: netip.AddrPortFrom(stationIP, 5002)}
	text := strings.Repeat("x", 1000)
	s.sendSuper(t, f.Super([]byte(strings.Repeat(text, 10)), 1000))
	eventually(t, "a group got its datagrams", func() bool { return group.of(text) == 10 })
	if n := <-onward; n != 42+10000 {
		t.Errorf("%d bytes went on to the other end", n)
	}
	if len(onward) != 0 {
		t.Errorf("more went on to the other end: %d bytes", <-onward)
	}
	if n := r.port.Counters().Read.Total(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// TestContradictoryHeaders: a packet socket can have the kernel write headers that
// the frame does not bear out. Of them the kernel itself finds some.
func TestContradictoryHeaders(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := onWire(t, "")
	s := virtioSocket(t, "tapx")
	f := frametest.Flow{Dst: stationAddr, Src: ethernet.Addr{2, 0, 0, 0, 0, 9}, To: netip.AddrPortFrom(stationIP, 5001), From: netip.AddrPortFrom(hostIP, 5002)}
	truth := f.Super(frametest.Pattern(3000), 1000)
	number := func(at int, n uint16) func(*[ethernet.VirtioLen]byte, []byte) {
		return func(h *[ethernet.VirtioLen]byte, _ []byte) { binary.NativeEndian.PutUint16(h[at:], n) }
	}
	found := 0
	for name, lie := range map[string]func(h *[ethernet.VirtioLen]byte, data []byte){
		"a checksum of the addresses": number(6, 0),
		"a checksum of the IP header": number(6, 14),
		"another checksum field":      number(8, 4),
		"the length of the IP packet": func(_ *[ethernet.VirtioLen]byte, data []byte) { binary.BigEndian.PutUint16(data[16:], 1000) },
		"a fragment":                  func(_ *[ethernet.VirtioLen]byte, data []byte) { data[20] = 0x20 },
	} {
		var h [ethernet.VirtioLen]byte
		lying := f.Super(frametest.Pattern(5000), 1000)
		lying.PutVirtio(h[:])
		lie(&h, lying.Data)
		if _, err := unix.SendmsgBuffers(s.fd, [][]byte{h[:], lying.Data}, nil, s.to, 0); err != nil {
			t.Logf("%s: found by the kernel: %v", name, err)
			continue
		}
		found++
		s.sendSuper(t, truth)
		before := r.port.Counters().Read.Count(ethernet.Malformed)
		var finish ethernet.Segmenter // what the port lets through, whoever finishes it finds
		var drops ethernet.Drops
		for came := 0; came < 3; {
			came += len(finish.Finish(batchFrom(t, &r.port, f.Src), 0, r.port.MaxFrame(), &drops))
			if came > 3 {
				t.Errorf("%s: something else than the three frames behind it came", name)
			}
		}
		if n := drops.Count(ethernet.Malformed) + r.port.Counters().Read.Count(ethernet.Malformed) - before; n != 1 {
			t.Errorf("%s: %d counted as malformed, want 1", name, n)
		}
	}
	if found == 0 {
		t.Error("the kernel finds every lie: the test shows nothing")
	}
}

// TestDrainCounts reads from a socket in place of a device, which gives a frame a
// call too and takes any header.
func TestDrainCounts(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	p := &port{header: ethernet.VirtioLen, maxFrame: 1522}
	own := ethernet.Addr{2, 0, 0, 0, 0, 1}
	p.host.Store(&host{addr: own})
	q := &queue{port: p}
	q.in.init(q)
	if q.in.drain(uintptr(fds[0])) || q.in.buffer != nil {
		t.Error("there is nothing to read, and it does not wait, or holds memory while it does")
	}
	raw := func(f ethernet.Frame, change func(h []byte)) []byte {
		b := make([]byte, ethernet.VirtioLen)
		f.PutVirtio(b)
		if change != nil {
			change(b)
		}
		return append(b, f.Data...)
	}
	f := frametest.Flow{Dst: own, Src: stationAddr, To: netip.AddrPortFrom(hostIP, 5001), From: netip.AddrPortFrom(stationIP, 5002)}
	super := f.Super(frametest.Pattern(5000), 1000)
	f.Dst = ethernet.Addr{2, 0, 0, 0, 0, 9}
	onward := f.Super(frametest.Pattern(3000), 1000)
	for _, b := range [][]byte{
		{1, 2, 3},
		raw(ethernet.Frame{Data: make([]byte, 13)}, nil),
		raw(super, func(h []byte) { binary.NativeEndian.PutUint16(h[6:], 4) }),                       // the checksum is in an address
		raw(super, func(h []byte) { binary.NativeEndian.PutUint16(h[6:], uint16(len(super.Data))) }), // behind the end
		raw(super, func(h []byte) { h[1] = 77 }),                                                     // of no kind
		raw(super, func(h []byte) { h[0] = 0 }),                                                      // a checksum that is finished
		raw(super, func(h []byte) { binary.NativeEndian.PutUint16(h[4:], 0) }),                       // pieces of nothing
		raw(super, nil),
		raw(onward, nil),
	} {
		if _, err := unix.Write(fds[1], b); err != nil {
			t.Fatal(err)
		}
	}
	if !q.in.drain(uintptr(fds[0])) {
		t.Fatal("it waits")
	}
	if n := len(q.in.frames); n != 1 || !bytes.Equal(q.in.frames[0].Data, onward.Data) || q.in.frames[0].Needs != onward.Needs {
		t.Errorf("%d frames, want the one for another", n)
	}
	buf := make([]byte, 1<<16)
	if n, err := unix.Read(fds[1], buf); err != nil || !bytes.Equal(buf[:n], raw(super, nil)) {
		t.Errorf("%d bytes went back to the host, %v; want the frame with its header", n, err)
	}
	if n, _ := unix.Read(fds[1], buf); n > 0 {
		t.Errorf("%d more bytes went back to the host", n)
	}
	drops := &p.counters.Read
	if drops.Count(ethernet.Runt) != 2 || drops.Count(ethernet.Malformed) != 5 || drops.Total() != 7 {
		t.Errorf("%d runts and %d malformed of %d, want 2, 5 of 7", drops.Count(ethernet.Runt), drops.Count(ethernet.Malformed), drops.Total())
	}
}

func TestWithoutOffloads(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	for _, words := range []string{"offload off", "offload off queues 2"} {
		r := onWire(t, words)
		if got := run(t, "ip", "-d", "link", "show", "dev", "tapx"); !strings.Contains(got, "vnet_hdr off") {
			t.Errorf("%s: there is a header:\n%s", words, got)
		}
		if o := r.port.Offloads(); o != 0 {
			t.Errorf("%s: it takes %v", words, o)
		}
		host := atHost(t, hostIP)
		if err := r.port.WriteFrames(r.fromStation(host, 5002).Frames(frametest.Pattern(20300), 1000)); err != nil {
			t.Fatal(err)
		}
		expectDatagrams(t, host, frametest.Pattern(20300), 1000)

		got := make(chan ethernet.Frame, 100)
		readAll(t, r, func(_ int, f ethernet.Frame) { got <- f })
		sendSegmented(t, host, frametest.Pattern(10300), 1000)
		for piece := range slices.Chunk(frametest.Pattern(10300), 1000) {
			f := <-got
			if f.Needs != 0 || !bytes.Equal(f.Data[42:], piece) {
				t.Fatalf("%s: came %d bytes that need %v, want %d", words, len(f.Data)-42, f.Needs, len(piece))
			}
			udp := f.Data[34:]
			if sum := ethernet.InternetSum(udp, ethernet.PseudoSum(f.Data[26:30], f.Data[30:34], 17, len(udp))); sum != 0xffff {
				t.Fatalf("%s: the checksum is not finished", words)
			}
		}
		if n := r.port.Counters().Write.Total() + r.port.Counters().Read.Total(); n != 0 {
			t.Errorf("%s: %d dropped", words, n)
		}
		r.stopNow(t)
	}
}
