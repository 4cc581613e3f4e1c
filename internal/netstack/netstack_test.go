package netstack

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/ethernet"
)

const everything = ethernet.Checksum | ethernet.Segmentation

// ping sends one request and waits for what comes of it.
func ping(t *testing.T, h *Host, to netip.Addr, size int) Answer {
	t.Helper()
	e, err := h.OpenEcho(to)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Send(7, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-e.Answers():
		return a
	case <-within(t).Done():
		t.Fatalf("nothing came of the request to %s", to)
		return Answer{}
	}
}

func TestPing(t *testing.T) {
	a, b := pair(t, &wire{takes: everything}, Config{})
	link := b.Addrs()[2].Addr()
	if !link.IsLinkLocalUnicast() {
		t.Fatalf("%s is not a link-local address", link)
	}
	for _, to := range []netip.Addr{addrPort(netB4, 0).Addr(), addrPort(netB6, 0).Addr(), link, addrPort(netA4, 0).Addr()} {
		for _, size := range []int{0, 56, 1473, 20000, MaxEcho} {
			if got := ping(t, a, to, size); got.Err != nil || got.Seq != 7 || got.From != to || got.Size != size+8 || got.TTL != 64 || got.RTT <= 0 || got.Dup {
				t.Errorf("ping %s with %d bytes: %+v", to, size, got)
			}
		}
	}
	for _, h := range []*Host{a, b} {
		table, err := h.Neighbours()
		if err != nil {
			t.Fatal(err)
		}
		if len(table) != 3 && h == a {
			t.Errorf("%d neighbours, want 3: %v", len(table), table)
		}
		for i, n := range table {
			if want := (ethernet.Addr{2, 0, 0, 0, 0, 3 - h.cfg.HardwareAddr[5]}); !n.Resolved || n.HardwareAddr != want {
				t.Errorf("neighbour %+v, want %s", n, want)
			}
			if i == 0 != n.Addr.Is4() {
				t.Errorf("%s at place %d", n.Addr, i)
			}
		}
	}
}

func TestPingFails(t *testing.T) {
	a, _ := pair(t, &wire{takes: everything}, Config{Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.77")}})
	var asked []*Echo
	for _, to := range []string{"10.0.0.99", "fd00::99", "192.0.2.1"} {
		e, err := a.OpenEcho(netip.MustParseAddr(to))
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		for seq := range uint16(3) {
			if err := e.Send(seq, nil); err != nil {
				t.Fatal(err)
			}
		}
		asked = append(asked, e)
	}
	ctx := within(t)
	for _, e := range asked {
		for seq := range uint16(3) {
			select {
			case got := <-e.Answers():
				if got.Err != ErrHostUnreachable || got.Seq != seq {
					t.Errorf("from %s: %+v, want %v", e.Local(), got, ErrHostUnreachable)
				}
			case <-ctx.Done():
				t.Fatalf("nothing came of request %d", seq)
			}
		}
	}
	if _, err := a.OpenEcho(netip.MustParseAddr("2001:db8::1")); err != ErrNetUnreachable {
		t.Errorf("echo without a route: %v, want %v", err, ErrNetUnreachable)
	}
	table, err := a.Neighbours()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range table {
		if n.Resolved {
			t.Errorf("%s is not there and yet resolved: %+v", n.Addr, n)
		}
	}
}

func TestGateway(t *testing.T) {
	gateway4, gateway6 := addrPort(netB4, 0).Addr(), addrPort(netB6, 0).Addr()
	far4, far6 := netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")
	a, _ := join(t, &wire{takes: everything}, Config{Gateways: []netip.Addr{gateway4, gateway6}},
		[]string{netA4, netA6}, []string{netB4, netB6, far4.String(), far6.String()})
	for _, to := range []netip.Prefix{far4, far6} {
		if got := ping(t, a, to.Addr(), 56); got.Err != nil || got.From != to.Addr() {
			t.Errorf("ping %s through the gateway: %+v", to, got)
		}
	}
}

// transfer sends data to a port of b, and has b send it back.
func transfer(t *testing.T, a, b *Host, to string, data []byte) {
	t.Helper()
	l, err := b.ListenTCP(5000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var served sync.WaitGroup
	defer served.Wait()
	served.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		conn.Write(got)
	})
	conn, err := a.DialTCP(within(t), addrPort(to, 5000))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	conn.CloseWrite()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, got, data)
}

