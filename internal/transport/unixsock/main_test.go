package unixsock

import (
	"context"
	"encoding/binary"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testConfig() Config {
	return Config{MaxFrame: ethernet.FrameLen(ethernet.MTU), Counters: &ethernet.Counters{}}
}

// numbered makes frames of a length with their numbers in them.
func numbered(first, n, length int) []ethernet.Frame {
	frames := make([]ethernet.Frame, n)
	for i := range frames {
		data := make([]byte, length)
		for k := range data {
			data[k] = byte(first + i + k)
		}
		binary.BigEndian.PutUint32(data[10:], uint32(first+i))
		frames[i].Data = data
	}
	return frames
}

// collector is what frames are read from.
type collector interface {
	ReadFrames() ([]ethernet.Frame, error)
	Close() error
}

// collect reads numbered frames of a length until n are there, and gives the
// sizes of the batches. It compares every byte.
func collect(t testing.TB, from collector, first, n, length int) (batches []int) {
	t.Helper()
	stop := time.AfterFunc(20*time.Second, func() { from.Close() })
	defer stop.Stop()
	want := numbered(first, n, length)
	for got := 0; got < n; {
		frames, err := from.ReadFrames()
		if err != nil {
			t.Fatalf("after %d of %d frames: %v", got, n, err)
		}
		if len(frames) == 0 {
			t.Fatal("an empty batch")
		}
		for _, f := range frames {
			if got == n {
				t.Fatalf("more than %d frames", n)
			}
			if string(f.Data) != string(want[got].Data) {
				t.Fatalf("frame %d differs: % x, want % x", got, f.Data, want[got].Data)
			}
			if f.Needs != 0 || cap(f.Data) != len(f.Data) {
				t.Fatalf("frame %d needs %v and has room for %d of %d bytes", got, f.Needs, cap(f.Data), len(f.Data))
			}
			got++
		}
		batches = append(batches, len(frames))
	}
	return batches
}

func expectCounts(t testing.TB, drops *ethernet.Drops, want map[ethernet.Reason]uint64) {
	t.Helper()
	for r := range ethernet.NumReasons {
		if got := drops.Count(r); got != want[r] {
			t.Errorf("%s: %d dropped, want %d", r, got, want[r])
		}
	}
}

func logTo(b *nstest.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// streamPair is a listener's connection and the other end of it.
func streamPair(t testing.TB, c Config) (server, client *Stream) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	a, b := connect(t, Address{"unix", path}, c)
	server, client = a.(*Stream), b.(*Stream)
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

// connect gives a listener's connection and the other end of it.
func connect(t testing.TB, at Address, c Config) (server, client Conn) {
	t.Helper()
	l, err := Listen(at, 0o600, c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other := testConfig()
	other.Prefix = c.Prefix
	if client, err = Dial(context.Background(), l.Addr(), other); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// datagramPair is two sockets that are each other's peers.
func datagramPair(t testing.TB, c Config) (a, b *Datagrams) {
	t.Helper()
	folder := t.TempDir()
	open := func(local, remote string, c Config) *Datagrams {
		d, err := OpenDatagrams(DatagramConfig{
			Config: c, Local: filepath.Join(folder, local), Mode: 0o600, Remote: filepath.Join(folder, remote),
			Log: logTo(&nstest.Buffer{}),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	return open("a", "b", c), open("b", "a", testConfig())
}

func within(t testing.TB, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatalf("%s still waits", what)
		return nil
	}
}
