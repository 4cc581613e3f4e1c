package emulator

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// freePort is an address of this host where nobody listens.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// connections are the types that have one connection after the other, each with
// the words for a listening end, a connecting one, and how an emulator dials.
func connections(t testing.TB) map[string]struct{ listen, connect, network, at string } {
	t.Helper()
	port := freePort(t)
	all := map[string]struct{ listen, connect, network, at string }{
		"tcp": {"qemu/stream listen tcp:" + port, "qemu/stream connect tcp:" + port, "tcp", port},
	}
	if runtime.GOOS == "linux" {
		all["bess"] = struct{ listen, connect, network, at string }{"gvproxy/bess listen s", "gvproxy/bess connect s", "unixpacket", "s"}
	}
	return all
}

func TestConnectionsBetweenElements(t *testing.T) {
	for name, kind := range connections(t) {
		folder := t.TempDir()
		late := start(t, folder, kind.connect)
		late.expectLines(t, "the emulator's socket is not there yet", 1)
		late.WriteFrames(numbered(0, 5, 60))
		expectCounts(t, &late.Counters().Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 5})
		back := reader(t, late)
		for i := range 2 { // the listening end comes, goes, and comes again
			first := start(t, folder, kind.listen)
			first.expect(t, "connected for")
			late.expect(t, "connected for")
			for _, length := range []int{14, 60, 1514, 1522} {
				done := make(chan error, 1)
				go func() { done <- late.WriteFrames(numbered(0, 300, length)) }()
				collect(t, first, 0, 300, length)
				if err := within(t, "the writer", done); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				first.WriteFrames(numbered(0, 40, length))
				expectAll(t, back, numbered(0, 40, length), nil)
			}
			first.element.Close()
			late.expect(t, "no emulator")
			late.expectLines(t, "emulator has gone", i+1)
		}
	}
}

// An emulator comes, goes, and comes again; another one is turned away while it is
// there, which is told once.
func TestConnectionsComeAndGo(t *testing.T) {
	for name, kind := range connections(t) {
		folder := t.TempDir()
		p := start(t, folder, kind.listen)
		came := reader(t, p)
		at := kind.at
		if kind.network != "tcp" {
			at = filepath.Join(folder, at)
		}
		for i := range 3 {
			emulator, err := net.Dial(kind.network, at)
			if err != nil {
				t.Fatal(err)
			}
			defer emulator.Close()
			p.expect(t, "connected for")
			send := func(f ethernet.Frame) {
				if kind.network == "tcp" {
					emulator.Write(wire(f))
				} else {
					emulator.Write(f.Data)
				}
			}
			send(numbered(i, 1, 60)[0])
			if got := within(t, "a frame", came); string(got) != string(numbered(i, 1, 60)[0].Data) {
				t.Fatalf("%s: got % x", name, got)
			}
			for range 3 {
				second, err := net.Dial(kind.network, at)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := second.Read(make([]byte, 1)); n > 0 || err == nil && kind.network == "tcp" {
					t.Errorf("%s: a second emulator gets %d bytes, %v", name, n, err)
				}
				second.Close()
			}
			emulator.Close()
			p.expect(t, "no emulator")
			p.WriteFrames(numbered(0, 3, 60))
		}
		expectCounts(t, &p.Counters().Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 9})
		expectCounts(t, &p.Counters().Read, nil)
		p.expectLines(t, "emulator has gone", 3)
		p.expectLines(t, "turned a second emulator away", 3)
		p.expectLines(t, "level=ERROR", 0)
	}
}

// What is no stream of frames ends a TCP connection, and the next one is taken.
func TestTCPFaultsOfTheEmulator(t *testing.T) {
	for text, bytes := range map[string]string{
		"a frame of 0 bytes":          "\x00\x00\x00\x00",
		"a frame of 4294967295 bytes": "\xff\xff\xff\xff",
		"inside a frame":              string(wire(numbered(0, 1, 60)...)[:30]),
	} {
		at := freePort(t)
		p := start(t, "", "qemu/stream listen tcp:"+at)
		came := reader(t, p)
		bad, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		bad.Write(append(wire(numbered(1, 1, 60)...), bytes...))
		within(t, "the frame before it", came)
		bad.Close()
		p.expectLines(t, "level=ERROR", 1)
		p.expectLines(t, text, 1)
		expectCounts(t, &p.Counters().Read, map[ethernet.Reason]uint64{ethernet.Malformed: 1})
		good, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		good.Write(wire(numbered(2, 1, 60)...))
		within(t, "a frame of the next emulator", came)
		good.Close()
	}
}

func TestVfkitBetweenElements(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: Windows has no Unix datagrams")
	}
	folder := t.TempDir()
	p := start(t, folder, "gvproxy/vfkit listen s")
	p.expect(t, "no emulator")
	p.WriteFrames(numbered(0, 3, 60))
	expectCounts(t, &p.Counters().Write, map[ethernet.Reason]uint64{ethernet.NoPeer: 3})
	came := reader(t, p)
	t.Chdir(folder)
	for i, in := range []string{folder, ""} { // the second takes the place of the first when that is gone
		vfkit := start(t, in, "gvproxy/vfkit connect s")
		back := reader(t, vfkit)
		if !nstest.Eventually(10*time.Second, func() bool {
			vfkit.WriteFrames(numbered(i, 1, 60))
			select {
			case got := <-came:
				return string(got) == string(numbered(i, 1, 60)[0].Data)
			default:
				return false
			}
		}) {
			t.Fatalf("number %d is not heard; logged:\n%s", i, p.log)
		}
		p.expect(t, "emulator "+filepath.Join(folder, ownPrefix+strconv.Itoa(os.Getpid())))
		p.WriteFrames(numbered(7, 10, 1514))
		expectAll(t, back, numbered(7, 10, 1514), nil)
		vfkit.element.Close()
	}
	p.element.Close()
	if files, _ := filepath.Glob(filepath.Join(folder, "*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	if files, _ := filepath.Glob(filepath.Join(folder, ".*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}

// A socket in a folder where everybody could put another in its place is refused.
func TestOpenFolder(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: the rights of Windows are not looked at")
	}
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	types := []string{"qemu/stream listen s", "qemu/dgram local s remote r", "gvproxy/vfkit listen s"}
	if runtime.GOOS == "linux" {
		types = append(types, "gvproxy/bess listen s")
	}
	for _, text := range types {
		e, err := newElement(folder, text, &nstest.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "choose another folder") {
			t.Errorf("%s: %v", text, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
