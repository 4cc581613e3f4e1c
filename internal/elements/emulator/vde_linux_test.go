package emulator

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// vdeSwitch runs a vde_switch, whose folder is vde. It ends when there is nothing to be
// read from its standard input: a pipe that is open both ways is silent.
func vdeSwitch(t *testing.T, folder string, before ...string) *nstest.Process {
	t.Helper()
	pipe := filepath.Join(folder, "pipe")
	if err := unix.Mkfifo(pipe, 0o666); err != nil && err != unix.EEXIST {
		t.Fatal(err)
	}
	os.Chmod(pipe, 0o666)
	args := append(before, "vde_switch", "-s", filepath.Join(folder, "vde"))
	return nstest.Start(t, "sh", append([]string{"-c", `pipe=$1; shift; exec "$@" <>"$pipe"`, "sh", pipe}, args...)...)
}

// through sends frames of several lengths from one element to another, each time
// fewer than the switch's buffer for the other holds, about 90: Debian's drops
// what does not fit.
func through(t *testing.T, from *plugged, came <-chan []byte) {
	t.Helper()
	for _, length := range []int{14, 59, 60, 61, 1514, 1518} {
		if err := from.WriteFrames(numbered(0, 60, length)); err != nil {
			t.Fatal(err)
		}
		expectAll(t, came, numbered(0, 60, length), nil)
	}
}

func TestPlugsOfASwitch(t *testing.T) {
	nstest.NeedPrograms(t, "vde_switch", "vde_plug")
	folder := t.TempDir()
	// What a killed process has left.
	left := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(folder, "vde", ".tmelink-1-1")}
	os.Mkdir(filepath.Join(folder, "vde"), 0o700)
	c, err := net.ListenUnixgram("unixgram", left)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()

	a := start(t, folder, "vde/plug vde port 3")
	b := start(t, folder, "vde/plug vde mtu 1500")
	a.expectLines(t, "no switch at", 1)
	a.WriteFrames(numbered(0, 3, 60))
	expectCounts(t, &a.Counters().Write, map[ethernet.Reason]uint64{ethernet.Disconnected: 3})
	atA, atB := reader(t, a), reader(t, b)
	for range 2 {
		s := vdeSwitch(t, folder)
		a.expect(t, "/003.")
		b.expect(t, "plugged in for")
		through(t, a, atB)
		through(t, b, atA)
		s.Stop()
		a.expect(t, "not plugged in")
		b.expect(t, "not plugged in")
	}
	a.expectLines(t, "switch has gone", 2)
	for _, p := range []*plugged{a, b} {
		expectCounts(t, &p.Counters().Read, nil)
		p.element.Close()
	}
	files, _ := filepath.Glob(filepath.Join(folder, "vde", ".*"))
	if len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}

// vde_plug speaks frames over its standard input and output, with 16 bits of
// length before each.
func TestPlugReachesVdePlug(t *testing.T) {
	nstest.NeedPrograms(t, "vde_switch", "vde_plug")
	folder := t.TempDir()
	vdeSwitch(t, folder)
	p := start(t, folder, "vde/plug vde")
	p.expect(t, "plugged in for")
	came := reader(t, p)
	other := exec.Command("vde_plug", filepath.Join(folder, "vde"))
	in, _ := other.StdinPipe()
	out, _ := other.StdoutPipe()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		other.Wait()
	}()
	to := numbered(5, 1, 100)[0].Data
	in.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(to))), to...))
	if got := within(t, "a frame of vde_plug", came); filledUp(got) != filledUp(to) {
		t.Fatalf("it came as % x", got)
	}
	answer := make(chan []byte, 1)
	go func() {
		b := make([]byte, 2+70)
		for n := 0; n < len(b); {
			k, err := out.Read(b[n:])
			if err != nil {
				break
			}
			n += k
		}
		answer <- b
	}()
	back := numbered(6, 1, 70)[0].Data
	p.WriteFrames(numbered(6, 1, 70))
	if got := within(t, "a frame for vde_plug", answer); binary.BigEndian.Uint16(got) != 70 || string(got[2:]) != string(back) {
		t.Fatalf("it came as % x", got)
	}
}

