package tap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/frametest"
	"tmelink/internal/nstest"
)

var (
	stationAddr = ethernet.Addr{2, 0, 0, 0, 0, 7}
	hostIP      = netip.MustParseAddr("10.0.77.1")
	stationIP   = netip.MustParseAddr("10.0.77.2")
	hostIP6     = netip.MustParseAddr("fd00:77::1")
	stationIP6  = netip.MustParseAddr("fd00:77::2")
)

// onWire starts a TAP with addresses on which the host knows the station.
func onWire(t testing.TB, words string) *running {
	t.Helper()
	r := start(t, "tme/host/tun/tap", "interface tapx inet 10.0.77.1 netmask 255.255.255.0 inet6 fd00:77::1/64 nat none "+words)
	for _, a := range []netip.Addr{stationIP, stationIP6} {
		run(t, "ip", "neigh", "replace", a.String(), "lladdr", stationAddr.String(), "dev", r.name(), "nud", "permanent")
	}
	// The kernel takes an IPv6 address for its own by and by.
	eventually(t, "the host has its address", func() bool {
		return strings.HasPrefix(run(t, "ip", "-6", "route", "get", hostIP6.String()), "local ")
	})
	return r
}

// fromStation is a flow to a UDP socket of the host's.
func (r *running) fromStation(to *net.UDPConn, port uint16) frametest.Flow {
	local := to.LocalAddr().(*net.UDPAddr).AddrPort()
	f := frametest.Flow{Dst: r.port.host.Load().addr, Src: stationAddr, To: netip.AddrPortFrom(hostIP, local.Port()), From: netip.AddrPortFrom(stationIP, port)}
	if local.Addr().Is6() && !local.Addr().Is4In6() {
		f.To, f.From = netip.AddrPortFrom(hostIP6, local.Port()), netip.AddrPortFrom(stationIP6, port)
	}
	return f
}

// atHost is a UDP socket of the host's.
func atHost(t testing.TB, addr netip.Addr) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) })
	}
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	return c
}

// readAll calls seen with what each of a port's queues gives of IPv4 to the
// station, until the port is closed.
func readAll(t testing.TB, r *running, seen func(queue int, f ethernet.Frame)) {
	var reading sync.WaitGroup
	for i, q := range r.port.Readers() {
		reading.Go(func() {
			for {
				frames, err := q.ReadFrames()
				if err != nil {
					return
				}
				for _, f := range frames {
					if ethernet.Dst(f.Data) == stationAddr && binary.BigEndian.Uint16(f.Data[12:]) == ethernet.TypeIPv4 {
						f.Data = bytes.Clone(f.Data)
						seen(i, f)
					}
				}
			}
		})
	}
	t.Cleanup(func() {
		r.port.Close()
		reading.Wait()
	})
}

