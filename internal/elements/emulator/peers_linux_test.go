package emulator

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// vde_plug and the element speak through each other's standard input and output, and
// frames go on to another place in the switch.
func TestStdioToVdePlug(t *testing.T) {
	nstest.NeedPrograms(t, "vde_switch", "vde_plug")
	folder := t.TempDir()
	vdeSwitch(t, folder)
	far := start(t, folder, "vde/plug vde")
	far.expect(t, "plugged in for")
	atFar := reader(t, far)

	log := &nstest.Buffer{}
	e, err := newElement("", "stdio", log)
	if err != nil {
		t.Fatal(err)
	}
	s := e.(*Stdio)
	vdePlug := exec.Command("vde_plug", filepath.Join(folder, "vde"))
	var in, out *os.File
	if s.in, in, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	if out, s.out, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	defer s.in.Close()
	vdePlug.Stdin, vdePlug.Stdout = out, in
	if err := vdePlug.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	defer vdePlug.Wait()
	defer s.out.Close() // at which vde_plug ends
	near := &plugged{element: e, log: log}
	if near.Port, err = e.Attach(words("")); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	atNear := reader(t, near)
	// Its place in the switch is taken some time after it has started.
	probe := numbered(99, 1, 60)
	if !nstest.Eventually(10*time.Second, func() bool {
		near.WriteFrames(probe)
		select {
		case <-atFar:
			return true
		default:
			return false
		}
	}) {
		t.Fatalf("no frame comes through vde_plug; logged:\n%s", log)
	}
	for _, length := range []int{60, 61, 1514} {
		near.WriteFrames(numbered(0, 50, length))
		expectAll(t, atFar, numbered(0, 50, length), probe[0].Data)
		far.WriteFrames(numbered(0, 50, length))
		expectAll(t, atNear, numbered(0, 50, length), nil)
	}
	expectCounts(t, &near.Counters().Read, nil)
}

// socat stands between two elements whose sockets are of a kind.
func TestThroughSocat(t *testing.T) {
	nstest.NeedPrograms(t, "socat")
	for _, test := range []struct{ near, far, from, to string }{
		{"gvproxy/bess listen a", "gvproxy/bess connect b", "UNIX-CONNECT:FOLDER/a,socktype=5", "UNIX-LISTEN:FOLDER/b,socktype=5"},
		{"gvproxy/vfkit listen a", "qemu/dgram local b remote c", "UNIX-SENDTO:FOLDER/a,bind=FOLDER/d", "UNIX-SENDTO:FOLDER/b,bind=FOLDER/c"},
		{"qemu/stream listen a", "gvproxy/qemu connect b", "UNIX-CONNECT:FOLDER/a", "UNIX-LISTEN:FOLDER/b"},
	} {
		folder := t.TempDir()
		near, far := start(t, folder, test.near), start(t, folder, test.far)
		atNear, atFar := reader(t, near), reader(t, far)
		socat := nstest.Start(t, "socat", "-b", "65536", strings.ReplaceAll(test.from, "FOLDER", folder), strings.ReplaceAll(test.to, "FOLDER", folder))
		probe := numbered(99, 1, 60)
		for _, way := range []struct {
			from *plugged
			came <-chan []byte
		}{{far, atNear}, {near, atFar}} {
			if !nstest.Eventually(10*time.Second, func() bool {
				way.from.WriteFrames(probe)
				select {
				case <-way.came:
					return true
				default:
					return false
				}
			}) {
				t.Fatalf("%s: no frame comes through socat, which says:\n%s\nlogged:\n%s\n%s", test.near, socat.Output(), near.log, far.log)
			}
			for _, length := range []int{14, 60, 1514} {
				way.from.WriteFrames(numbered(0, 8, length))
				expectAll(t, way.came, numbered(0, 8, length), probe[0].Data)
			}
		}
		for _, p := range []*plugged{near, far} {
			expectCounts(t, &p.Counters().Read, nil)
		}
		// Frames for a socat that is away are counted.
		socat.Stop()
		before := near.Counters().Write.Count(ethernet.Disconnected)
		if !nstest.Eventually(10*time.Second, func() bool {
			near.WriteFrames(probe)
			return near.Counters().Write.Count(ethernet.Disconnected) > before
		}) {
			t.Errorf("%s: frames for a socat that is away are not counted", test.near)
		}
	}
}
