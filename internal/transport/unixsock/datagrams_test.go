//go:build unix

package unixsock

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// queue is how many datagrams fit a socket's queue wherever it has not been made
// longer: net.unix.max_dgram_qlen is 10 from the start.
const queue = 10

func TestDatagramsCarryFrames(t *testing.T) {
	a, b := datagramPair(t, testConfig())
	for _, way := range [][2]*Datagrams{{a, b}, {b, a}} {
		for _, length := range []int{14, 60, 1514, 1522} {
			if err := way[0].WriteFrames(numbered(3, queue, length)); err != nil {
				t.Fatal(err)
			}
			batches := collect(t, way[1], 3, queue, length)
			if runtime.GOOS == "linux" && len(batches) != 1 {
				t.Errorf("%d frames of %d bytes came in batches of %v", queue, length, batches)
			}
		}
	}
}

// A peer whose queue is full is waited for, and gets everything in its order.
func TestDatagramsWaitForTheirPeer(t *testing.T) {
	a, b := datagramPair(t, testConfig())
	const rounds, batch = 20, 200
	done := make(chan error, 1)
	go func() {
		for i := range rounds {
			if err := a.WriteFrames(numbered(i*batch, batch, 100)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	time.Sleep(20 * time.Millisecond) // the queue is full by now
	collect(t, b, 0, rounds*batch, 100)
	if err := within(t, "the writer", done); err != nil {
		t.Fatal(err)
	}
	expectCounts(t, &a.config.Counters.Write, nil)
}

func TestDatagramsCloseWakes(t *testing.T) {
	a, b := datagramPair(t, testConfig()) // b does not read
	done := make(chan error, 2)
	go func() {
		_, err := a.ReadFrames()
		done <- err
	}()
	go func() {
		for {
			if err := a.WriteFrames(numbered(0, 100, 100)); err != nil {
				done <- err
				return
			}
		}
	}()
	select {
	case err := <-done:
		t.Fatalf("nothing waits: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := within(t, "a goroutine", done); err != net.ErrClosed {
			t.Errorf("woken with %v", err)
		}
	}
	if n := a.config.Counters.Write.Count(ethernet.Disconnected); n == 0 || n > 100 {
		t.Errorf("%d of a batch of 100 counted", n)
	}
	if err := a.WriteFrames(numbered(0, 1, 60)); err != net.ErrClosed {
		t.Errorf("a write after Close: %v", err)
	}
	_ = b
}

// A peer that goes while its full queue is waited for ends the waiting; when it
// is back frames reach it again.
func TestDatagramsOutliveTheirPeer(t *testing.T) {
	a, b := datagramPair(t, testConfig())
	done := make(chan error, 1)
	go func() { done <- a.WriteFrames(numbered(0, 2000, 100)) }()
	time.Sleep(50 * time.Millisecond)
	b.Close()
	if err := within(t, "the writer", done); err != nil {
		t.Fatal(err)
	}
	lost := a.config.Counters.Write.Count(ethernet.Disconnected)
	if lost == 0 || lost > 2000 {
		t.Errorf("%d of 2000 counted", lost)
	}
	// Its file is gone; and then there is a dead one.
	for _, prepare := range []func(){func() {}, func() { dead(t, "unixgram", a.config.Remote) }} {
		prepare()
		if err := a.WriteFrames(numbered(0, 5, 100)); err != nil {
			t.Fatal(err)
		}
		if lost += 5; a.config.Counters.Write.Count(ethernet.Disconnected) != lost {
			t.Errorf("%d counted, want %d", a.config.Counters.Write.Count(ethernet.Disconnected), lost)
		}
	}
	back, err := OpenDatagrams(b.config)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if err := a.WriteFrames(numbered(0, 5, 100)); err != nil {
		t.Fatal(err)
	}
	collect(t, back, 0, 5, 100)
	if err := back.WriteFrames(numbered(0, 5, 100)); err != nil {
		t.Fatal(err)
	}
	collect(t, a, 0, 5, 100)
}

// plain is a datagram socket that knows nothing of frames.
func plain(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDatagramsFromOutside(t *testing.T) {
	folder := t.TempDir()
	remote := filepath.Join(folder, "q")
	link := filepath.Join(folder, "link")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	t.Chdir(folder)
	for _, test := range []struct {
		name, from string
		payload    []byte
		reason     ethernet.Reason // NumReasons: let in
	}{
		{"the peer", remote, make([]byte, 60), ethernet.NumReasons},
		{"the peer by a relative path", "q", make([]byte, 60), ethernet.NumReasons},
		{"the peer by another path", filepath.Join(link, "q"), make([]byte, 60), ethernet.NumReasons},
		{"a stranger", filepath.Join(folder, "x"), make([]byte, 60), ethernet.Stranger},
		{"a stranger by a relative path", "y", make([]byte, 60), ethernet.Stranger},
		{"nothing", remote, nil, ethernet.Runt},
		{"a runt", remote, make([]byte, 13), ethernet.Runt},
		{"the shortest frame", remote, make([]byte, 14), ethernet.NumReasons},
		{"the longest frame", remote, make([]byte, 1522), ethernet.NumReasons},
		{"a long frame", remote, make([]byte, 1523), ethernet.Oversize},
		{"a very long frame", remote, make([]byte, 9000), ethernet.Oversize},
	} {
		logged := &nstest.Buffer{}
		c := DatagramConfig{Config: testConfig(), Local: filepath.Join(folder, "a"), Mode: 0o600, Remote: remote, Log: logTo(logged)}
		d, err := OpenDatagrams(c)
		if err != nil {
			t.Fatal(err)
		}
		sender := plain(t, test.from)
		to := &net.UnixAddr{Net: "unixgram", Name: c.Local}
		for range 2 {
			if _, err := sender.WriteToUnix(test.payload, to); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
		}
		// An unnamed one comes behind it and is let in.
		unnamed, err := net.DialUnix("unixgram", nil, to)
		if err != nil {
			t.Fatal(err)
		}
		unnamed.Write(numbered(9, 1, 60)[0].Data)
		unnamed.Close()
		frames, err := d.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		want := map[ethernet.Reason]uint64{test.reason: 2}
		n := 1
		if test.reason == ethernet.NumReasons {
			n = 3
		}
		if runtime.GOOS == "linux" && len(frames) != n {
			t.Errorf("%s: %d frames, want %d", test.name, len(frames), n)
		}
		expectCounts(t, &c.Counters.Read, want)
		if lines := strings.Count(logged.String(), "\n"); (lines == 1) != (test.reason == ethernet.Stranger) {
			t.Errorf("%s: logged %q", test.name, logged)
		}
		d.Close()
		sender.Close()
		os.Remove(test.from)
	}
}

func TestDatagramsFillUp(t *testing.T) {
	folder := t.TempDir()
	peer := plain(t, filepath.Join(folder, "q"))
	d, err := OpenDatagrams(DatagramConfig{
		Config: testConfig(), Local: filepath.Join(folder, "a"), Mode: 0o600, Remote: filepath.Join(folder, "q"),
		MinFrame: ethernet.MinFrame, Log: logTo(&nstest.Buffer{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, length := range []int{14, 59, 60, 61} {
		frames := numbered(1, 1, length)
		want := append(frames[0].Data, make([]byte, max(0, 60-length))...)
		if err := d.WriteFrames(frames); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		n, err := peer.Read(buf)
		if err != nil || string(buf[:n]) != string(want) {
			t.Errorf("%d bytes came as % x, %v", length, buf[:n], err)
		}
	}
}

// A connected socket hears nobody but its peer.
func TestDatagramsConnected(t *testing.T) {
	folder := t.TempDir()
	peer := plain(t, filepath.Join(folder, "q"))
	c := DatagramConfig{Config: testConfig(), Local: filepath.Join(folder, "a"), Mode: 0o600, Log: logTo(&nstest.Buffer{})}
	d, err := OpenDatagrams(c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	to := &net.UnixAddr{Net: "unixgram", Name: c.Local}
	stranger := plain(t, filepath.Join(folder, "x"))
	stranger.WriteToUnix(make([]byte, 60), to) // before it is connected
	if err := d.Connect(filepath.Join(folder, "q")); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.WriteToUnix(make([]byte, 60), to); err == nil && runtime.GOOS == "linux" {
		t.Error("a stranger may send to a connected socket")
	}
	peer.WriteToUnix(numbered(1, 1, 60)[0].Data, to)
	collect(t, d, 1, 1, 60)
	expectCounts(t, &c.Counters.Read, map[ethernet.Reason]uint64{ethernet.Stranger: 1})

	const n = 500 // more than its queue and our buffer hold
	done := make(chan error, 1)
	go func() { done <- d.WriteFrames(numbered(0, n, 1000)) }()
	buf := make([]byte, 2000)
	for i := range n {
		peer.SetReadDeadline(time.Now().Add(10 * time.Second))
		if got, err := peer.Read(buf); err != nil || string(buf[:got]) != string(numbered(i, 1, 1000)[0].Data) {
			t.Fatalf("datagram %d: %v", i, err)
		}
	}
	if err := within(t, "the writer", done); err != nil {
		t.Error(err)
	}
	peer.Close()
	for range 2 { // first refused, then not connected
		if err := d.WriteFrames(numbered(0, 3, 100)); err != nil {
			t.Error(err)
		}
	}
	expectCounts(t, &c.Counters.Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 6})
}

func TestDatagramsMakeTheirFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c := DatagramConfig{Config: testConfig(), Local: path, Mode: 0o640, Remote: path + "r", Log: logTo(&nstest.Buffer{})}
	dead(t, "unixgram", path)
	d, err := OpenDatagrams(c)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != c.Mode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := OpenDatagrams(c); !errors.Is(err, ErrInUse) {
		t.Errorf("where one is alive: %v", err)
	}
	if err := errors.Join(d.Close(), func() error { d.Close(); return nil }()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

func TestSweep(t *testing.T) {
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	dead(t, "unixgram", path(".ours-1"))
	dead(t, "unixgram", path("theirs"))
	plain(t, path(".ours-2"))
	os.WriteFile(path(".ours-3"), nil, 0o600)
	Sweep(folder, ".ours-")
	for name, kept := range map[string]bool{".ours-1": false, ".ours-2": true, ".ours-3": true, "theirs": true} {
		if _, err := os.Lstat(path(name)); (err == nil) != kept {
			t.Errorf("%s: %v, want it kept: %v", name, err, kept)
		}
	}
}

// Whoever sends first is the peer until it is gone, and is answered; another one is
// dropped and told of once.
func TestDatagramsHearTheirPeer(t *testing.T) {
	folder := t.TempDir()
	logged := &nstest.Buffer{}
	c := DatagramConfig{Config: testConfig(), Local: filepath.Join(folder, "a"), Mode: 0o600, Hears: true, Greeting: "VFKT", Log: logTo(logged)}
	d, err := OpenDatagrams(c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.WriteFrames(numbered(0, 3, 60)); err != nil {
		t.Fatal(err)
	}
	expectCounts(t, &c.Counters.Write, map[ethernet.Reason]uint64{ethernet.NoPeer: 3})
	if d.Peer() != "" {
		t.Errorf("the peer is %q before one was heard", d.Peer())
	}
	to := &net.UnixAddr{Net: "unixgram", Name: c.Local}
	answered := func(who *net.UnixConn, i int) {
		t.Helper()
		if err := d.WriteFrames(numbered(i, 2, 100)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 200)
		for k := range 2 {
			who.SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, err := who.Read(buf); err != nil || string(buf[:n]) != string(numbered(i+k, 1, 100)[0].Data) {
				t.Fatalf("it is answered % x, %v", buf[:n], err)
			}
		}
	}
	t.Chdir(folder)
	lost := plain(t, "lost")
	lost.WriteToUnix(numbered(0, 1, 60)[0].Data, to)
	first := plain(t, filepath.Join(folder, "first"))
	first.WriteToUnix([]byte("VFKT"), to)
	first.WriteToUnix(numbered(1, 1, 60)[0].Data, to)
	collect(t, d, 1, 1, 60)
	if d.Peer() != filepath.Join(folder, "first") {
		t.Errorf("the peer is %q", d.Peer())
	}
	answered(first, 10)
	second := plain(t, filepath.Join(folder, "second"))
	for range 3 {
		second.WriteToUnix(numbered(2, 1, 60)[0].Data, to)
	}
	first.WriteToUnix(nil, to)
	first.WriteToUnix(numbered(3, 1, 60)[0].Data, to)
	collect(t, d, 3, 1, 60)
	expectCounts(t, &c.Counters.Read, map[ethernet.Reason]uint64{ethernet.Stranger: 4, ethernet.Runt: 1})
	if n := strings.Count(logged.String(), "level=WARN"); n != 2 || !strings.Contains(logged.String(), "the sender's path is relative") {
		t.Errorf("%d warnings, want one of each stranger:\n%s", n, logged)
	}
	first.Close()
	came := make(chan error, 1)
	go func() {
		_, err := d.ReadFrames()
		came <- err
	}()
	if !nstest.Eventually(10*time.Second, func() bool {
		second.WriteToUnix(numbered(4, 1, 60)[0].Data, to)
		return d.Peer() == filepath.Join(folder, "second")
	}) {
		t.Fatalf("the second one is not heard when the first is gone:\n%s", logged)
	}
	if err := within(t, "its frame", came); err != nil {
		t.Fatal(err)
	}
	answered(second, 20)
	for _, text := range []string{"peer heard", "peer has gone"} {
		if !strings.Contains(logged.String(), text) {
			t.Errorf("%q is not logged:\n%s", text, logged)
		}
	}
}

func TestCheckFolder(t *testing.T) {
	folder := t.TempDir()
	for _, test := range []struct {
		mode  fs.FileMode
		fault bool
	}{{0o700, false}, {0o770, false}, {0o777, true}, {0o777 | fs.ModeSticky, false}, {0o702, true}} {
		if err := os.Chmod(folder, test.mode); err != nil {
			t.Fatal(err)
		}
		err := CheckFolder(filepath.Join(folder, "s"))
		if (err != nil) != test.fault || err != nil && !strings.Contains(err.Error(), "chmod o-w "+folder) {
			t.Errorf("mode %v: %v", test.mode, err)
		}
	}
	if err := CheckFolder(filepath.Join(folder, "none", "s")); err != nil {
		t.Error(err)
	}
}
