package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
	"tmelink/internal/tmesh"
)

func init() {
	element.Register(element.Type{Path: "tme/test/actor", Summary: "does as it is told", New: newActor})
}

// actor has no frames; its arguments say what Start and Wait do.
type actor struct {
	name   string
	claim  []element.Claim
	fail   bool
	wait   string // "", or the gate that it waits for
	opens  string // "", or the gate that its Start opens
	after  string // "", or the gate that its Start waits for
	closed *bool
}

var (
	mu     sync.Mutex
	gates  = map[string]chan struct{}{}
	actors = map[string]*actor{} // by element name, the newest
)

func gate(name string) chan struct{} {
	mu.Lock()
	defer mu.Unlock()
	if gates[name] == nil {
		gates[name] = make(chan struct{})
	}
	return gates[name]
}

// forget lets a gate be used by the next run of a test.
func forget(name string) {
	mu.Lock()
	defer mu.Unlock()
	delete(gates, name)
}

func newActor(env element.Env, args element.Args) (element.Element, error) {
	a := &actor{name: env.Name, closed: new(bool)}
	mu.Lock()
	actors[env.Name] = a
	mu.Unlock()
	return a, args.Parse([]element.Option{
		{Name: "fail", Set: func(element.Values) error { a.fail = true; return nil }},
		{Name: "wait", Values: "GATE", Set: func(v element.Values) error { a.wait = v.Text(0); return nil }},
		{Name: "opens", Values: "GATE", Set: func(v element.Values) error { a.opens = v.Text(0); return nil }},
		{Name: "after", Values: "GATE", Set: func(v element.Values) error { a.after = v.Text(0); return nil }},
		{Name: "port", Values: "N", Set: func(v element.Values) error {
			n, err := v.Port(0)
			a.claim = append(a.claim, element.Claim{Pos: v.Words[0].Pos, Proto: "udp", Local: "10.0.0.1", Port: n})
			return err
		}},
	})
}

func (a *actor) Attach(element.Args) (ethernet.Port, error) { return nil, errors.New("takes none") }
func (a *actor) Claims() []element.Claim                    { return a.claim }
func (a *actor) WaitingFor() string                         { return a.wait }
func (a *actor) Close() error                               { *a.closed = true; return nil }

func (a *actor) Start(context.Context) error {
	if a.opens != "" {
		close(gate(a.opens))
	}
	if a.after != "" {
		<-gate(a.after)
	}
	if a.fail {
		return errors.New("open nothing: as asked")
	}
	return nil
}

func (a *actor) Wait(ctx context.Context) error {
	if a.wait == "" {
		return nil
	}
	select {
	case <-gate(a.wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *actor) Prepare(args element.Args) (element.Command, error) {
	return func(ctx context.Context, out io.Writer) error {
		for _, w := range args.Words {
			switch w.Text {
			case "fail":
				return errors.New("as asked")
			case "hang":
				<-ctx.Done()
				return ctx.Err()
			}
			fmt.Fprintf(out, "%s ", w.Text)
		}
		fmt.Fprintln(out)
		return nil
	}, nil
}

func load(files map[string]string) (*Lab, tmesh.Faults) {
	l, _, faults := Load(slices.Sorted(keys(files)), func(name string) ([]byte, error) {
		return []byte(files[name]), nil
	}, slog.New(slog.DiscardHandler), slog.LevelInfo)
	return l, faults
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

type output struct{ nstest.Buffer }

// expect waits until an output contains a text.
func (o *output) expect(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(o.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q did not come in:\n%s", text, o)
		}
	}
}

func TestMachineNames(t *testing.T) {
	for _, test := range []struct{ files, want []string }{
		{[]string{"a.tme", "dir/b.tme"}, []string{"a", "b"}},
		{[]string{"x/net.tme", "y/net.tme", "z.tme"}, []string{"x/net", "y/net", "z"}},
		{[]string{"SUN4-75"}, []string{"SUN4-75"}},
		{[]string{"-"}, []string{"stdin"}},
		{[]string{"a.tme", "a.txt", "b.tme"}, []string{"a.tme", "a.txt", "b"}},
		{[]string{"-", "stdin.tme"}, []string{"stdin", "stdin.tme"}},
		{[]string{".tme"}, []string{".tme"}},
		{[]string{"x/a.tme", "./x//a.tme"}, []string{"x/a.tme", "x/a.tme"}}, // one file
	} {
		if got := machineNames(test.files); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.files, got, test.want)
		}
	}
}

func TestCollisions(t *testing.T) {
	_, faults := load(map[string]string{
		"a.tme": "x: tme/test/actor port 1194\ny: tme/test/actor port 1195\n",
		"b.tme": "z: tme/test/actor port 1194\n",
	})
	want := "b.tme:1:24: z and x of machine a (a.tme:1:24) both use udp 10.0.0.1 port 1194: give one of them another port"
	if faults.Error() != want {
		t.Errorf("faults:\n%v\nwant:\n%s", faults, want)
	}
}

func TestOneFileTwice(t *testing.T) {
	_, _, faults := Load([]string{"a.tme", "./a.tme"}, func(string) ([]byte, error) { return nil, nil }, slog.New(slog.DiscardHandler), 0)
	if len(faults) != 1 || !strings.Contains(faults.Error(), "twice") {
		t.Errorf("faults: %v", faults)
	}
}

