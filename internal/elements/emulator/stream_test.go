package emulator

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/elements/generic"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestStreamBetweenElements(t *testing.T) {
	folder := t.TempDir()
	late := start(t, folder, "qemu/stream connect s")
	late.expectLines(t, "the emulator's socket is not there yet", 1)
	if err := late.WriteFrames(numbered(0, 5, 60)); err != nil {
		t.Fatal(err)
	}
	expectCounts(t, &late.Counters().Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 5})

	first := start(t, folder, "qemu/stream listen s")
	first.expect(t, "connected for")
	late.expect(t, "connected for")
	for _, way := range [][2]*plugged{{first, late}, {late, first}} {
		if err := way[0].WriteFrames(numbered(0, 64, 1514)); err != nil {
			t.Fatal(err)
		}
		// All of it was written before reading began.
		if batches := collect(t, way[1], 0, 64, 1514); runtime.GOOS == "linux" && len(batches) != 1 {
			t.Errorf("64 frames came in batches of %v", batches)
		}
	}
	late.expectLines(t, "the emulator's socket is not there yet", 1)
	if _, err := os.Stat(filepath.Join(folder, "s")); err != nil {
		t.Error(err)
	}
	first.element.Close()
	if _, err := os.Stat(filepath.Join(folder, "s")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

// An emulator comes, goes, and comes again; another one is turned away only
// while it is there.
func TestStreamEmulatorComesAndGoes(t *testing.T) {
	folder := t.TempDir()
	p := start(t, folder, "qemu/stream listen s")
	came := reader(t, p)
	path := filepath.Join(folder, "s")
	for i := range 3 {
		emulator := dial(t, path)
		p.expect(t, "connected for")
		emulator.Write(wire(numbered(i, 1, 60)...))
		if got := within(t, "a frame", came); string(got) != string(numbered(i, 1, 60)[0].Data) {
			t.Fatalf("got % x", got)
		}
		for range 3 {
			second := dial(t, path)
			second.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := second.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("a second emulator gets %v", err)
			}
		}
		if err := p.WriteFrames(numbered(7, 2, 60)); err != nil {
			t.Fatal(err)
		}
		want := wire(numbered(7, 2, 60)...)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(emulator, got); err != nil || string(got) != string(want) {
			t.Fatalf("the emulator gets % x, %v", got, err)
		}
		emulator.Close()
		p.expect(t, "no emulator")
		p.WriteFrames(numbered(0, 3, 60))
	}
	expectCounts(t, &p.Counters().Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 9})
	expectCounts(t, &p.Counters().Read, nil)
	p.expectLines(t, "emulator connected", 3)
	p.expectLines(t, "emulator has gone", 3)
	p.expectLines(t, "turned a second emulator away", 3)
	p.expectLines(t, "level=ERROR", 0)
}

func TestStreamFaultsOfTheEmulator(t *testing.T) {
	for name, test := range map[string]struct {
		bytes []byte
		text  string
	}{
		"length 0":        {[]byte{0, 0, 0, 0}, "a frame of 0 bytes"},
		"a huge length":   {[]byte("GET / HTTP/1.1\r\n"), "a frame of 1195725856 bytes"},
		"cut in a frame":  {wire(numbered(0, 1, 60)...)[:30], "inside a frame"},
		"cut in a length": {[]byte{0, 0}, "inside a frame"},
	} {
		folder := t.TempDir()
		p := start(t, folder, "qemu/stream listen s")
		came := reader(t, p)
		bad := dial(t, filepath.Join(folder, "s"))
		bad.Write(append(wire(numbered(1, 1, 60)...), test.bytes...))
		within(t, "the frame before it", came)
		if strings.HasPrefix(name, "cut") {
			bad.Close()
		}
		p.expectLines(t, "level=ERROR", 1)
		p.expectLines(t, test.text, 1)
		expectCounts(t, &p.Counters().Read, map[ethernet.Reason]uint64{ethernet.Malformed: 1})
		good := dial(t, filepath.Join(folder, "s"))
		good.Write(wire(numbered(2, 1, 60)...))
		within(t, "a frame of the next emulator", came)
	}
}

// An emulator that died while nobody read the port does not keep the next one
// out, and what it said last is read.
func TestStreamTakesTheNextAfterADeadOne(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: only Linux tells that a peer has gone while what it sent last is unread")
	}
	folder := t.TempDir()
	p := start(t, folder, "qemu/stream listen s")
	dead := dial(t, filepath.Join(folder, "s"))
	p.expect(t, "connected for")
	dead.Write(wire(numbered(0, 3, 60)...))
	dead.Close()
	next := dial(t, filepath.Join(folder, "s"))
	next.Write(wire(numbered(3, 3, 60)...))
	time.Sleep(50 * time.Millisecond) // the keeper waits for the reader
	collect(t, p, 0, 6, 60)
	p.expectLines(t, "turned a second emulator away", 0)
}

// A connection that never lasts is not tried every time at once.
func TestStreamConnectDoesNotHurry(t *testing.T) {
	folder := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(folder, "s"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	times := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			times++
			mu.Unlock()
			c.Close()
		}
	}()
	e, err := newElement(folder, "qemu/stream connect s", &nstest.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	e.(*Stream).retry = 100 * time.Millisecond // so long that no end is seen as late
	p, err := e.Attach(words(""))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	reader(t, p)
	time.Sleep(1500 * time.Millisecond)
	l.Close()
	<-done
	if times < 2 || times > 6 { // after 0, 200, 600, 1400 ms
		t.Errorf("%d connections", times)
	}
}

