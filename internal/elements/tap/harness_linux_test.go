package tap

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// running is an element that has started.
type running struct {
	*tap
	log    *nstest.Buffer
	closed bool
}

// start builds and starts an element, and closes it when the test ends.
func start(t testing.TB, path, text string) *running {
	t.Helper()
	r, err := tryStart(t, path, text)
	if err != nil {
		t.Fatalf("start %s %s: %v", path, text, err)
	}
	return r
}

// tryStart is start for an element that may fail to; it is closed all the same.
func tryStart(t testing.TB, path, text string) (*running, error) {
	t.Helper()
	return tryStartIn(context.Background(), t, path, text)
}

func tryStartIn(ctx context.Context, t testing.TB, path, text string) (*running, error) {
	t.Helper()
	log := &nstest.Buffer{}
	env := element.Env{Machine: "m", Name: "tap1", Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(log, nil))}
	e, err := build(t, path, text, env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Attach(element.Args{}); err != nil {
		t.Fatal(err)
	}
	r := &running{tap: e, log: log}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s %s logged:\n%s", path, text, log)
		}
	})
	t.Cleanup(func() { r.stopNow(t) })
	return r, e.Start(ctx)
}

func (r *running) stopNow(t testing.TB) {
	t.Helper()
	if r.closed {
		return
	}
	r.closed = true
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// name is the interface's.
func (r *running) name() string { return r.device.tap.Name }

// leakless fails the test if it leaves a goroutine behind. It must be called
// before anything is started.
func leakless(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// hostState is all of the host that an element may touch, as text.
func hostState(t testing.TB) string {
	t.Helper()
	state := []string{run(t, "ip", "-d", "link"), run(t, "ip", "addr"), run(t, "ip", "route", "show", "table", "all"),
		run(t, "ip", "-6", "route", "show", "table", "all"), run(t, "nft", "list", "ruleset")}
	for _, dir := range []string{"/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"} {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				if value, err := os.ReadFile(path); err == nil {
					state = append(state, path+" "+string(value))
				}
			}
			return nil
		})
	}
	return strings.Join(state, "\n")
}

// unchanged fails the test if the host is not at its end what it is now. It
// must be called before anything is started.
func unchanged(t testing.TB) {
	t.Helper()
	before := hostState(t)
	t.Cleanup(func() {
		t.Helper()
		if after := hostState(t); after != before {
			t.Errorf("the host is not as it was:\n%s", diff(before, after))
		}
	})
}

// diff gives the lines that only one of two texts has.
func diff(a, b string) string {
	var out []string
	for _, side := range []struct{ mark, one, other string }{{"-", a, b}, {"+", b, a}} {
		have := map[string]bool{}
		for _, l := range strings.Split(side.other, "\n") {
			have[l] = true
		}
		for _, l := range strings.Split(side.one, "\n") {
			if !have[l] {
				out = append(out, side.mark+l)
			}
		}
	}
	return strings.Join(out, "\n")
}

// pump carries frames from one port to another until the first is closed, and
// calls seen with a copy of each.
func pump(t testing.TB, from, to ethernet.Port, seen func([]byte)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			frames, err := from.ReadFrames()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("read: %v", err)
				}
				return
			}
			for _, f := range frames {
				if seen != nil {
					seen(bytes.Clone(f.Data))
				}
			}
			if to == nil {
				continue
			}
			if err := to.WriteFrames(frames); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("write: %v", err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		from.Close()
		<-done
	})
}

// join carries frames between two ports in both directions.
func join(t testing.TB, a, b ethernet.Port) {
	pump(t, a, b, nil)
	pump(t, b, a, nil)
}

// eventually fails the test if something does not come true within 10 s.
func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	if !nstest.Eventually(10*time.Second, ask) {
		t.Fatalf("it did not come to be that %s", what)
	}
}
