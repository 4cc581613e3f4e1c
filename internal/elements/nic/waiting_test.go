//go:build unix

package nic

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// private sets up a user's own runtime folder, and gives its path.
func private(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", folder)
	return folder
}

// startWaiting starts an interface of which nothing is said, connected to something.
func startWaiting(t *testing.T, machine, name string) (e element.Element, p ethernet.Port, log *nstest.Buffer) {
	t.Helper()
	log = &nstest.Buffer{}
	typ, _ := element.Lookup("tme/bus/multibus/3c400")
	e, err := typ.New(element.Env{Machine: machine, Name: name, Log: slog.New(slog.NewTextHandler(log, nil))}, words("ether 2:0:0:0:0:1"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err = e.Attach(element.Args{}); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, p, log
}

// An interface of which nothing is said is an emulator's that finds its socket.
func TestWaitsForAnEmulator(t *testing.T) {
	folder := private(t)
	e, p, log := startWaiting(t, "a", "ec0")
	path := filepath.Join(folder, "tmelink", "a", "ec0.sock")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if want := "-netdev stream,id=n0,server=off,addr.type=unix,addr.path=" + path; !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %q:\n%s", want, log)
	}
	if got := e.(element.Reporter).Status(); got != "listening on "+path+", no emulator" {
		t.Errorf("status %q", got)
	}
	if !p.(ethernet.Station).Filter().Wants(make([]byte, 60)) {
		t.Error("what is for others than the built-in host is filtered out")
	}
	p.WriteFrames([]ethernet.Frame{{Data: make([]byte, 60)}})
	if n := p.Counters().Write.Count(ethernet.Disconnected); n != 1 {
		t.Errorf("%d frames for nobody are counted", n)
	}
	qemu, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer qemu.Close()
	qemu.Write(append([]byte{0, 0, 0, 60}, make([]byte, 60)...))
	stop := time.AfterFunc(time.Minute, func() { p.Close() })
	defer stop.Stop()
	frames, err := p.ReadFrames()
	if err != nil || len(frames) != 1 || len(frames[0].Data) != 60 {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	if err := p.WriteFrames([]ethernet.Frame{{Data: make([]byte, 61)}}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 65)
	if _, err := io.ReadFull(qemu, got); err != nil || got[3] != 61 {
		t.Errorf("the emulator gets % x, %v", got, err)
	}

	// Another machine of that name goes on without.
	_, q, said := startWaiting(t, "a", "ec0")
	if !strings.Contains(said.String(), "another program has its socket there") {
		t.Errorf("the log says:\n%s", said)
	}
	if err := q.WriteFrames([]ethernet.Frame{{Data: make([]byte, 60)}}); err != nil {
		t.Error(err)
	}

	e.Close()
	if _, err := os.Stat(filepath.Join(folder, "tmelink")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// An interface that is connected to nothing, or that a link sets up, makes no socket.
func TestDoesNotWait(t *testing.T) {
	folder := private(t)
	build(t, "tme/ic/am7990", "le0", "").Start(context.Background())
	guided := build(t, "tme/ic/am7990", "le1", "")
	if _, err := guided.Attach(element.Args{}); err != nil {
		t.Fatal(err)
	}
	guided.port.SetNetwork(nil)
	if err := guided.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(folder); len(files) > 0 {
		t.Errorf("there is %v", files)
	}
}

// Only a folder that is the user's alone is taken, and the machine goes on without.
func TestWaitsInPrivateOnly(t *testing.T) {
	for what, prepare := range map[string]func(folder string) error{
		"is not this user's alone": func(folder string) error { return os.Chmod(folder, 0o777|fs.ModeSticky) },
		"is no folder":             func(folder string) error { return os.Symlink(t.TempDir(), filepath.Join(folder, "tmelink")) },
		"alone (drwxrwxr-x)": func(folder string) error {
			os.Mkdir(filepath.Join(folder, "tmelink"), 0o700)
			return os.Chmod(filepath.Join(folder, "tmelink"), 0o775)
		},
		"choose a shorter one": func(folder string) error {
			long := filepath.Join(folder, strings.Repeat("x", 100))
			t.Setenv("XDG_RUNTIME_DIR", long)
			return os.Mkdir(long, 0o700)
		},
	} {
		folder := private(t)
		if err := prepare(folder); err != nil {
			t.Fatal(err)
		}
		e, p, log := startWaiting(t, "a", "ec0")
		if !strings.Contains(log.String(), what) {
			t.Errorf("%s: the log says:\n%s", what, log)
		}
		if got := e.(element.Reporter).Status(); got != "nothing is plugged in" {
			t.Errorf("%s: status %q", what, got)
		}
		if err := p.WriteFrames([]ethernet.Frame{{Data: make([]byte, 60)}}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, machine := range []string{"..", "."} {
		private(t)
		if _, _, log := startWaiting(t, machine, "ec0"); !strings.Contains(log.String(), "cannot be a folder's name") {
			t.Errorf("machine %q: the log says:\n%s", machine, log)
		}
	}
}

// Without a runtime folder it is the one for temporary files, and no name leads out
// of it.
func TestSocketPath(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", "/var/tmp")
	if got := Sockets(); !strings.HasPrefix(got, "/var/tmp/tmelink-") {
		t.Errorf("%s", got)
	}
	got, err := socketPath("../x/y", "a/b")
	if err != nil || filepath.Dir(filepath.Dir(got)) != Sockets() {
		t.Errorf("%s, %v", got, err)
	}
}