// A switch of another user may use the plug's socket, and nobody else may.
func TestPlugOfAnotherUsersSwitch(t *testing.T) {
	nstest.NeedPrograms(t, "vde_switch", "setpriv")
	if os.Geteuid() != 0 {
		t.Skip("skipped: a switch of another user needs root")
	}
	folder, err := os.MkdirTemp("", "vde")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	os.Chown(folder, 65534, 65534)
	vdeSwitch(t, folder, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
	a, b := start(t, folder, "vde/plug vde"), start(t, folder, "vde/plug vde group 65534")
	a.expect(t, "plugged in for")
	b.expect(t, "plugged in for")
	through(t, a, reader(t, b))
	files, _ := filepath.Glob(filepath.Join(folder, "vde", ".tmelink-*"))
	if len(files) != 2 {
		t.Fatalf("the sockets are %v", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s: mode %v, %v", f, info.Mode(), err)
		}
	}
}

// What a switch may answer, or not.
func TestPlugOfABadSwitch(t *testing.T) {
	address := func(path string) []byte {
		b := make([]byte, sockaddrLen)
		binary.NativeEndian.PutUint16(b, familyUnix)
		copy(b[2:], path)
		return b
	}
	for name, test := range map[string]struct {
		answer []byte
		hangUp bool
		want   string
	}{
		"silent":          {nil, false, "does not answer within"},
		"refuses":         {nil, true, "it refuses"},
		"breaks off":      {make([]byte, 50), true, "unexpected EOF"},
		"answers nothing": {make([]byte, sockaddrLen), false, "no address of a Unix socket"},
		"has no path":     {address(""), false, "holds no path"},
		"has no socket":   {address("/nowhere/at/all"), false, "no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			os.Mkdir(filepath.Join(folder, "vde"), 0o700)
			l, err := net.Listen("unix", filepath.Join(folder, "vde", "ctl"))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					c.Read(make([]byte, 300))
					c.Write(test.answer)
					if test.hangUp {
						c.Close()
					} else {
						defer c.Close()
					}
				}
			}()
			p := start(t, folder, "vde/plug vde")
			p.expectLines(t, test.want, 1)
			time.Sleep(100 * time.Millisecond) // and no line for each of the next attempts
			p.expectLines(t, test.want, 1)
			if err := p.element.Close(); err != nil {
				t.Error(err)
			}
			if files, _ := filepath.Glob(filepath.Join(folder, "vde", ".tmelink-*")); len(files) > 0 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
}

func TestPlugStartFails(t *testing.T) {
	e, err := newElement(t.TempDir(), "vde/plug vde group no-such-group", &nstest.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no such group") {
		t.Errorf("got %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// A switch that does not read holds up the writer no longer than until Close,
// and its description names the machine and the element.
func TestPlugOfASwitchThatDoesNotRead(t *testing.T) {
	folder := t.TempDir()
	os.Mkdir(filepath.Join(folder, "vde"), 0o700)
	l, err := net.Listen("unix", filepath.Join(folder, "vde", "ctl"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mine := filepath.Join(folder, "vde", "001.5")
	data, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: mine})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	asked := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
		b := make([]byte, 300)
		n, _ := c.Read(b)
		asked <- string(b[122:n])
		answer := make([]byte, sockaddrLen)
		binary.NativeEndian.PutUint16(answer, familyUnix)
		copy(answer[2:], mine)
		c.Write(answer)
	}()
	p := start(t, folder, "vde/plug vde")
	if got := within(t, "the request", asked); got != "tmelink m/e0" {
		t.Errorf("the description is %q", got)
	}
	p.expect(t, "plugged in for")
	done := make(chan error, 1)
	go func() { done <- p.WriteFrames(numbered(0, 1000, 1000)) }()
	select {
	case err := <-done:
		t.Fatalf("nothing waits: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	p.element.Close()
	if err := within(t, "the writer", done); err != net.ErrClosed {
		t.Errorf("woken with %v", err)
	}
}
