//go:build unix

package emulator

import (
	"context"
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

func TestDgramBetweenElements(t *testing.T) {
	folder := t.TempDir()
	a := start(t, folder, "qemu/dgram local a remote b")
	if err := a.WriteFrames(numbered(0, 5, 60)); err != nil {
		t.Fatal(err)
	}
	expectCounts(t, &a.Counters().Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 5})
	b := start(t, folder, "qemu/dgram local b remote a mode 640")
	if info, err := os.Stat(filepath.Join(folder, "b")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, way := range [][2]*plugged{{a, b}, {b, a}} {
		// As many as the queue holds, written before reading begins.
		if err := way[0].WriteFrames(numbered(0, 10, 1514)); err != nil {
			t.Fatal(err)
		}
		if batches := collect(t, way[1], 0, 10, 1514); runtime.GOOS == "linux" && len(batches) != 1 {
			t.Errorf("10 frames came in batches of %v", batches)
		}
	}
	// What the queue does not hold waits.
	done := make(chan error, 1)
	go func() { done <- a.WriteFrames(numbered(0, 500, 100)) }()
	collect(t, b, 0, 500, 100)
	if err := within(t, "the writer", done); err != nil {
		t.Error(err)
	}
	b.element.Close()
	if _, err := os.Stat(filepath.Join(folder, "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

// An empty datagram does not end anything.
func TestDgramPassesOverNothing(t *testing.T) {
	folder := t.TempDir()
	p := start(t, folder, "qemu/dgram local a remote b")
	came := reader(t, p)
	emulator, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(folder, "b")})
	if err != nil {
		t.Fatal(err)
	}
	defer emulator.Close()
	to := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(folder, "a")}
	for i := range 3 {
		emulator.WriteToUnix(nil, to)
		emulator.WriteToUnix(numbered(i, 1, 60)[0].Data, to)
		if got := within(t, "a frame", came); string(got) != string(numbered(i, 1, 60)[0].Data) {
			t.Errorf("got % x", got)
		}
	}
	expectCounts(t, &p.Counters().Read, map[ethernet.Reason]uint64{ethernet.Runt: 3})
}

// A peer that never reads is waited for, and no longer than until Close.
func TestDgramWithAStuckPeerCloses(t *testing.T) {
	folder := t.TempDir()
	p := start(t, folder, "qemu/dgram local a remote b")
	start(t, folder, "qemu/dgram local b remote a")
	done := make(chan error, 1)
	go func() { done <- p.WriteFrames(numbered(0, 1000, 100)) }()
	select {
	case err := <-done:
		t.Fatalf("nothing waits: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := within(t, "the writer", done); err != net.ErrClosed {
		t.Errorf("woken with %v", err)
	}
}

func TestDgramStartFails(t *testing.T) {
	folder := t.TempDir()
	start(t, folder, "qemu/dgram local a remote b")
	e, err := newElement(folder, "qemu/dgram local a remote c", &nstest.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "another program has its socket there") {
		t.Errorf("got %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
