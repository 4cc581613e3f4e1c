package tap

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// udpFrame is a UDP datagram in IPv4 in Ethernet (RFC 768, RFC 791), without a
// UDP checksum.
func udpFrame(dst, src ethernet.Addr, to, from netip.Addr, port uint16, text string) []byte {
	f := append(append(append([]byte{}, dst[:]...), src[:]...), 8, 0)
	ip := make([]byte, 28)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(text)))
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], to.AsSlice())
	binary.BigEndian.PutUint16(ip[20:], 7)
	binary.BigEndian.PutUint16(ip[22:], port)
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(text)))
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	return append(append(f, ip...), text...)
}

// counts are arrivals by payload.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) add(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[text]++
}

func (c *counts) of(text string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[text]
}

// listener counts the datagrams that reach the host's own IP stack, of the
// group 239.1.2.3 and of broadcasts too.
func listener(t *testing.T, iface string) (*counts, uint16) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	i, err := net.InterfaceByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	if err := ipv4.NewPacketConn(conn).JoinGroup(i, &net.UDPAddr{IP: net.IPv4(239, 1, 2, 3)}); err != nil {
		t.Fatal(err)
	}
	got, done := &counts{}, make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2000)
		for {
			n, _, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			got.add(string(buf[:n]))
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return got, conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// TestReflection counts where the frames of a shared TAP arrive: those of a
// packet socket, those of the connection, and those of the host itself.
func TestReflection(t *testing.T) {
	for _, self := range []bool{false, true} {
		t.Run(fmt.Sprintf("self-connected %v", self), func(t *testing.T) { testReflection(t, self) })
	}
}

func testReflection(t *testing.T, self bool) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "interface tapx inet 10.0.77.1 netmask 255.255.255.0 nat none")
	if self {
		var port ethernet.Reflector = &r.port
		port.ReflectOnly()
	}
	onward := &counts{}
	pump(t, &r.port, nil, func(f []byte) {
		if len(f) > 42 && f[12] == 8 && f[13] == 0 {
			onward.add(string(f[42:]))
		}
	})
	stack, port := listener(t, "tapx")
	other := packetSocket(t, "tapx")
	sender := openPacket(t, "tapx", 0)

	own := r.port.host.Load().addr
	station, third := ethernet.Addr{2, 0, 0, 0, 0, 7}, ethernet.Addr{2, 0, 0, 0, 0, 9}
	group := ethernet.Addr{1, 0, 0x5e, 1, 2, 3}
	host, from := netip.MustParseAddr("10.0.77.1"), netip.MustParseAddr("10.0.77.2")
	for _, c := range []struct {
		text                string
		dst                 ethernet.Addr
		to                  netip.Addr
		fromWire            bool // by the connection, not by a packet socket
		wantStack, wantNext int
	}{
		{"unicast to the host", own, host, false, 1, 0},
		{"broadcast", ethernet.Broadcast, netip.MustParseAddr("10.0.77.255"), false, 1, 1},
		{"multicast", group, netip.MustParseAddr("239.1.2.3"), false, 1, 1},
		{"unicast to another", third, netip.MustParseAddr("10.0.77.9"), false, 0, 1},
		{"unicast from the wire", own, host, true, 1, 0},
		{"broadcast from the wire", ethernet.Broadcast, netip.MustParseAddr("10.0.77.255"), true, 1, 0},
	} {
		if self && c.fromWire {
			continue // there is no other end
		}
		frame := udpFrame(c.dst, station, c.to, from, port, c.text)
		if c.fromWire {
			if err := r.port.WriteFrames([]ethernet.Frame{{Data: frame}}); err != nil {
				t.Fatal(err)
			}
		} else {
			sender.send(t, frame)
		}
		next := c.wantNext
		if self {
			next = 0
		}
		// The frame is followed by another one that goes every way; when that
		// has come, all of this one has.
		mark := c.text + " is through"
		sender.send(t, udpFrame(ethernet.Broadcast, station, netip.MustParseAddr("10.0.77.255"), from, port, mark))
		eventually(t, mark, func() bool { return stack.of(mark) > 0 && (self || onward.of(mark) > 0) })
		if got := stack.of(c.text); got != c.wantStack {
			t.Errorf("%s: the host got it %d times, want %d", c.text, got, c.wantStack)
		}
		if got := onward.of(c.text); got != next {
			t.Errorf("%s: it went on %d times, want %d", c.text, got, next)
		}
	}
	// The kernel itself gives a broadcast of the host's to the host's own
	// sockets once; the port must not do so again.
	conn, err := net.Dial("udp4", netip.AddrPortFrom(netip.MustParseAddr("10.0.77.255"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("from the host")); err != nil {
		t.Fatal(err)
	}
	mark := udpFrame(ethernet.Broadcast, station, netip.MustParseAddr("10.0.77.255"), from, port, "mark")
	sender.send(t, mark)
	eventually(t, "the mark came", func() bool { return stack.of("mark") > 0 && (self || onward.of("mark") > 0) })
	if got := stack.of("from the host"); got != 1 {
		t.Errorf("the host got its own broadcast %d times, want 1", got)
	}
	if got := onward.of("from the host"); !self && got != 1 {
		t.Errorf("the host's broadcast went on %d times, want 1", got)
	}
	// Another packet socket sees what the sender sends, and the reflection.
	sender.send(t, frameTo(ethernet.Broadcast, station, "seen"))
	other.expect(t, "seen", 1)
	if got := other.out("seen"); got != 1 {
		t.Errorf("another packet socket saw the frame going out %d times, want 1", got)
	}
}

// TestNoReflectionOnABridge moves the interface into a bridge and out again.
func TestNoReflectionOnABridge(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "interface tapx")
	pump(t, &r.port, nil, nil)
	watcher := packetSocket(t, "tapx")
	sender := openPacket(t, "tapx", 0)
	reflects := func(text string) bool {
		before := watcher.in(text)
		sender.send(t, frameTo(ethernet.Broadcast, ethernet.Addr{2, 0, 0, 0, 0, 7}, text))
		eventually(t, "the frame was seen going out", func() bool { return watcher.out(text) > 0 })
		return nstest.Eventually(300*time.Millisecond, func() bool { return watcher.in(text) > before })
	}
	if !reflects("before") {
		t.Fatal("a broadcast was not reflected")
	}
	run(t, "ip", "link", "add", "brx", "type", "bridge")
	t.Cleanup(func() { run(t, "ip", "link", "del", "brx") })
	run(t, "ip", "link", "set", "brx", "up")
	run(t, "ip", "link", "set", "tapx", "master", "brx")
	eventually(t, "the port knows of the bridge", func() bool { return r.port.host.Load().enslaved })
	if reflects("inside") {
		t.Error("a broadcast was reflected into a bridge")
	}
	run(t, "ip", "link", "set", "tapx", "nomaster")
	eventually(t, "the port knows that the bridge is gone", func() bool { return !r.port.host.Load().enslaved })
	if !reflects("after") {
		t.Error("a broadcast was not reflected after the bridge")
	}
	run(t, "ip", "link", "set", "tapx", "down")
	run(t, "ip", "link", "set", "tapx", "address", "02:00:00:00:00:55")
	eventually(t, "the port knows the new hardware address", func() bool {
		return r.port.host.Load().addr == ethernet.Addr{2, 0, 0, 0, 0, 0x55}
	})
}
