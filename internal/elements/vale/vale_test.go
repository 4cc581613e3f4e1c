//go:build unix

package vale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
	"tmelink/internal/tmesh"
)

// asProcess has the test program be another process on a switch, which sends a
// frame every 20 ms.
const asProcess = "TMELINK_TEST_VALE"

func TestMain(m *testing.M) {
	if os.Getenv(asProcess) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	v, err := build("switch lab", &nstest.Buffer{})
	if err == nil {
		err = v.Start(context.Background())
	}
	for err == nil {
		err = v.port.WriteFrames([]ethernet.Frame{{Data: frame(99, 60)}})
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func build(text string, log *nstest.Buffer) (*Vale, error) {
	args := element.Args{Pos: tmesh.Pos{File: "test", Line: 1, Column: 99}}
	for i, w := range strings.Fields(text) {
		args.Words = append(args.Words, tmesh.Word{Text: w, Pos: tmesh.Pos{File: "test", Line: 1, Column: i + 1}})
	}
	e, err := newVale(element.Env{Machine: "m", Name: "vale0", Log: slog.New(slog.NewTextHandler(log, nil))}, args)
	if err != nil {
		return nil, err
	}
	return e.(*Vale), nil
}

// running is a started element whose port is read.
type running struct {
	*Vale
	log  *nstest.Buffer
	came chan []byte
	stop func()
}

func start(t *testing.T, r *registry, text string) *running {
	t.Helper()
	x := &running{log: &nstest.Buffer{}, came: make(chan []byte, 10000)}
	var err error
	if x.Vale, err = build(text, x.log); err != nil {
		t.Fatal(err)
	}
	if err := x.Vale.start(r); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			frames, err := x.port.ReadFrames()
			if err != nil {
				ended <- err
				return
			}
			for _, f := range frames {
				x.came <- bytes.Clone(f.Data)
			}
		}
	}()
	stopped := false
	x.stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := x.Vale.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != net.ErrClosed {
			t.Errorf("the reader ends with %v", err)
		}
	}
	t.Cleanup(func() {
		x.stop()
		if t.Failed() {
			t.Logf("%s logged:\n%s", text, x.log)
		}
	})
	return x
}

// frame makes a broadcast frame of a station.
func frame(from byte, length int) []byte {
	b := make([]byte, length)
	copy(b, []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, from, 0x88, 0xb5})
	return b
}

func (x *running) send(t *testing.T, data []byte) {
	t.Helper()
	if err := x.port.WriteFrames([]ethernet.Frame{{Data: bytes.Clone(data)}}); err != nil {
		t.Fatal(err)
	}
}

