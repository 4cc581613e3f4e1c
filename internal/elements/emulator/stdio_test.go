//go:build unix

package emulator

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// piped is an element on standard input and output, with the other ends of the
// pipes that stand for them.
type piped struct {
	plugged
	feed, drain *os.File
}

func startStdio(t *testing.T, text string) *piped {
	t.Helper()
	p := &piped{plugged: plugged{log: &nstest.Buffer{}}}
	e, err := newElement("", text, p.log)
	if err != nil {
		t.Fatal(err)
	}
	p.element = e
	s := e.(*Stdio)
	if s.in, p.feed, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	if p.drain, s.out, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	in, out := s.in, s.out
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		for _, f := range []*os.File{in, out, p.feed, p.drain} {
			f.Close()
		}
		if t.Failed() {
			t.Logf("%s logged:\n%s", text, p.log)
		}
	})
	if p.Port, err = e.Attach(words("")); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStdioCarriesFrames(t *testing.T) {
	for text, order := range map[string]binary.ByteOrder{"stdio": binary.BigEndian, "gvproxy/stdio": binary.LittleEndian} {
		p := startStdio(t, text)
		p.expect(t, "standard input and output, for")
		frame := numbered(3, 1, 300)[0].Data
		bytes := append(make([]byte, 2), frame...)
		order.PutUint16(bytes, uint16(len(frame)))
		p.feed.Write(bytes)
		collect(t, p, 3, 1, 300)
		if err := p.WriteFrames(numbered(3, 1, 300)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 400)
		if n, err := p.drain.Read(got); err != nil || string(got[:n]) != string(bytes) {
			t.Errorf("%s: written as % x, %v", text, got[:n], err)
		}
		select {
		case <-p.element.(element.Finite).Ended():
			t.Errorf("%s has ended", text)
		default:
		}
		// The end of standard input is that of the element, and no failure.
		p.feed.Close()
		if _, err := p.ReadFrames(); !errors.Is(err, element.ErrEnded) {
			t.Errorf("%s: the end is %v", text, err)
		}
		within(t, "the element's end", p.element.(element.Finite).Ended())
		p.WriteFrames(numbered(0, 2, 60))
		expectCounts(t, &p.Counters().Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 2})
		expectCounts(t, &p.Counters().Read, nil)
		p.expectLines(t, "has gone", 1)
	}
}

// A broken output ends the element, too.
func TestStdioOfABrokenOutput(t *testing.T) {
	p := startStdio(t, "stdio")
	ended := make(chan error, 1)
	go func() {
		_, err := p.ReadFrames()
		ended <- err
	}()
	p.drain.Close()
	if err := p.WriteFrames(numbered(0, 2, 60)); !errors.Is(err, element.ErrEnded) {
		t.Errorf("the writer gets %v", err)
	}
	within(t, "the element's end", p.element.(element.Finite).Ended())
	p.element.Close()
	within(t, "the reader", ended)
}

func TestStdioOfBadBytes(t *testing.T) {
	for text, bytes := range map[string]string{"a frame of 0 bytes": "\x00\x00", "inside a frame": "\x00\x40xyz"} {
		p := startStdio(t, "stdio")
		p.feed.WriteString(bytes)
		p.feed.Close()
		if _, err := p.ReadFrames(); err == nil || !strings.Contains(err.Error(), text) || errors.Is(err, element.ErrEnded) {
			t.Errorf("%q: %v", bytes, err)
		}
		expectCounts(t, &p.Counters().Read, map[ethernet.Reason]uint64{ethernet.Malformed: 1})
		p.expectLines(t, "level=ERROR", 1)
	}
}

// What is no pipe is refused, and pipes are given back as they were.
func TestStdioGivesBack(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, _, _, err := unblocked(file, file); err == nil || !strings.Contains(err.Error(), "is neither a pipe nor a socket") {
		t.Errorf("a file gives %v", err)
	}
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer feed.Close()
	in.Fd() // which has it block
	if _, _, _, err := unblocked(in, file); err == nil {
		t.Error("a file as output is taken")
	}
	if blocks := !nonblock(t, in); !blocks {
		t.Error("after a failure the input does not block any more")
	}
	newIn, newOut, restore, err := unblocked(in, feed)
	if err != nil {
		t.Fatal(err)
	}
	if !nonblock(t, in) {
		t.Error("the input still blocks")
	}
	newIn.Close()
	newOut.Close()
	restore()
	if nonblock(t, in) {
		t.Error("the input is not given back as it was")
	}
}

func nonblock(t *testing.T, f *os.File) bool {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var flags int
	raw.Control(func(fd uintptr) { flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0) })
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.O_NONBLOCK != 0
}
