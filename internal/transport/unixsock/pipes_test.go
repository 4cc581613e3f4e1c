//go:build unix

package unixsock

import (
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

// pipeEnds is a pipe whose ends do not block.
func pipeEnds(t *testing.T) (reads, writes *os.File) {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
	}
	return os.NewFile(uintptr(fds[0]), "read end"), os.NewFile(uintptr(fds[1]), "write end")
}

func TestPipes(t *testing.T) {
	for _, prefix := range []Prefix{Big16, Little16} {
		c := testConfig()
		c.Prefix = prefix
		hereIn, thereOut := pipeEnds(t)
		thereIn, hereOut := pipeEnds(t)
		here, err := Pipes(hereIn, hereOut, c)
		if err != nil {
			t.Fatal(err)
		}
		other := testConfig()
		other.Prefix = prefix
		there, err := Pipes(thereIn, thereOut, other)
		if err != nil {
			t.Fatal(err)
		}
		for _, way := range [][2]*Stream{{here, there}, {there, here}} {
			done := make(chan error, 1)
			go func() { done <- way[0].WriteFrames(numbered(0, 1000, 1514)) }() // a pipe holds 64 KB
			collect(t, way[1], 0, 1000, 1514)
			if err := within(t, "the writer", done); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		go func() {
			_, err := here.ReadFrames()
			done <- err
		}()
		there.Close()
		if err := within(t, "the reader", done); err != ErrGone {
			t.Errorf("the end of a pipe is %v", err)
		}
		if err := here.WriteFrames(numbered(0, 3, 60)); err != ErrGone {
			t.Errorf("a write to a broken pipe gives %v", err)
		}
		expectCounts(t, &c.Counters.Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 3})
		here.Close()
	}
}

func TestPipesCloseWakes(t *testing.T) {
	in, feed := pipeEnds(t)
	sink, out := pipeEnds(t)
	defer feed.Close()
	defer sink.Close()
	s, err := Pipes(in, out, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() {
		_, err := s.ReadFrames()
		done <- err
	}()
	go func() { done <- s.WriteFrames(numbered(0, 1000, 1500)) }()
	select {
	case err := <-done:
		t.Fatalf("nothing waits: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := within(t, "a goroutine", done); err != net.ErrClosed {
			t.Errorf("woken with %v", err)
		}
	}
}

// A pipe that ends inside a frame, or has a length of 0, is told from one that ends.
func TestPipesOfBadBytes(t *testing.T) {
	for _, test := range []struct {
		bytes, fault string
	}{
		{"\x00\x0e" + strings.Repeat("x", 13), "inside a frame"},
		{"\x00", "inside a frame"},
		{"\x00\x00", "a frame of 0 bytes"},
		{"", ErrGone.Error()},
	} {
		c := testConfig()
		c.Prefix = Big16
		in, feed := pipeEnds(t)
		_, out := pipeEnds(t)
		s, err := Pipes(in, out, c)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(feed, test.bytes)
		feed.Close()
		_, err = s.ReadFrames()
		if err == nil || !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%q: %v, want %q", test.bytes, err, test.fault)
		}
		if n := c.Counters.Read.Count(ethernet.Malformed); (n == 1) != (test.bytes != "") {
			t.Errorf("%q: %d are counted", test.bytes, n)
		}
		s.Close()
	}
}