func (x *running) expect(t *testing.T, want []byte) {
	t.Helper()
	select {
	case got := <-x.came:
		if !bytes.Equal(got, want) {
			t.Fatalf("% x came, want % x", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
}

func (x *running) expectStatus(t *testing.T, want string) {
	t.Helper()
	if !nstest.Eventually(20*time.Second, func() bool { return strings.Contains(x.Status(), want) }) {
		t.Fatalf("the status is %q, want %q in it", x.Status(), want)
	}
}

func TestWords(t *testing.T) {
	for _, test := range []struct{ text, fault string }{
		{"", ""},
		{"switch lab port P0", ""},
		{"switch", "switch wants NAME"},
		{"switch a/b", "test:1:2: switch: \"a/b\" cannot be the name of a switch"},
		{"switch " + strings.Repeat("x", 33), "1 to 32 letters"},
		{"swich x", "did you mean switch?"},
	} {
		_, err := build(test.text, &nstest.Buffer{})
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%q: %v, want %q", test.text, err, test.fault)
		}
	}
}

func TestWithinAProcess(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	var r registry
	a, b, c := start(t, &r, "switch lab port p0"), start(t, &r, "switch lab"), start(t, &r, "switch other port p0")
	big := frame(1, 9000)
	a.send(t, big)
	b.expect(t, big)
	b.send(t, frame(2, 14))
	a.expect(t, frame(2, 14))
	d, _ := build("switch lab port p0", &nstest.Buffer{})
	if err := d.start(&r); err == nil || !strings.Contains(err.Error(), "join switch lab: another element has its port p0 already") {
		t.Errorf("two ports of a name: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if got := a.Status(); !strings.HasPrefix(got, "switch lab port p0, 2 ports, 2 stations, ") {
		t.Error(got)
	}
	a.stop()
	start(t, &r, "switch lab port p0").send(t, frame(3, 60))
	b.expect(t, frame(3, 60))
	if len(c.came) > 0 {
		t.Error("another switch hears")
	}
	if got := a.Status(); got != "closed" {
		t.Error(got)
	}
}

// An element that was not started ends, and takes nothing.
func TestNeverStarted(t *testing.T) {
	v, err := build("", &nstest.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.port.WriteFrames([]ethernet.Frame{{Data: frame(1, 60)}}); err != net.ErrClosed {
		t.Error(err)
	}
	if v.Status() != "not open" || v.port.Counters().Read.Total() != 0 {
		t.Error(v.Status())
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

// Each registry stands for a process. The one that listens goes, and another takes
// its place.
func TestBetweenProcesses(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", folder)
	var all []*running
	for range 4 {
		x := start(t, &registry{}, "switch lab")
		if len(all) == 0 {
			x.expectStatus(t, "open to other processes")
		} else {
			x.expectStatus(t, "joined to that of another process")
		}
		all = append(all, x)
	}
	for len(all) > 1 {
		all[0].expectStatus(t, fmt.Sprintf("%d others", len(all)-1))
		for i, from := range all {
			f := frame(byte(i), 1514+i)
			from.send(t, f)
			for k, to := range all {
				if k != i {
					to.expect(t, f)
				}
			}
		}
		for _, x := range all {
			if len(x.came) > 0 {
				t.Error("a frame came twice, or back")
			}
		}
		all[0].stop()
		all = all[1:]
		want := "open to other processes"
		if len(all) > 1 {
			want += fmt.Sprintf(", %d others", len(all)-1)
		}
		next := -1 // who listens now, with all others behind it
		if !nstest.Eventually(20*time.Second, func() bool {
			next = slices.IndexFunc(all, func(x *running) bool { return strings.HasSuffix(x.Status(), want) })
			return next >= 0
		}) {
			t.Fatal("nobody takes the place of who has gone")
		}
		all[0], all[next] = all[next], all[0]
	}
	all[0].stop()
	if entries, _ := os.ReadDir(filepath.Join(folder, "tmelink")); len(entries) != 1 || entries[0].Name() != "lab.lock" {
		t.Errorf("there are %v", entries)
	}
}

// A process that is killed is replaced.
func TestProcessIsKilled(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", folder)
	other := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asProcess+"=1")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	first := other()
	defer first.Process.Kill()
	if !nstest.Eventually(20*time.Second, func() bool {
		c, err := net.Dial("unix", filepath.Join(folder, "tmelink", "lab.sock"))
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		t.Fatal("the other process does not listen")
	}
	x := start(t, &registry{}, "switch lab")
	x.expectStatus(t, "joined to that of another process")
	x.expect(t, frame(99, 60))
	first.Process.Kill()
	first.Wait()
	x.expectStatus(t, "open to other processes")
	second := other()
	defer second.Wait()
	defer second.Process.Kill()
	x.expectStatus(t, "1 others")
	for len(x.came) > 0 {
		<-x.came
	}
	x.expect(t, frame(99, 60))
}

func TestBadClients(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", folder)
	x := start(t, &registry{}, "switch lab")
	x.expectStatus(t, "open to other processes")
	var silent []net.Conn
	dial := func() net.Conn {
		c, err := net.Dial("unix", filepath.Join(folder, "tmelink", "lab.sock"))
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
		return c
	}
	defer func() {
		for _, c := range silent {
			c.Close()
		}
	}()
	for range 5 {
		c := dial()
		c.Write(bytes.Repeat([]byte{0xff}, 100))
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("junk: %v", err)
		}
	}
	for range 100 { // who read and say nothing, and do not even read
		dial()
	}
	x.expectStatus(t, "64 others")
	y := start(t, x.shared.Load().registry, "switch lab")
	for i := range 1200 {
		f := frame(1, 1514)
		f[20] = byte(i)
		x.send(t, f)
		y.expect(t, f)
	}
	if n := strings.Count(x.log.String(), "another process cannot join"); n != 1 {
		t.Errorf("it is told %d times of who cannot join", n)
	}
	if n := strings.Count(x.log.String(), "is lost"); n != 3 {
		t.Errorf("it is told %d times of junk", n)
	}
}

// Where there is no folder to meet in, the process has its switch alone.
func TestFolders(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", folder)
	for name, test := range map[string]struct {
		make func(path string) error
		want string
	}{
		"open":    {func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o755)) }, "chmod 700"},
		"a file":  {func(path string) error { return os.WriteFile(path, nil, 0o600) }, "is no folder"},
		"a link":  {func(path string) error { return os.Symlink(folder, path) }, "is no folder"},
		"nowhere": {func(string) error { return os.Setenv("XDG_RUNTIME_DIR", "/nowhere/at/all") }, "no such file"},
	} {
		path := filepath.Join(folder, "tmelink")
		os.RemoveAll(path)
		if err := test.make(path); err != nil {
			t.Fatal(err)
		}
		var r registry
		a, b := start(t, &r, "switch lab"), start(t, &r, "switch lab")
		a.send(t, frame(1, 60))
		b.expect(t, frame(1, 60))
		if !strings.Contains(a.log.String(), test.want) || !strings.Contains(a.Status(), "of this process alone") {
			t.Errorf("%s: status %q, log:\n%s", name, a.Status(), a.log)
		}
		os.Setenv("XDG_RUNTIME_DIR", folder)
	}
}
