package tap

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// frameTo is a frame of an experimental EtherType (RFC 5342, 2.3.4).
func frameTo(dst, src ethernet.Addr, payload string) []byte {
	return append(append(append(dst[:], src[:]...), 0x88, 0xb5), payload...)
}

func TestPortCarriesFramesBothWays(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "interface tapx mtu 1400")
	if got, want := r.port.MaxFrame(), ethernet.FrameLen(1400); got != want {
		t.Errorf("MaxFrame is %d, want %d", got, want)
	}
	s := packetSocket(t, "tapx")
	station := ethernet.Addr{2, 0, 0, 0, 0, 7}
	if err := r.port.WriteFrames([]ethernet.Frame{{Data: frameTo(ethernet.Broadcast, station, "one")}, {Data: frameTo(ethernet.Broadcast, station, "two")}}); err != nil {
		t.Fatal(err)
	}
	s.expect(t, "one", 1)
	s.expect(t, "two", 1)
	got := make(chan string, 100)
	pump(t, &r.port, nil, func(f []byte) {
		if strings.HasPrefix(string(f[12:]), "\x88\xb5") {
			got <- string(f[14:])
		}
	})
	s.send(t, frameTo(station, ethernet.Addr{2, 0, 0, 0, 0, 8}, "three"))
	if text := <-got; text != "three" {
		t.Errorf("the port gave %q, want three", text)
	}
}

func TestDropsAreCounted(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "interface tapx")
	write := func(f []byte) {
		if err := r.port.WriteFrames([]ethernet.Frame{{Data: f}}); err != nil {
			t.Fatal(err)
		}
	}
	write(make([]byte, 13))
	write(make([]byte, r.port.MaxFrame()+1))
	run(t, "ip", "link", "set", "tapx", "down")
	write(make([]byte, 60))
	drops := &r.port.Counters().Write
	for reason, want := range map[ethernet.Reason]uint64{ethernet.Runt: 1, ethernet.Oversize: 1, ethernet.InterfaceDown: 1} {
		if got := drops.Count(reason); got != want {
			t.Errorf("%s: %d frames, want %d", reason, got, want)
		}
	}
	if got := drops.Total(); got != 3 {
		t.Errorf("%d frames dropped, want 3", got)
	}
}

func TestCloseWakesReader(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "interface tapx")
	ended := make(chan error)
	go func() {
		for {
			if _, err := r.port.ReadFrames(); err != nil {
				ended <- err
				return
			}
		}
	}()
	r.port.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the reader got %v, want net.ErrClosed", err)
	}
	if err := r.port.WriteFrames([]ethernet.Frame{{Data: make([]byte, 60)}}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the writer got %v, want net.ErrClosed", err)
	}
	r.stopNow(t)
	if err := r.Close(); err != nil {
		t.Errorf("the second close: %v", err)
	}
}

func TestRemovedDeviceEndsThePort(t *testing.T) {
	nstest.InNamespace(t)
	leakless(t)
	unchanged(t)
	r := start(t, "tme/host/tun/tap", "interface tapx inet 10.0.77.1")
	ended := make(chan error)
	go func() {
		for {
			if _, err := r.port.ReadFrames(); err != nil {
				ended <- err
				return
			}
		}
	}()
	run(t, "ip", "link", "del", "tapx")
	if err := <-ended; errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "was removed") {
		t.Errorf("the reader got %v", err)
	}
	if err := r.port.WriteFrames([]ethernet.Frame{{Data: make([]byte, 60)}}); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("the writer got %v", err)
	}
}

func TestNeverStarted(t *testing.T) {
	leakless(t)
	e, err := build(t, "tme/host/tun/tap", "", element.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.port.ReadFrames(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read gave %v", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("close gave %v", err)
	}
}

func TestNoAllocationPerFrame(t *testing.T) {
	nstest.InNamespace(t)
	r := start(t, "tme/host/tun/tap", "interface tapx")
	s := openPacket(t, "tapx", 0)
	batch := []ethernet.Frame{{Data: frameTo(ethernet.Broadcast, ethernet.Addr{2, 0, 0, 0, 0, 7}, "x")}}
	station := frameTo(ethernet.Addr{2, 0, 0, 0, 0, 7}, ethernet.Addr{2, 0, 0, 0, 0, 8}, "y")
	if n := testing.AllocsPerRun(200, func() {
		r.port.WriteFrames(batch)
		s.send(t, station)
		r.port.ReadFrames()
	}); n >= 1 {
		t.Errorf("%v allocations for a frame each way", n)
	}
}

func BenchmarkReadAndReflect(b *testing.B) {
	if os.Getenv("TMELINK_TEST_NAMESPACE") == "" {
		b.Skip("skipped: needs a network namespace of its own, and so root")
	}
	r := start(b, "tme/host/tun/tap", "interface tapx")
	s := openPacket(b, "tapx", 0)
	frame := frameTo(ethernet.Broadcast, ethernet.Addr{2, 0, 0, 0, 0, 8}, strings.Repeat("y", 1000))
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		s.send(b, frame)
		r.port.ReadFrames()
	}
}
