package link

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn"
	"tmelink/internal/openvpn/controlchannel"
)

func TestWire(t *testing.T) {
	begin := time.Unix(1000, 0)
	for _, c := range []struct {
		name  string
		rate  int
		sizes []int
		ends  time.Duration // when the last of them has been put on, from the first
	}{
		{"one packet after the other", 1000, []int{500, 250, 1000, 1}, 1750*time.Millisecond - burst},
		{"none counts for less than 100 bytes", 1000, []int{1, 100, 99, 1}, 300*time.Millisecond - burst},
		{"the least rate", 100, []int{1500, 1500}, 15*time.Second - burst},
		{"a burst at once", 1_000_000, []int{1000, 1000, 1000, 1000, 1000, 1000}, 0},
		{"and no more", 1_000_000, []int{1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000}, 2 * time.Millisecond},
		{"the highest rate", 100_000_000, []int{500_000, 1000, 1000}, 10 * time.Microsecond},
		{"a rate that does not divide a second", 300, []int{100, 100, 100}, 666666668*time.Nanosecond - burst},
	} {
		w, now := wire{rate: c.rate}, begin
		for _, size := range c.sizes {
			now = now.Add(w.busy(now))
			w.put(size, now)
		}
		if got := now.Sub(begin); got != c.ends {
			t.Errorf("%s: the last is put on after %v, want %v", c.name, got, c.ends)
		}
		idle := now.Add(time.Hour)
		w.put(5000, idle)
		if want := time.Duration(5000*int64(time.Second)/int64(c.rate)) - burst; w.busy(idle)-max(0, want) > 1 || w.busy(idle) < max(0, want) {
			t.Errorf("%s: after an hour a packet takes %v, want %v: what was not sent is saved up", c.name, w.busy(idle), want)
		}
	}
}

// TestWireKeepsItsBound sends at random times, and waits now and then too long: in no
// time does more go out than a wire carries in it and a burst, and one packet; and who
// always has something to send gets all that it carries.
func TestWireKeepsItsBound(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		rate := 100 + random.IntN(1_000_000)
		w, now := wire{rate: rate}, time.Unix(1000, 0)
		type sent struct {
			at    time.Time
			bytes int
		}
		var all []sent
		total := 0
		for range 1000 {
			size := leastPacket + random.IntN(1500)
			late := time.Duration(random.Int64N(int64(burst)))
			if wait := w.busy(now); wait > 0 {
				now = now.Add(wait + late)
			}
			w.put(size, now)
			all = append(all, sent{now, size})
			total += size
		}
		for i := 0; i < len(all); i += 1 + random.IntN(20) {
			bytes := 0
			for _, s := range all[i:] {
				bytes += s.bytes
				if most := float64(rate)*(s.at.Sub(all[i].at)+burst).Seconds() + 1600; float64(bytes) > most {
					t.Fatalf("seed %d: %d bytes in %v at %d B/s", seed, bytes, s.at.Sub(all[i].at), rate)
				}
			}
		}
		if least := float64(rate)*now.Sub(all[0].at).Seconds() - 1; float64(total) < least {
			t.Errorf("seed %d: %d bytes in %v at %d B/s: the wire was idle", seed, total, now.Sub(all[0].at), rate)
		}
	}
}

// toSocket starts a link whose peer is a socket of the test's.
func toSocket(t *testing.T, words string) (*testLink, *net.UDPConn) {
	peer := socket(t, "127.0.0.1:0")
	return start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d ", portOf(peer.LocalAddr()))+words), peer
}

