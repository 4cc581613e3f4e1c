package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

func TestStreamCarriesBatches(t *testing.T) {
	server, client := streamPair(t, testConfig())
	for _, way := range [][2]*Stream{{server, client}, {client, server}} {
		for _, length := range []int{14, 60, 1514, 1522} {
			if err := way[0].WriteFrames(numbered(7, 40, length)); err != nil {
				t.Fatal(err)
			}
			collect(t, way[1], 7, 40, length)
		}
	}
}

// What is written before anybody reads comes in as few batches as fit a read.
func TestStreamKeepsBatches(t *testing.T) {
	server, client := streamPair(t, testConfig())
	for i := range 2 {
		if err := client.WriteFrames(numbered(64*i, 64, 1514)); err != nil {
			t.Fatal(err)
		}
	}
	// Two reads of a buffer bring it all, and no read brings less than half.
	if batches := collect(t, server, 0, 128, 1514); runtime.GOOS == "linux" && len(batches) > 2 {
		t.Errorf("128 frames came in batches of %v", batches)
	}
}

// A batch that does not fit the socket waits, and goes on where it stopped.
func TestStreamOfPartialWrites(t *testing.T) {
	server, client := streamPair(t, testConfig())
	const rounds, batch, length = 30, 300, 1333
	done := make(chan error, 1)
	go func() {
		for i := range rounds {
			if err := client.WriteFrames(numbered(i*batch, batch, length)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	time.Sleep(20 * time.Millisecond) // the socket is full by now
	batches := collect(t, server, 0, rounds*batch, length)
	if err := within(t, "the writer", done); err != nil {
		t.Fatal(err)
	}
	if most := rounds * batch / 4; len(batches) > most {
		t.Errorf("%d batches for %d frames", len(batches), rounds*batch)
	}
}

// Whoever closes in the middle of a frame is told from one who closes behind it.
func TestStreamCutAtEveryByte(t *testing.T) {
	all := stream(numbered(0, 2, 20))
	for i := range len(all) + 1 {
		c := testConfig()
		server, client := streamPair(t, c)
		client.writes.Write(all[:i])
		client.Close()
		whole := i / 24
		if whole > 0 {
			collect(t, server, 0, whole, 20)
		}
		_, err := server.ReadFrames()
		if cut := i%24 != 0; cut != (err != ErrGone) || err == nil {
			t.Fatalf("cut at byte %d: %v", i, err)
		} else if cut != (c.Counters.Read.Count(ethernet.Malformed) == 1) {
			t.Fatalf("cut at byte %d: %d counted as malformed", i, c.Counters.Read.Count(ethernet.Malformed))
		}
		if server.in.buf != nil {
			t.Fatal("the buffer is kept after the end")
		}
	}
}

func TestStreamOfBadLength(t *testing.T) {
	c := testConfig()
	server, client := streamPair(t, c)
	client.writes.Write(append(stream(numbered(0, 3, 60)), "GET / HTTP/1.0\r\n\r\n"...))
	collect(t, server, 0, 3, 60)
	if _, err := server.ReadFrames(); err == nil || !strings.Contains(err.Error(), "a frame of 1195725856 bytes") {
		t.Errorf("got %v", err)
	}
	expectCounts(t, &c.Counters.Read, map[ethernet.Reason]uint64{ethernet.Malformed: 1})
}

func TestStreamDropsShortAndLongFrames(t *testing.T) {
	c := testConfig()
	server, client := streamPair(t, c)
	client.writes.Write(appendFrame(appendFrame(nil, make([]byte, 13)), make([]byte, 1523)))
	client.WriteFrames(numbered(0, 1, 60))
	collect(t, server, 0, 1, 60)
	expectCounts(t, &c.Counters.Read, map[ethernet.Reason]uint64{ethernet.Runt: 1, ethernet.Oversize: 1})
}

// What came in before the other end closed is read, also by one who meanwhile
// could not write any more.
func TestStreamReadsToTheEnd(t *testing.T) {
	c := testConfig()
	server, client := streamPair(t, c)
	client.WriteFrames(numbered(0, 50, 100))
	client.Close()
	if err := server.WriteFrames(numbered(0, 3, 100)); err != ErrGone {
		t.Errorf("a write to a closed connection: %v", err)
	}
	expectCounts(t, &c.Counters.Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 3})
	collect(t, server, 0, 50, 100)
	if _, err := server.ReadFrames(); err != ErrGone {
		t.Errorf("then %v", err)
	}
}

func TestStreamCloseWakes(t *testing.T) {
	c := testConfig()
	server, client := streamPair(t, c) // whose client does not read
	done := make(chan error, 2)
	go func() {
		_, err := server.ReadFrames()
		done <- err
	}()
	go func() {
		for {
			if err := server.WriteFrames(numbered(0, 100, 1500)); err != nil {
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
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := within(t, "a goroutine", done); err != net.ErrClosed {
			t.Errorf("woken with %v", err)
		}
	}
	n := c.Counters.Write.Count(ethernet.Disconnected)
	if n == 0 || n > 100 {
		t.Errorf("%d of a batch of 100 counted", n)
	}
	if _, err := server.ReadFrames(); err != net.ErrClosed {
		t.Errorf("a read after Close: %v", err)
	}
	if err := server.WriteFrames(numbered(0, 1, 60)); err != net.ErrClosed {
		t.Errorf("a write after Close: %v", err)
	}
	_ = client
}

// A writer that waits learns that the other end is gone.
func TestStreamWriterLearnsOfTheEnd(t *testing.T) {
	server, client := streamPair(t, testConfig())
	done := make(chan error, 1)
	go func() {
		for {
			if err := server.WriteFrames(numbered(0, 100, 1500)); err != nil {
				done <- err
				return
			}
		}
	}()
	time.Sleep(50 * time.Millisecond)
	client.Close()
	if err := within(t, "the writer", done); err != ErrGone {
		t.Errorf("got %v", err)
	}
}

func TestStreamKnowsWhoVanished(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: only Linux tells which process is at the other end, and that it has gone")
	}
	server, client := streamPair(t, testConfig())
	if want := fmt.Sprintf("pid %d", os.Getpid()); server.Peer() != want || server.Vanished() {
		t.Errorf("peer %s, want %s; vanished: %v", server.Peer(), want, server.Vanished())
	}
	client.WriteFrames(numbered(0, 1, 60))
	client.Close()
	if !server.Vanished() {
		t.Error("the end is not seen before what waits is read")
	}
	collect(t, server, 0, 1, 60)
}

func TestListenMakesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, mode := range []fs.FileMode{0o600, 0o666} {
		l, err := Listen(Address{"unix", path}, mode, testConfig())
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != mode {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, mode)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// dead leaves a socket behind that nobody has open.
func dead(t *testing.T, network, path string) {
	t.Helper()
	if network == "unix" {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		return
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestListenReplacesTheDeadOnly(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "s")
	for _, network := range []string{"unix", "unixgram"} {
		dead(t, network, path)
		l, err := Listen(Address{"unix", path}, 0o600, testConfig())
		if err != nil {
			t.Fatalf("a dead %s socket: %v", network, err)
		}
		if _, err := Listen(Address{"unix", path}, 0o600, testConfig()); !errors.Is(err, ErrInUse) || !strings.HasPrefix(err.Error(), "listen on "+path) {
			t.Errorf("where one listens: %v", err)
		}
		l.Close()
	}
	other, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Address{"unix", path}, 0o600, testConfig()); !errors.Is(err, ErrInUse) {
		t.Errorf("where a datagram socket is alive: %v", err)
	}
	other.Close()
	os.Remove(path)

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Address{"unix", path}, 0o600, testConfig()); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("where a file is: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file is gone")
	}
	os.Remove(path)
	if _, err := Dial(context.Background(), Address{"unix", path}, testConfig()); !Absent(err) {
		t.Errorf("dial where nothing is: %v", err)
	}
	dead(t, "unix", path)
	if _, err := Dial(context.Background(), Address{"unix", path}, testConfig()); !Absent(err) {
		t.Errorf("dial a dead socket: %v", err)
	}
	if _, err := Listen(Address{"unix", filepath.Join(folder, "none", "s")}, 0o600, testConfig()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its folder: %v", err)
	}
}

// Who comes second to a path does not lose his socket to the first one's Close.
func TestCloseLeavesAnothersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(Address{"unix", path}, 0o600, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	second, err := Listen(Address{"unix", path}, 0o600, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if s, err := Dial(context.Background(), Address{"unix", path}, testConfig()); err != nil {
		t.Error(err)
	} else {
		s.Close()
	}
}

func TestAcceptEndsWithClose(t *testing.T) {
	l, err := Listen(Address{"unix", filepath.Join(t.TempDir(), "s")}, 0o600, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	time.Sleep(20 * time.Millisecond)
	l.Close()
	if err := within(t, "Accept", done); err != net.ErrClosed {
		t.Errorf("got %v", err)
	}
}

func TestCheckPath(t *testing.T) {
	for _, test := range []struct{ path, fault string }{
		{"/tmp/x", ""},
		{"", "an empty path"},
		{strings.Repeat("x", MaxPath), ""},
		{strings.Repeat("x", MaxPath+1), "choose a shorter one"},
	} {
		if err := CheckPath(test.path); (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%q: %v, want %q", test.path, err, test.fault)
		}
	}
}