func TestStreamStartFails(t *testing.T) {
	folder := t.TempDir()
	start(t, folder, "qemu/stream listen s")
	os.WriteFile(filepath.Join(folder, "file"), nil, 0o600)
	for text, want := range map[string]string{
		"qemu/stream listen s":      "another program has its socket there",
		"qemu/stream listen file":   "no socket",
		"qemu/stream listen none/s": "no such file or directory",
	} {
		e, err := newElement(folder, text, &nstest.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		err = e.Start(context.Background())
		if err == nil || !strings.Contains(err.Error(), want) && runtime.GOOS != "windows" || !strings.HasPrefix(err.Error(), "listen on "+folder) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "file")); err != nil {
		t.Error(err)
	}
}

func TestCloseWakes(t *testing.T) {
	folder := t.TempDir()
	for _, text := range []string{"qemu/stream listen s", "qemu/stream connect none", "qemu/dgram local a remote b", "vde/plug none"} {
		if runtime.GOOS != "linux" && !strings.Contains(text, "stream") {
			continue
		}
		for _, close := range []func(p *plugged) error{(*plugged).Close, func(p *plugged) error { return p.element.Close() }} {
			p := start(t, folder, text)
			done := make(chan error, 1)
			go func() {
				_, err := p.ReadFrames()
				done <- err
			}()
			time.Sleep(20 * time.Millisecond)
			if err := errors.Join(close(p), close(p)); err != nil {
				t.Error(err)
			}
			if err := within(t, "the reader", done); err != net.ErrClosed {
				t.Errorf("%s: woken with %v", text, err)
			}
			if err := p.WriteFrames(numbered(0, 1, 60)); err != net.ErrClosed {
				t.Errorf("%s: a write after Close: %v", text, err)
			}
			if err := p.element.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// An emulator that stops reading holds up itself and nobody else: what a switch
// cannot hand to it is dropped at its port, and others go on.
func TestStuckEmulatorHoldsUpNobody(t *testing.T) {
	folder := t.TempDir()
	e, err := generic.New(element.Env{}, words("queue 100"))
	if err != nil {
		t.Fatal(err)
	}
	elements := map[string]*plugged{}
	sockets := map[string]*net.UnixConn{}
	var pumps sync.WaitGroup
	var ports []ethernet.Port
	for _, name := range []string{"from", "stuck", "busy"} {
		p := start(t, folder, "qemu/stream listen "+name)
		elements[name], sockets[name] = p, dial(t, filepath.Join(folder, name))
		p.expect(t, "connected for")
		q, err := e.Attach(words(""))
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, q)
		for _, way := range [][2]ethernet.Port{{p, q}, {q, p}} {
			pumps.Go(func() {
				for {
					frames, err := way[0].ReadFrames()
					if err == nil {
						err = way[1].WriteFrames(frames)
					}
					if err != nil {
						return
					}
				}
			})
		}
	}
	const frames = 3000 // of 1400 bytes: far beyond what the stuck one's socket holds
	got := make(chan error, 1)
	go func() {
		for i := range frames {
			want := wire(numbered(i, 1, 1400)...)
			have := make([]byte, len(want))
			if _, err := io.ReadFull(sockets["busy"], have); err != nil || string(have) != string(want) {
				got <- errors.Join(errors.New("the busy emulator misses a frame"), err)
				return
			}
			if i%50 == 49 {
				got <- nil
			}
		}
	}()
	for i := range frames {
		sockets["from"].Write(wire(numbered(i, 1, 1400)...))
		if i%50 == 49 { // no faster than the busy one reads
			if err := within(t, "the busy emulator's frames", got); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := ports[1].Counters().Read.Count(ethernet.QueueFull); n == 0 {
		t.Error("nothing was dropped at the stuck emulator's port")
	}
	if n := ports[2].Counters().Read.Total(); n != 0 {
		t.Errorf("%d dropped at the busy emulator's port", n)
	}
	for _, p := range elements {
		if err := p.element.Close(); err != nil { // the stuck one too
			t.Error(err)
		}
	}
	e.Close()
	pumps.Wait()
}

// While an emulator is away the descriptors of those before are gone.
func TestStreamLeavesNoDescriptor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: descriptors are counted in /proc")
	}
	folder := t.TempDir()
	p := start(t, folder, "qemu/stream listen s")
	reader(t, p)
	open := func() int {
		all, _ := os.ReadDir("/proc/self/fd")
		return len(all)
	}
	before := 0
	for i := range 20 {
		emulator := dial(t, filepath.Join(folder, "s"))
		emulator.Write(wire(numbered(0, 1, 60)...))
		p.expect(t, "connected for")
		emulator.Close()
		p.expect(t, "no emulator")
		if i == 1 {
			before = open()
		}
	}
	if now := open(); now > before {
		t.Errorf("%d descriptors are open, %d were", now, before)
	}
}

// After Close nothing more is given, also of what was read before.
func TestStreamGivesNothingAfterClose(t *testing.T) {
	folder := t.TempDir()
	p := start(t, folder, "qemu/stream listen s")
	emulator := dial(t, filepath.Join(folder, "s"))
	emulator.Write(wire(numbered(0, 600, 14)...))
	if _, err := p.ReadFrames(); err != nil { // a batch of them
		t.Fatal(err)
	}
	p.Close()
	if frames, err := p.ReadFrames(); err != net.ErrClosed {
		t.Errorf("%d frames, %v", len(frames), err)
	}
}