// TestShaper: what is written in one batch and in many takes the time that it takes,
// comes whole and in order.
func TestShaper(t *testing.T) {
	peer := start(t, "--local 127.0.0.1 --lport 0")
	l := start(t, fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d --shaper 25000", peer.local().Port()))
	begun := time.Now()
	l.write(series(100)...)
	for n := 100; n < 250; n += 50 {
		l.write(series(n + 50)[n:]...)
	}
	// 60 bytes and the headers of UDP and IPv4 count for 100.
	if took, least := time.Since(begun), time.Second-2*burst; took < least {
		t.Errorf("25 kB went in %v, which is faster than %v", took, least)
	}
	peer.expectSeries(250)
	if n := l.port.Counters().Write.Total(); n != 0 {
		t.Errorf("%d frames were dropped", n)
	}
}

// Pings and answers wait for their turn, too, and frames for them.
func TestShaperCountsWhatIsBesideFrames(t *testing.T) {
	l, peer := toSocket(t, "--shaper 400")
	const answers = 8
	begun := time.Now()
	got := make(chan int, 1)
	go func() {
		n := 0
		for n < answers && receive(peer, patience) != "" {
			n++
		}
		got <- n
	}()
	for {
		peer.WriteToUDP([]byte(occRequest), net.UDPAddrFromAddrPort(l.local()))
		select {
		case n := <-got:
			// Each is of 73 bytes and the headers of UDP and IPv4: a quarter of a second,
			// for which only the first does not wait.
			if took, least := time.Since(begun), (answers-1)*time.Second/4-burst; n < answers || took < least {
				t.Errorf("%d answers in %v, want %d in no less than %v", n, took, answers, least)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A writer that waits for its turn is woken by the end of the link, and by that of the
// circuit, whose frames are lost.
func TestShaperHoldsUpNoEnd(t *testing.T) {
	l, _ := toSocket(t, "--shaper 100 --connect-retry 0")
	write := func() chan error {
		ended := make(chan error, 1)
		go func() {
			batch := make([]ethernet.Frame, 1000)
			for i := range batch {
				batch[i].Data = numbered(i)
			}
			ended <- l.port.WriteFrames(batch)
		}()
		return ended
	}
	wait := func(what string, ended chan error, want error) {
		t.Helper()
		select {
		case err := <-ended:
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s does not wake the writer", what)
		}
	}
	ended := write()
	eventually(t, "the first frame", func() bool { _, n := l.elem.(element.Carrier).Traffic(); return n > 0 })
	l.elem.(element.Restarter).Restart("a test wants it")
	wait("the circuit's end", ended, nil)
	eventually(t, "a restart", func() bool { return strings.Contains(l.status(), "restarts 1") && strings.Contains(l.status(), "open") })
	if n := l.port.Counters().Write.Count(ethernet.Disconnected); n < 900 || n > 999 {
		t.Errorf("%d frames were lost, want nearly 1000", n)
	}
	ended = write()
	_, before := l.elem.(element.Carrier).Traffic()
	eventually(t, "a frame after the restart", func() bool { _, n := l.elem.(element.Carrier).Traffic(); return n > before })
	l.elem.Close()
	wait("Close", ended, net.ErrClosed)
}

// With keys the time is that of the sealed packets, and the negotiation takes its part.
func TestShaperWithKeys(t *testing.T) {
	begun := time.Now()
	server, client := keyedPair(t, " --shaper 50000")
	client.writeUntil("a frame at the server", func() bool { return len(server.got()) > 0 }, numbered(0))
	for range 10 {
		client.write(make([]byte, 1000), make([]byte, 1000))
	}
	_, sent := client.elem.(element.Carrier).Traffic()
	if took, least := time.Since(begun), time.Duration(sent)*time.Second/50000-50*time.Millisecond; took < least || sent < 20_000 {
		t.Errorf("%d bytes in %v, which is faster than %v", sent, took, least)
	}
}

func TestShaperOfTheServer(t *testing.T) {
	l := build(t, "--local 127.0.0.1 --lport 0")
	link := l.elem.(*Link)
	if link.port.shaper.Load() != nil {
		t.Fatal("packets are shaped unasked")
	}
	link.settled(&controlchannel.Settings{Shaper: 1234})
	if s := link.port.shaper.Load(); s == nil || s.wire.rate != 1234 {
		t.Errorf("the server's shaper is %+v", s)
	}
}

// Neither a link without a shaper nor one that has its turn at once pays for it in memory.
func TestUnshapedLinkAllocatesNothing(t *testing.T) {
	p := newPort(&config{mtu: 1500}, slog.New(slog.DiscardHandler))
	c := newCircuit(way{})
	c.session, _ = openvpn.NewSession(openvpn.Config{Options: openvpn.Options{MTU: 1500}, Dropped: &p.counters.Read, Unsent: &p.counters.Write}, time.Now())
	c.conn = nowhere{}
	p.publish(c)
	frames := []ethernet.Frame{{Data: numbered(0)}, {Data: numbered(1)}}
	for _, s := range []*shaper{nil, newShaper(100_000_000)} {
		p.shaper.Store(s)
		if n := testing.AllocsPerRun(100, func() { p.WriteFrames(frames) }); n != 0 {
			t.Errorf("shaper %v: %v allocations a batch", s != nil, n)
		}
	}
}

// nowhere is a socket that lets packets fall.
type nowhere struct{}

func (nowhere) ReadPackets() ([][]byte, error)    { return nil, net.ErrClosed }
func (nowhere) WritePackets([][]byte) error       { return nil }
func (nowhere) Send([]byte, netip.AddrPort) error { return nil }
func (nowhere) Local() (a netip.AddrPort)         { return a }
func (nowhere) Peer() (a netip.AddrPort)          { return a }
func (nowhere) SetPeer(netip.AddrPort)            {}
func (nowhere) Framing() int                      { return 0 }
func (nowhere) Overhead() int                     { return 28 }
func (nowhere) PathMTU() int                      { return 0 }
func (nowhere) Interrupt()                        {}
func (nowhere) Close() error                      { return nil }