func TestTransfer(t *testing.T) {
	data := random(10 << 20)
	for _, tt := range []struct {
		name  string
		takes ethernet.Offloads
		to    string
		mtu   int
	}{
		{"super-frames over IPv4", everything, netB4, 0},
		{"super-frames over IPv6", everything, netB6, 0},
		{"finished frames over IPv4", 0, netB4, 0},
		{"finished frames over IPv6", 0, netB6, 0},
		{"finished frames, smallest MTU", 0, netB6, MinMTU},
		{"checksums unfinished", ethernet.Checksum, netB4, 9000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &wire{takes: tt.takes}
			a, b := pair(t, w, Config{MTU: tt.mtu})
			transfer(t, a, b, tt.to, data)
			if n := w.supers.Load(); (n > 0) != (tt.takes&ethernet.TSO4 != 0) {
				t.Errorf("%d super-frames went over a wire that takes %b", n, tt.takes)
			}
			for _, h := range []*Host{a, b} {
				c := h.Port().Counters()
				if n := c.Write.Total() - c.Write.Count(ethernet.FilteredOut); n != 0 {
					t.Errorf("%d frames were not taken", n)
				}
				if n := c.Read.Total(); n != 0 {
					t.Errorf("%d frames of the host's own were dropped", n)
				}
			}
		})
	}
}

func TestTransferWithLoss(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes ethernet.Offloads
		oneIn int
	}{
		{"of finished frames", 0, 100},
		{"of super-frames", everything, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &wire{takes: tt.takes, lose: lossy(tt.oneIn)}
			a, b := pair(t, w, Config{})
			transfer(t, a, b, netB4, random(1<<20))
			if w.lost.Load() == 0 {
				t.Error("nothing was lost")
			}
		})
	}
}

// Bytes that change on the way must not reach the application: only frames that
// have not left this machine are spared the verification.
func TestChecksumsAreVerified(t *testing.T) {
	hit := lossy(50)
	a, b := pair(t, &wire{spoil: func(data []byte) {
		if len(data) > 200 && hit() {
			data[150] ^= 0x10
		}
	}}, Config{})
	transfer(t, a, b, netB4, random(1<<20))
	if n := a.stack.Stats().TCP.ChecksumErrors.Value() + b.stack.Stats().TCP.ChecksumErrors.Value(); n == 0 {
		t.Error("no wrong checksum was noticed")
	}
}

func TestUDP(t *testing.T) {
	a, b := pair(t, &wire{}, Config{})
	for _, to := range []string{netB4, netB6} {
		server, err := b.ListenUDP(addrPort(to, 53))
		if err != nil {
			t.Fatal(err)
		}
		client, err := a.DialUDP(addrPort(to, 53))
		if err != nil {
			t.Fatal(err)
		}
		sent := random(3000)
		if _, err := client.Write(sent); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4000)
		server.SetReadDeadline(time.Now().Add(time.Minute))
		n, from, err := server.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, buf[:n], sent)
		if _, err := server.WriteTo([]byte("answer"), from); err != nil {
			t.Fatal(err)
		}
		client.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err = client.Read(buf); err != nil {
			t.Fatal(err)
		}
		equal(t, buf[:n], []byte("answer"))
		server.Close()
		client.Close()
	}
}

func TestRefused(t *testing.T) {
	a, _ := pair(t, &wire{}, Config{})
	if conn, err := a.DialTCP(within(t), addrPort(netB4, 1)); err == nil {
		conn.Close()
		t.Error("a connection to a port where nobody listens was made")
	}
}

// A reader that never comes costs a bounded queue and nothing else.
func TestQueueIsBounded(t *testing.T) {
	h := host(t, 1, Config{}, netA4)
	p := h.Port().(*port)
	request := arpRequest(ethernet.Addr{2, 9, 9, 9, 9, 9}, h.cfg.HardwareAddr, "10.0.0.9", "10.0.0.1")
	for range 3 * queueFrames {
		p.WriteFrames([]ethernet.Frame{{Data: request}})
	}
	if n := p.counters.Read.Count(ethernet.QueueFull); n < queueFrames {
		t.Errorf("%d frames were dropped, want at least %d", n, queueFrames)
	}
	frames, err := p.ReadFrames()
	if err != nil || len(frames) != queueFrames {
		t.Fatalf("%d frames (%v) had been queued, want %d", len(frames), err, queueFrames)
	}
	// The answers that fit are whole, and the queue takes frames again.
	if got := ethernet.Dst(frames[queueFrames-1].Data); got != (ethernet.Addr{2, 9, 9, 9, 9, 9}) {
		t.Errorf("the last answer goes to %s", got)
	}
	p.WriteFrames([]ethernet.Frame{{Data: request}})
	// A report of the groups may have come between.
	if frames, err := p.ReadFrames(); err != nil || ethernet.Dst(frames[len(frames)-1].Data) != (ethernet.Addr{2, 9, 9, 9, 9, 9}) {
		t.Errorf("%d frames (%v), and the last is not the answer", len(frames), err)
	}
}