func TestQueues(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := onWire(t, "queues 4")
	if got := run(t, "ip", "-d", "link", "show", "dev", "tapx"); !strings.Contains(got, "multi_queue numqueues 4 ") {
		t.Errorf("it has not four queues:\n%s", got)
	}
	if readers := r.port.Readers(); len(readers) != 4 || readers[0] != ethernet.Reader(&r.port) {
		t.Errorf("%d readers", len(readers))
	}

	t.Run("to the host", func(t *testing.T) {
		const flows, each = 32, 40
		host := atHost(t, hostIP)
		// In turn and in rows, so that frames are joined and are not.
		var batch []ethernet.Frame
		next := make([]uint16, flows)
		add := func(i, n int) {
			for range n {
				if next[i] < each {
					payload := append(binary.BigEndian.AppendUint16([]byte{byte(i)}, next[i]), frametest.Pattern(900)...)
					batch = append(batch, r.fromStation(host, uint16(1000+i)).Frames(payload, 1000)...)
					next[i]++
				}
			}
		}
		for k := range each {
			for i := range flows {
				add(i, 1+(i+k)%3)
			}
		}
		if len(batch) != flows*each {
			t.Fatal("the test makes", len(batch))
		}
		done := make(chan error, 1)
		go func() {
			for rest := batch; len(rest) > 0; rest = rest[min(100, len(rest)):] {
				if err := r.port.WriteFrames(rest[:min(100, len(rest))]); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		got := make([]uint16, flows)
		buf := make([]byte, 2000)
		for range batch {
			n, from, err := host.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatalf("%v: of each flow have arrived %v", err, got)
			}
			i := int(buf[0])
			if from.Port() != uint16(1000+i) || binary.BigEndian.Uint16(buf[1:]) != got[i] || !bytes.Equal(buf[3:n], frametest.Pattern(900)) {
				t.Fatalf("from %v came %x of %d bytes after %d of this flow", from, buf[:3], n, got[i])
			}
			got[i]++
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := r.port.Counters().Write.Total(); n != 0 {
			t.Errorf("%d dropped", n)
		}
	})

	t.Run("from the host", func(t *testing.T) {
		const flows, each = 64, 20
		var mu sync.Mutex
		count := map[string]int{}
		queueOf := map[string]map[int]bool{} // of each flow
		echoed := make(chan int, 1000)       // the queue by which an answer came
		readAll(t, r, func(queue int, f ethernet.Frame) {
			text := string(f.Data[42:])
			if text == "echo" {
				echoed <- queue
				return
			}
			mu.Lock()
			defer mu.Unlock()
			count[text]++
			name, _, _ := strings.Cut(text, " frame")
			if queueOf[name] == nil {
				queueOf[name] = map[int]bool{}
			}
			queueOf[name][queue] = true
		})
		for i := range flows {
			c := atHost(t, hostIP)
			for k := range each {
				if _, err := c.WriteToUDPAddrPort(fmt.Appendf(nil, "flow %d frame %d", i, k), netip.AddrPortFrom(stationIP, 9)); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
		}
		arrived := func() int { mu.Lock(); defer mu.Unlock(); return len(count) }
		eventually(t, "all frames arrived", func() bool { return arrived() == flows*each })
		mu.Lock()
		used := map[int]bool{}
		for name, queues := range queueOf {
			if len(queues) != 1 {
				t.Errorf("%s came by the queues %v", name, queues)
			}
			for q := range queues {
				used[q] = true
			}
		}
		for text, n := range count {
			if n != 1 {
				t.Errorf("%q came %d times", text, n)
			}
		}
		mu.Unlock()
		if len(used) != 4 {
			t.Errorf("%d flows came by %d queues", flows, len(used))
		}

		// The answer to a flow comes by the queue that it was written to.
		host := atHost(t, hostIP)
		for i := range uint16(16) {
			frames := r.fromStation(host, 2000+i).Frames([]byte("who?"), 1000)
			if err := r.port.WriteFrames(frames); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			_, from, err := host.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatal(err)
			}
			host.WriteToUDPAddrPort([]byte("echo"), from)
			select {
			case q := <-echoed:
				if want := flowQueue(frames[0].Data, 4); q != want {
					t.Errorf("the answer to port %d came by queue %d, want %d", 2000+i, q, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("no answer came")
			}
		}
	})
}

func TestQueuesOfPersistentDevices(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	t.Run("one", func(t *testing.T) {
		persistent(t)
		unchanged(t)
		if _, err := tryStart(t, "tme/host/tun/tap", "interface tapp queues 2"); err == nil || !strings.Contains(err.Error(), "ip tuntap add tapp mode tap multi_queue") {
			t.Errorf("the error is %v", err)
		}
		start(t, "tme/host/tun/tap", "interface tapp queues 1")
	})
	t.Run("several", func(t *testing.T) {
		nstest.NeedPrograms(t, "ethtool")
		persistent(t, "multi_queue")
		unchanged(t)
		features := func() string { // as they are, not as they are wished for
			return strings.ReplaceAll(run(t, "ethtool", "-k", "tapp"), " [requested on]", "")
		}
		before := features()
		shows := func(when string, want ...string) {
			t.Helper()
			got := run(t, "ip", "-d", "link", "show", "dev", "tapp")
			for _, w := range want {
				if !strings.Contains(got, w) {
					t.Errorf("%s: %q is missing in\n%s", when, w, got)
				}
			}
		}
		shows("before", "vnet_hdr off", "multi_queue", "numqueues 0")
		for _, n := range []int{3, 1} {
			r := start(t, "tme/host/tun/tap", fmt.Sprintf("interface tapp queues %d", n))
			shows("in use", "vnet_hdr on", fmt.Sprintf("multi_queue numqueues %d ", n))
			if got := len(r.port.Readers()); got != n {
				t.Errorf("%d readers, want %d", got, n)
			}
			r.stopNow(t)
			shows("after", "vnet_hdr off", "multi_queue", "numqueues 0")
			if after := features(); after != before {
				t.Errorf("its offloads are not as they were:\n%s", diff(before, after))
			}
		}
	})
}

func TestCloseWakesReadersOfAllQueues(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "interface tapx queues 3")
	ended := make(chan error)
	for _, q := range r.port.Readers() {
		go func() {
			for {
				if _, err := q.ReadFrames(); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	r.port.Close()
	for range 3 {
		if err := <-ended; err != net.ErrClosed {
			t.Errorf("a reader got %v", err)
		}
	}
}

// TestFlowsKeepTheirQueue: frames of a flow must not overtake each other.
func TestFlowsKeepTheirQueue(t *testing.T) {
	udp := func(change func(f *frametest.Flow)) frametest.Flow {
		f := frametest.Flow{Dst: ethernet.Addr{2, 1}, Src: stationAddr, To: netip.AddrPortFrom(hostIP, 53), From: netip.AddrPortFrom(stationIP, 1000)}
		if change != nil {
			change(&f)
		}
		return f
	}
	v6 := func(f *frametest.Flow) {
		f.To, f.From = netip.AddrPortFrom(hostIP6, 53), netip.AddrPortFrom(stationIP6, 1000)
	}
	one := func(f frametest.Flow) []byte { return f.Frames(frametest.Pattern(100), 1000)[0].Data }
	// fragment makes a packet one of several fragments, whose payload is any.
	fragment := func(frame []byte, offset uint16, more bool) []byte {
		frame = bytes.Clone(frame)
		field := frame[20:22]
		if frame[12] == 0x86 { // a fragment header (RFC 8200, 4.5)
			frame = slices.Insert(frame, 54, 17, 0, 0, 0, 1, 2, 3, 4)
			frame[20], field = 44, frame[56:58]
			offset <<= 3
			if more {
				offset |= 1
			}
		} else if more {
			offset |= 0x2000
		}
		binary.BigEndian.PutUint16(field, offset)
		rest := frame[len(frame)-100:]
		for i := range rest {
			rest[i] ^= byte(offset)
		}
		if offset&0x1ff8 != 0 { // and no UDP header
			copy(frame[len(frame)-108:], frametest.Pattern(8))
		}
		return frame
	}
	tcp := func(f *frametest.Flow) { f.TCP = true }
	for name, same := range map[string][][]byte{
		"UDP":          {one(udp(nil)), udp(nil).Frames(frametest.Pattern(1400), 1400)[0].Data},
		"IPv6":         {one(udp(v6)), udp(v6).Frames(frametest.Pattern(1400), 1400)[0].Data},
		"TCP":          {one(udp(tcp)), udp(tcp).Frames(frametest.Pattern(1400), 1400)[0].Data, udp(tcp).Frames(frametest.Pattern(1400), 700)[1].Data},
		"super-frames": {one(udp(tcp)), udp(tcp).Super(frametest.Pattern(14000), 1400).Data},
		"tagged": {
			one(udp(func(f *frametest.Flow) { f.VLAN = 7 })), one(udp(func(f *frametest.Flow) { f.VLAN = 7<<13 | 7 })),
		},
		"fragments": {fragment(one(udp(nil)), 0, true), fragment(one(udp(nil)), 13, true), fragment(one(udp(nil)), 185, true), fragment(one(udp(nil)), 370, false)},
		"fragments of IPv6": {
			fragment(one(udp(v6)), 0, true), fragment(one(udp(v6)), 13, true), fragment(one(udp(v6)), 185, true), fragment(one(udp(v6)), 370, false),
		},
		"no IP": {frameTo(ethernet.Broadcast, stationAddr, "one"), frameTo(ethernet.Broadcast, stationAddr, "another")},
	} {
		for queues := range maxQueues {
			want := flowQueue(same[0], queues+1)
			if want < 0 || want > queues {
				t.Fatalf("%s: queue %d of %d", name, want, queues+1)
			}
			for i, f := range same {
				if got := flowQueue(f, queues+1); got != want {
					t.Fatalf("%s: frame %d goes by queue %d of %d, the first by %d", name, i, got, queues+1, want)
				}
			}
		}
	}
	// Flows that differ in a port alone go everywhere.
	for _, change := range []func(*frametest.Flow){nil, v6, tcp, func(f *frametest.Flow) { f.VLAN = 7 }} {
		count := make([]int, 4)
		for port := range uint16(400) {
			f := udp(change)
			f.From = netip.AddrPortFrom(f.From.Addr(), 1000+port)
			count[flowQueue(one(f), 4)]++
		}
		if slices.Min(count) < 50 {
			t.Errorf("400 flows %+v go by four queues like %v", udp(change), count)
		}
	}
	for length := ethernet.HeaderLen; length < 80; length++ { // whatever its bytes say
		for _, f := range [][]byte{one(udp(nil)), one(udp(v6)), one(udp(func(f *frametest.Flow) { f.VLAN = 7 }))} {
			flowQueue(f[:length], 4)
		}
	}
}
