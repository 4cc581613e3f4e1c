package machine

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

var update = flag.Bool("update", false, "write the expected results of testdata anew")

func init() {
	element.Register(element.Type{Path: "tme/test/wire", Summary: "one connection", MaxConnections: 1, New: newFake})
	element.Register(element.Type{Path: "tme/test/hub", Summary: "any number", New: newFake})
	element.Register(element.Type{Path: "tme/test/chip", Summary: "plugged into a bus", MaxConnections: 1, Unplugged: true, New: newFake})
	element.Register(element.Type{Path: "tme/test/maker", Summary: "makes interfaces", MakesInterfaces: true, New: newFake})
}

// fake is an element that notes what is done with it. Its ports give the frames
// that a test puts into them and keep those that it is given.
type fake struct {
	name  string
	ports []*fakePort
	fail  string
	calls *calls
}

// calls is a list that several elements write.
type calls struct {
	mu   sync.Mutex
	list []string
}

func (c *calls) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, what)
}

var noted = &calls{}

func newFake(env element.Env, args element.Args) (element.Element, error) {
	f := &fake{name: env.Name, calls: noted}
	err := args.Parse([]element.Option{
		{Name: "size", Values: "N", Set: func(v element.Values) error { _, err := v.Int(0, 1, 9); return err }},
		{Name: "idle", Values: "N"},
		{Name: "fail", Values: "WHEN", Set: func(v element.Values) error { f.fail = v.Text(0); return nil }},
	})
	return f, err
}

func (f *fake) Attach(args element.Args) (ethernet.Port, error) {
	p := newFakePort()
	f.ports = append(f.ports, p)
	return p, args.Parse([]element.Option{{Name: "vlan", Values: "N", Set: func(v element.Values) error { _, err := v.Int(0, 1, 4094); return err }}})
}

func (f *fake) Start(context.Context) error {
	f.calls.add("start " + f.name)
	if f.fail == "start" {
		return fmt.Errorf("open nothing: as asked")
	}
	return nil
}

func (f *fake) Close() error {
	f.calls.add("close " + f.name)
	for _, p := range f.ports {
		p.Close()
	}
	return nil
}

func (f *fake) Prepare(args element.Args) (element.Command, error) {
	if len(args.Words) != 1 {
		return nil, tmesh.Faultf(args.Pos, "a command is one word")
	}
	word := args.Words[0].Text
	return func(_ context.Context, out io.Writer) error {
		fmt.Fprintf(out, "%s says %s\n", f.name, word)
		if word == "fail" {
			return fmt.Errorf("as asked")
		}
		return nil
	}, nil
}

type fakePort struct {
	in       chan []ethernet.Frame
	out      chan []byte
	closed   chan struct{}
	once     sync.Once
	lost     error
	counters ethernet.Counters
}

func newFakePort() *fakePort {
	return &fakePort{in: make(chan []ethernet.Frame, 16), out: make(chan []byte, 16), closed: make(chan struct{})}
}

func (p *fakePort) ReadFrames() ([]ethernet.Frame, error) {
	select {
	case batch, ok := <-p.in:
		if !ok {
			return nil, p.lost
		}
		return batch, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *fakePort) WriteFrames(frames []ethernet.Frame) error {
	for _, f := range frames {
		p.out <- append([]byte(nil), f.Data...)
	}
	return nil
}

func (p *fakePort) Offloads() ethernet.Offloads  { return 0 }
func (p *fakePort) MaxFrame() int                { return ethernet.FrameLen(ethernet.MTU) }
func (p *fakePort) Counters() *ethernet.Counters { return &p.counters }
func (p *fakePort) Close() error                 { p.once.Do(func() { close(p.closed) }); return nil }

// build makes a machine of a text.
func build(t *testing.T, text string) (*Machine, tmesh.Faults) {
	t.Helper()
	statements, _, faults := tmesh.Load("x.tme", func(string) ([]byte, error) { return []byte(text), nil })
	m, more := Build(Config{Name: "x", Log: slog.New(slog.DiscardHandler)}, statements)
	faults = append(faults, more...)
	faults.Sort()
	return m, faults
}

// mustBuild is build of a text without fault.
func mustBuild(t *testing.T, text string) *Machine {
	t.Helper()
	m, faults := build(t, text)
	if len(faults) > 0 {
		t.Fatalf("faults:\n%v", faults)
	}
	return m
}

// TestBuild compares what testdata/*.tme builds with the .want beside it.
func TestBuild(t *testing.T) {
	files, err := filepath.Glob("testdata/*.tme")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m, faults := build(t, string(text))
			got := summary(m)
			if len(faults) > 0 {
				got += faults.Error() + "\n"
			}
			want := strings.TrimSuffix(file, ".tme") + ".want"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(expected) {
				t.Errorf("%s builds\n%s\nwant\n%s", file, got, expected)
			}
		})
	}
}

