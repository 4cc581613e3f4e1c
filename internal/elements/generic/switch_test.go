package generic

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

func host(n int) ethernet.Addr { return ethernet.Addr{2, 0, 0, 0, byte(n >> 8), byte(n)} }

var group = ethernet.Addr{0x33, 0x33, 0, 0, 0, 1}

// frame makes a frame of 60 bytes with a number.
func frame(dst, src ethernet.Addr, id uint32) ethernet.Frame {
	b := make([]byte, ethernet.MinFrame)
	copy(b, dst[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint32(b[14:], id)
	return ethernet.Frame{Data: b}
}

func number(f ethernet.Frame) uint32 { return binary.BigEndian.Uint32(f.Data[14:]) }

func testSwitch(c config, ports int) (*Switch, []*port) {
	s := newSwitch(quiet.Log, c)
	all := make([]*port, ports)
	for i := range all {
		all[i] = s.newPort(fmt.Sprintf("p%d", i), portConfig{})
	}
	return s, all
}

// queued gives the frames in a port's queue, valid until the next call, and empties it.
func queued(t *testing.T, p *port) []ethernet.Frame {
	t.Helper()
	p.queue.mu.Lock()
	empty := p.queue.filled == nil
	p.queue.mu.Unlock()
	if empty {
		return nil
	}
	frames, err := p.ReadFrames()
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// waiting gives the numbers of the frames in a port's queue, and empties it.
func waiting(t *testing.T, p *port) (ids []uint32) {
	t.Helper()
	for _, f := range queued(t, p) {
		ids = append(ids, number(f))
	}
	return ids
}

// expect compares what waits at each port with text: "1 2 | | 1".
func expect(t *testing.T, ports []*port, want string) {
	t.Helper()
	var got []string
	for _, p := range ports {
		got = append(got, strings.Trim(fmt.Sprint(waiting(t, p)), "[]"))
	}
	if g := strings.Join(got, "|"); g != strings.ReplaceAll(strings.ReplaceAll(want, " |", "|"), "| ", "|") {
		t.Errorf("queued are %q, want %q", g, want)
	}
}

func TestForwarding(t *testing.T) {
	s, p := testSwitch(defaults, 4)
	a, b, c := host(1), host(2), host(3)
	step := func(port int, now time.Duration, want string, frames ...ethernet.Frame) {
		t.Helper()
		p[port].forward(frames, now)
		expect(t, p, want)
	}
	step(0, 0, "|1|1|1", frame(b, a, 1))                                         // unknown: all but the sender's
	step(1, 1, "2|||", frame(a, b, 2))                                           // learned
	step(2, 2, "3|3||3", frame(ethernet.Broadcast, c, 3))                        // broadcast
	step(0, 3, "|4|4|4", frame(group, a, 4))                                     // multicast
	step(0, 4, "|5 7|6 7|7", frame(b, a, 5), frame(c, a, 6), frame(group, a, 7)) // a mixed batch, in order
	step(0, 5, "|8 10|9|", frame(b, a, 8), frame(c, a, 9), frame(b, a, 10))      // unicasts to two
	step(3, 6, "12|12|12|", frame(a, a, 11), frame(host(9), host(8), 12))        // a has moved to port 3, and sends to itself
	step(1, 7, "|||13", frame(a, b, 13))                                         // heard where it is now
	step(1, 8, "|||", frame(b, host(7), 14))                                     // b is on the same side
	step(0, 9, "|15|15|15", frame(host(99), group, 15))                          // a group as source …
	step(1, 10, "16||16|16", frame(group, b, 16))                                // … is not learned
	if s.table.stations[destination(frame(group, group, 0).Data, 0)] != nil {
		t.Error("a group takes up a place in the table")
	}
	if n := p[1].counters.Write.Count(ethernet.FilteredOut); n != 1 {
		t.Errorf("%d frames counted for the sender's own side, want 1", n)
	}
}

func TestAgeing(t *testing.T) {
	_, p := testSwitch(defaults, 3)
	a, b := host(1), host(2)
	p[0].forward([]ethernet.Frame{frame(b, a, 1)}, 0)
	expect(t, p, "|1|1")
	p[1].forward([]ethernet.Frame{frame(a, b, 2)}, 300*time.Second)
	expect(t, p, "2||")
	p[1].forward([]ethernet.Frame{frame(a, b, 3)}, 301*time.Second)
	expect(t, p, "3||3")
	p[0].forward([]ethernet.Frame{frame(b, a, 4)}, 302*time.Second) // b has been refreshed, and a is back
	p[1].forward([]ethernet.Frame{frame(a, b, 5)}, 600*time.Second)
	expect(t, p, "5|4|")
}

func TestTableIsBounded(t *testing.T) {
	c := defaults
	c.table = 10
	s, p := testSwitch(c, 3)
	for i := range 1000 {
		p[0].forward([]ethernet.Frame{frame(group, host(i), 0)}, time.Duration(i))
	}
	expect(t, p[:1], "")
	waiting(t, p[1])
	waiting(t, p[2])
	if n := len(s.table.stations); n != 10 {
		t.Errorf("%d stations in a table of 10", n)
	}
	p[1].forward([]ethernet.Frame{frame(host(5), host(2000), 1), frame(host(50), host(2000), 2)}, time.Second)
	expect(t, p, "1 2||2")
	// When those have aged there is room.
	p[1].forward([]ethernet.Frame{frame(group, host(2000), 3)}, 302*time.Second)
	waiting(t, p[0])
	waiting(t, p[2])
	p[2].forward([]ethernet.Frame{frame(host(2000), host(2001), 4)}, 303*time.Second)
	expect(t, p, "|4|")
	if n := s.table.known(303 * time.Second); n != 2 {
		t.Errorf("%d stations known, want 2", n)
	}
}

func TestQueueIsBounded(t *testing.T) {
	c := defaults
	c.queue = 40
	_, p := testSwitch(c, 2)
	for i := range uint32(100) {
		p[0].forward([]ethernet.Frame{frame(group, host(1), i)}, 0)
	}
	if got := waiting(t, p[1]); len(got) != 40 || got[39] != 39 {
		t.Errorf("queued are %v", got)
	}
	// In bytes: one super-frame fits, a second does not, small ones still do.
	super := ethernet.Frame{Data: make([]byte, 60000), Needs: ethernet.TSO4 | ethernet.Checksum, SegmentSize: 1448, ChecksumStart: 34, ChecksumOffset: 16}
	p[0].forward([]ethernet.Frame{super, super, frame(group, host(1), 7)}, 0)
	frames, err := p[1].ReadFrames()
	if err != nil || len(frames) != 2 || number(frames[1]) != 7 {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	if f := frames[0]; len(f.Data) != 60000 || f.Needs != super.Needs || f.SegmentSize != 1448 || f.ChecksumStart != 34 || f.ChecksumOffset != 16 {
		t.Errorf("the super-frame came as %d bytes, %+v", len(f.Data), ethernet.Frame{Needs: f.Needs, SegmentSize: f.SegmentSize})
	}
	if read, write := p[1].counters.Read.Count(ethernet.QueueFull), p[0].counters.Write.Total(); read != 61 || write != 0 {
		t.Errorf("%d drops at the receiver, want 61; %d at the sender, want 0", read, write)
	}
	// The longest frame fits into the smallest queue.
	c.queue = 1
	_, p = testSwitch(c, 2)
	p[0].forward([]ethernet.Frame{{Data: bytes.Repeat([]byte{0xff}, ethernet.MaxFrameLen)}}, 0)
	if frames, _ := p[1].ReadFrames(); len(frames[0].Data) != ethernet.MaxFrameLen {
		t.Error("the longest frame is cut")
	}
}

func TestCloseWakesReaders(t *testing.T) {
	defer goleak.VerifyNone(t)
	s, p := testSwitch(defaults, 3)
	ended := make(chan error, len(p))
	for _, q := range p {
		go func() {
			_, err := q.ReadFrames()
			ended <- err
		}()
	}
	if err := errors.Join(p[0].Close(), p[0].Close()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a port's reader ends with %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the switch's readers end with %v", err)
		}
	}
	if err := p[1].WriteFrames([]ethernet.Frame{frame(group, host(1), 1)}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
	if _, err := s.newPort("p", portConfig{}).ReadFrames(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a port of a closed switch: %v", err)
	}
}

// Stations behind a port that is closed are looked for everywhere.
func TestClosedPort(t *testing.T) {
	s, p := testSwitch(defaults, 3)
	a, b := host(1), host(2)
	p[0].forward([]ethernet.Frame{frame(group, a, 1)}, 0)
	expect(t, p, "|1|1")
	p[0].Close()
	p[1].forward([]ethernet.Frame{frame(a, b, 2)}, 1)
	expect(t, p[1:], "|2")
	if got := s.Status(); got != "2 ports, 1 stations" {
		t.Error(got)
	}
}

// A station that changes from one link to another is reached at once when it sends;
// before that, what is for it goes everywhere as soon as its link says that the peer
// is lost.
func TestFailOver(t *testing.T) {
	s, p := testSwitch(defaults, 3)
	a, b, c := host(1), host(2), host(3)
	p[0].forward([]ethernet.Frame{frame(group, a, 1)}, 0)
	p[1].forward([]ethernet.Frame{frame(group, b, 2), frame(group, c, 2)}, 0)
	expect(t, p, "2 2|1|1 2 2")
	p[0].forward([]ethernet.Frame{frame(b, a, 3)}, 1)
	expect(t, p, "|3|")
	p[2].forward([]ethernet.Frame{frame(a, b, 4)}, 2)
	p[0].forward([]ethernet.Frame{frame(b, a, 5), frame(c, a, 6)}, 2)
	expect(t, p, "4|6|5")
	p[1].Forget()
	p[0].forward([]ethernet.Frame{frame(b, a, 7), frame(c, a, 8)}, 3)
	expect(t, p, "|8|7 8")
	p[1].forward([]ethernet.Frame{frame(a, c, 9)}, 4) // it is back
	p[0].forward([]ethernet.Frame{frame(c, a, 10)}, 4)
	expect(t, p, "9|10|")
	if n := s.table.known(4); n != 3 {
		t.Errorf("%d stations known, want 3", n)
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct{ text, fault string }{
		{"", ""},
		{"ageing 10 table 100 queue 5", ""},
		{"ageing 0", "test:1:2: ageing: \"0\" is not a number from 1 to 1000000"},
		{"queue", "test:1:1: queue wants N"},
		{"queues 5", `unknown option "queues"; did you mean queue?`},
	} {
		_, err := New(element.Env{}, words(c.text))
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: %v, want %q", c.text, err, c.fault)
		}
	}
	e, _ := New(element.Env{}, words("queue 3"))
	if _, err := e.Attach(words("port 1")); err == nil {
		t.Error("arguments on its side of a connection are taken")
	}
	if p, err := e.Attach(words("")); err != nil || p.(*port).queue.maxFrames != 3 {
		t.Errorf("%v", err)
	}
}

// words makes a description's words of a text; the column is the word's number.
func words(text string) (a element.Args) {
	for i, w := range strings.Fields(text) {
		a.Words = append(a.Words, tmesh.Word{Text: w, Pos: tmesh.Pos{File: "test", Line: 1, Column: i + 1}})
	}
	return a
}

// Many writers, readers that come and go, and nothing lost but by a full queue.
func TestConcurrent(t *testing.T) {
	defer goleak.VerifyNone(t)
	const ports, batches, size = 8, 400, 16
	s, p := testSwitch(defaults, ports)
	var readers, writers sync.WaitGroup
	got := make([]uint64, ports)
	for i, q := range p {
		readers.Go(func() {
			for {
				frames, err := q.ReadFrames()
				if err != nil {
					return
				}
				for _, f := range frames {
					if dst := ethernet.Dst(f.Data); dst == host(i) || dst == ethernet.Broadcast {
						got[i]++
					}
				}
			}
		})
	}
	for i, q := range p {
		q.forward([]ethernet.Frame{frame(group, host(i), 0)}, 0)
	}
	for i, q := range p {
		writers.Go(func() {
			for n := range batches {
				var batch []ethernet.Frame
				for k := range size {
					dst := host((i + 1 + (n+k)%(ports-1)) % ports)
					if k == 0 {
						dst = ethernet.Broadcast
					}
					batch = append(batch, frame(dst, host(i), uint32(n)))
				}
				if err := q.WriteFrames(batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Go(func() {
		for range 50 {
			q := s.newPort("p", portConfig{})
			q.WriteFrames([]ethernet.Frame{frame(group, host(500), 1)})
			q.Forget()
			q.Close()
		}
	})
	writers.Wait()
	for _, q := range p { // the readers end when they have read everything
		for empty := false; !empty; time.Sleep(time.Millisecond) {
			q.queue.mu.Lock()
			empty = q.queue.filled == nil
			q.queue.mu.Unlock()
		}
	}
	s.Close()
	readers.Wait()
	total := uint64(0)
	for i, q := range p {
		total += got[i] + q.counters.Read.Count(ethernet.QueueFull)
	}
	want := uint64(ports * batches * (size - 1 + ports - 1))
	lost := uint64(ports) * 50 // the passing ports' groups may be among the drops
	if total < want || total > want+lost {
		t.Errorf("%d frames arrived or were counted as dropped, want %d", total, want)
	}
}