func TestOnce(t *testing.T) {
	defer goleak.VerifyNone(t)
	l, faults := load(map[string]string{
		"a.tme": "x: tme/test/actor\ncommand x one two\ncommand x three\n",
		"b.tme": "y: tme/test/actor\ncommand y four\n",
	})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	var out, progress output
	if err := l.Run(context.Background(), Options{Once: true, Output: &out, Progress: &progress}); err != nil {
		t.Error(err)
	}
	said := map[string]string{} // by machine: their lines may mingle
	for line := range strings.Lines(out.String()) {
		said[line[:1]] += line
	}
	if said["a"] != "a: one two \na: three \n" || said["b"] != "b: four \n" {
		t.Errorf("output:\n%s", &out)
	}
	if !*actors["x"].closed || !*actors["y"].closed {
		t.Error("an element was not closed")
	}
}

func TestOnceWithACommandThatFails(t *testing.T) {
	l, _ := load(map[string]string{"a.tme": "x: tme/test/actor\ncommand x fail\ncommand x two\n"})
	var out, progress output
	err := l.Run(context.Background(), Options{Once: true, Output: &out, Progress: &progress})
	if err == nil || err.Error() != "a.tme:2:1: command x fail: as asked" {
		t.Errorf("error %v", err)
	}
	if out.String() != "two \n" {
		t.Errorf("the command behind the one that failed printed %q", out.String())
	}
}

func TestWaitingDelaysOnlyItsOwnMachine(t *testing.T) {
	defer forget("peer-of-a")
	defer goleak.VerifyNone(t)
	l, _ := load(map[string]string{
		"a.tme": "x: tme/test/actor wait peer-of-a\ncommand x late\n",
		"b.tme": "y: tme/test/actor\ncommand y early\n",
	})
	var out, progress output
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx, Options{Output: &out, Progress: &progress}) }()
	out.expect(t, "b: early")
	progress.expect(t, "a: x waits for peer-of-a")
	if strings.Contains(out.String(), "late") || strings.Contains(progress.String(), "a: up") {
		t.Errorf("machine a went on without its peer:\n%s%s", &out, &progress)
	}
	close(gate("peer-of-a"))
	out.expect(t, "a: late")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFailedStartEndsAllAndUndoes(t *testing.T) {
	defer forget("x-started")
	defer goleak.VerifyNone(t)
	l, _ := load(map[string]string{
		"a.tme": "x: tme/test/actor wait nobody opens x-started\n",
		"b.tme": "y: tme/test/actor\nz: tme/test/actor after x-started fail\n",
	})
	var out, progress output
	err := l.Run(context.Background(), Options{Output: &out, Progress: &progress})
	if err == nil || err.Error() != "b.tme:2:1: z: open nothing: as asked" {
		t.Errorf("error %v", err)
	}
	for _, name := range []string{"x", "y", "z"} {
		if !*actors[name].closed {
			t.Errorf("%s was not closed", name)
		}
	}
}

func TestEndDuringACommand(t *testing.T) {
	for _, once := range []bool{false, true} {
		l, _ := load(map[string]string{"a.tme": "x: tme/test/actor\ncommand x begun\ncommand x hang\ncommand x never\n"})
		var out, progress output
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- l.Run(ctx, Options{Once: once, Output: &out, Progress: &progress}) }()
		out.expect(t, "begun")
		cancel()
		if err := <-done; (err != nil) != once {
			t.Errorf("once %v: error %v", once, err)
		}
		if strings.Contains(out.String(), "never") {
			t.Error("a command was begun after the end")
		}
	}
}

func TestOutputKeepsLinesWhole(t *testing.T) {
	var b bytes.Buffer
	lines := &lineWriter{w: &b}
	p := lines.prefixed("a: ")
	fmt.Fprint(p, "one\ntw")
	lines.printf("between\n")
	fmt.Fprint(p, "o\nthree")
	p.flush()
	if want := "a: one\nbetween\na: two\na: three\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestOutputOfAnEndlessLine: a stranger's web page need not have lines.
func TestOutputOfAnEndlessLine(t *testing.T) {
	var b bytes.Buffer
	p := (&lineWriter{w: &b}).prefixed("a: ")
	for range 10 * longestLine / 1000 {
		p.Write(bytes.Repeat([]byte("x"), 1000))
	}
	if len(p.part) >= longestLine || cap(p.part) > 2*longestLine {
		t.Errorf("%d bytes of a line are kept in %d", len(p.part), cap(p.part))
	}
	p.flush()
	if x := bytes.Count(b.Bytes(), []byte("x")); x != 10*longestLine/1000*1000 {
		t.Errorf("%d bytes came out", x)
	}
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "a: ") || len(line) > len("a: \n")+longestLine {
			t.Errorf("a line of %d bytes: %.20s", len(line), line)
		}
	}

	b.Reset()
	alone := (&lineWriter{w: &b}).prefixed("")
	alone.Write([]byte("two\nli"))
	if b.String() != "two\nli" {
		t.Errorf("a machine alone printed %q", b.String())
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	l, _ := load(map[string]string{"a.tme": "x: tme/test/actor\ncommand x lost\n"})
	var progress output
	full := errors.New("no space left")
	err := l.Run(context.Background(), Options{Once: true, Output: failingWriter{full}, Progress: &progress})
	if !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