func arpRequest(src, dst ethernet.Addr, from, to string) []byte {
	f := append(append(dst[:], src[:]...), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	f = append(append(f, src[:]...), netip.MustParseAddr(from).AsSlice()...)
	return append(append(f, 0, 0, 0, 0, 0, 0), netip.MustParseAddr(to).AsSlice()...)
}

func TestPortFilters(t *testing.T) {
	h := host(t, 1, Config{}, netA4, netA6)
	own, other := h.cfg.HardwareAddr, ethernet.Addr{2, 9, 9, 9, 9, 9}
	frame := func(dst, src ethernet.Addr, kind uint16, length int) ethernet.Frame {
		f := make([]byte, length)
		copy(f, dst[:])
		copy(f[6:], src[:])
		f[12], f[13] = byte(kind>>8), byte(kind)
		return ethernet.Frame{Data: f}
	}
	for _, tt := range []struct {
		name   string
		f      ethernet.Frame
		reason ethernet.Reason
	}{
		{"runt", ethernet.Frame{Data: make([]byte, 13)}, ethernet.Runt},
		{"for another", frame(other, other, ethernet.TypeIPv4, 60), ethernet.FilteredOut},
		{"for a group not joined", frame(ethernet.Addr{1, 0, 0x5e, 9, 9, 9}, other, ethernet.TypeIPv4, 60), ethernet.FilteredOut},
		{"tagged", frame(own, other, ethernet.TypeVLAN, 60), ethernet.FilteredOut},
		{"802.3", frame(own, other, 46, 60), ethernet.FilteredOut},
		{"its own", frame(ethernet.Broadcast, own, ethernet.TypeIPv4, 60), ethernet.Reflected},
		{"from a group", frame(own, ethernet.Broadcast, ethernet.TypeIPv4, 60), ethernet.Malformed},
	} {
		before := h.port.counters.Write.Count(tt.reason)
		if err := h.Port().WriteFrames([]ethernet.Frame{tt.f}); err != nil {
			t.Fatal(err)
		}
		if n := h.port.counters.Write.Count(tt.reason) - before; n != 1 {
			t.Errorf("%s: counted %d times as %s", tt.name, n, tt.reason)
		}
	}
	h.Port().Filter().SetPromiscuous(true)
	before := h.port.counters.Write.Count(ethernet.FilteredOut)
	h.Port().WriteFrames([]ethernet.Frame{frame(other, other, ethernet.TypeIPv4, 60)})
	if h.port.counters.Write.Count(ethernet.FilteredOut) != before+1 {
		t.Error("a promiscuous host took what is for another")
	}
}

func TestFilterHasTheGroups(t *testing.T) {
	h := New(Config{HardwareAddr: ethernet.Addr{2, 0, 0, 0, 0xab, 1}, Addrs: []netip.Prefix{netip.MustParsePrefix("fd00::12:3456/64")}})
	if got := h.Port().Filter().Addrs(); len(got) != 1 || got[0] != h.cfg.HardwareAddr {
		t.Errorf("before the start: %v, want the own address", got)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	want := map[ethernet.Addr]string{
		{2, 0, 0, 0, 0xab, 1}:                "own address",
		{1, 0, 0x5e, 0, 0, 1}:                "all systems",
		{0x33, 0x33, 0, 0, 0, 1}:             "all nodes",
		{0x33, 0x33, 0xff, 0x12, 0x34, 0x56}: "solicited node of fd00::12:3456",
		{0x33, 0x33, 0xff, 0, 0xab, 1}:       "solicited node of the link-local address",
	}
	for _, a := range h.Port().Filter().Addrs() {
		if want[a] == "" {
			t.Errorf("listens to %s for no reason", a)
		}
		delete(want, a)
	}
	for a, what := range want {
		t.Errorf("does not listen to %s, %s", a, what)
	}
}

func TestStates(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	h := New(Config{HardwareAddr: ethernet.Addr{2, 0, 0, 0, 0, 1}, Addrs: []netip.Prefix{netip.MustParsePrefix(netA4)}})
	f := ethernet.Frame{Data: arpRequest(ethernet.Addr{2, 9, 9, 9, 9, 9}, ethernet.Broadcast, "10.0.0.9", "10.0.0.1")}
	if err := h.Port().WriteFrames([]ethernet.Frame{f, f}); err != nil || h.port.counters.Write.Count(ethernet.Disconnected) != 2 {
		t.Errorf("before the start: %v, %d frames counted, want 2", err, h.port.counters.Write.Count(ethernet.Disconnected))
	}
	if _, err := h.DialTCP(within(t), addrPort(netB4, 7)); !errors.Is(err, errDown) {
		t.Errorf("dial before the start: %v", err)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err == nil {
		t.Error("a host was started twice")
	}
	ended := make(chan error)
	go func() {
		for {
			if _, err := h.Port().ReadFrames(); err != nil {
				ended <- err
				return
			}
		}
	}()
	l, err := h.ListenTCP(80)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	h.Close()
	h.Close()
	if err := h.Port().WriteFrames([]ethernet.Frame{f}); err != net.ErrClosed {
		t.Errorf("write after close: %v", err)
	}
	for range 2 {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("something ended without an error")
			}
		case <-within(t).Done():
			t.Fatal("Close leaves somebody waiting")
		}
	}
	if err := h.Start(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("start after close: %v", err)
	}
}