func summary(m *Machine) string {
	var b strings.Builder
	for _, p := range m.Parts {
		fmt.Fprintf(&b, "element %s %s\n", p.Name, p.Type.Path)
	}
	for _, c := range m.Connections {
		fmt.Fprintf(&b, "connection %s %s\n", c.A.Part.Name, c.B.Part.Name)
	}
	for _, c := range m.Commands {
		fmt.Fprintf(&b, "command %s\n", c.Text)
	}
	for _, w := range m.NoEffect {
		fmt.Fprintf(&b, "without effect %s\n", w.Text)
	}
	for _, w := range m.LeftOut.Elements {
		fmt.Fprintf(&b, "left out %s\n", w.Text)
	}
	for _, w := range m.LeftOut.Unlisted {
		fmt.Fprintf(&b, "unlisted %s\n", w.Text)
	}
	if m.LeftOut.Statements > 0 {
		fmt.Fprintf(&b, "left out statements %d\n", m.LeftOut.Statements)
	}
	return b.String()
}

func TestLogLevels(t *testing.T) {
	m := mustBuild(t, "w1: tme/test/wire; w2: tme/test/wire; w3: tme/test/wire; w4: tme/test/wire\nlog w1 off; log w2 1; log w3 warn\n")
	for name, want := range map[string][3]bool{ // hears debug, info, error
		"w1": {false, false, false}, "w2": {true, true, true}, "w3": {false, false, true}, "w4": {false, true, true},
	} {
		h := levelled{slog.DiscardHandler, m.Part(name).level}
		got := [3]bool{}
		for i, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelError} {
			got[i] = h.Enabled(context.Background(), l)
		}
		if got != want {
			t.Errorf("%s hears debug, info, error: %v, want %v", name, got, want)
		}
	}
}

func TestStanding(t *testing.T) {
	for path, want := range map[string]standing{
		"tme/test/wire":                network,
		"nme/test/wire":                network,
		"tme/machine/sun4":             leftOut,
		"tme/machine/sun4/zs":          leftOut,
		"nme/machine/sun3/obie":        leftOut,
		"tme/machine/sun4u/anything":   leftOut,
		"tme/ic/cy7c601":               leftOut,
		"tme/ic/ncr89c105/fdc":         leftOut,
		"tme/bus/multibus/sun-mie":     leftOut,
		"tme/ic/pdp11":                 unlisted,
		"tme/generic/swich":            unlisted,
		"tme/host/udp/eth":             missing,
		"tme/host/tun/tpa":             unknown,
		"tme/bus/pci/e1000":            unknown,
		"ic/cy7c601":                   unknown,
		"tme":                          unknown,
		"tme/":                         unknown,
		"/":                            unknown,
		"tme/machine/sun4/zs/and/more": unlisted,
	} {
		if got := standingOf(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// TestShippedTypes: every type that TME's own machine descriptions name, and is
// no network element, is left out without a further word.
func TestShippedTypes(t *testing.T) {
	for _, path := range strings.Fields(`
		tme/bus/multibus/sun-mie tme/bus/multibus/sun-sc tme/bus/sbus/bwtwo tme/bus/sbus/cgsix tme/bus/sbus/cgthree
		tme/generic/bus tme/host/gtk/display tme/host/posix/disk tme/host/posix/memory tme/host/posix/serial
		tme/host/posix/tape tme/host/rfb/display tme/host/sdl/display tme/ic/am7930 tme/ic/cs4231A tme/ic/cy7c601
		tme/ic/i82072 tme/ic/lsi64854 tme/ic/m68010 tme/ic/m68020 tme/ic/mk48t02 tme/ic/mk48t59 tme/ic/ncr5380
		tme/ic/ncr53c9x tme/ic/ncr89c105/auxio tme/ic/ncr89c105/i82077 tme/ic/ncr89c105/z85c30 tme/ic/stp1030
		tme/ic/stp2024 tme/ic/stp2200 tme/ic/stp2220 tme/machine/sun2 tme/machine/sun2/bwtwo tme/machine/sun2/clock
		tme/machine/sun2/tod tme/machine/sun2/zs tme/machine/sun3 tme/machine/sun3/bwtwo tme/machine/sun3/cgtwo
		tme/machine/sun3/clock tme/machine/sun3/obie tme/machine/sun3/si tme/machine/sun3/zs tme/machine/sun4
		tme/machine/sun4/clock tme/machine/sun4/fdc tme/machine/sun4/oclock tme/machine/sun4/zs tme/scsi/bus
		tme/scsi/cdrom tme/scsi/disk tme/scsi/tape tme/serial/keyboard tme/serial/mouse tme/serial/sink`) {
		for _, p := range []string{path, "n" + path[1:]} {
			if got := standingOf(p); got != leftOut {
				t.Errorf("%s: %d, want %d", p, got, leftOut)
			}
		}
	}
}
