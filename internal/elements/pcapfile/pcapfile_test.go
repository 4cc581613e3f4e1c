package pcapfile

import (
	"bytes"
	"errors"
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
	"tmelink/internal/pcap"
	"tmelink/internal/tmesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// words makes a description's words of a text; the column is the word's number.
func words(text string) element.Args {
	a := element.Args{Pos: tmesh.Pos{File: "test", Line: 1, Column: 99}}
	for i, w := range strings.Fields(text) {
		a.Words = append(a.Words, tmesh.Word{Text: w, Pos: tmesh.Pos{File: "test", Line: 1, Column: i + 1}})
	}
	return a
}

func newElement(folder, text string, log *nstest.Buffer) (*File, error) {
	e, err := newFile(element.Env{Machine: "m", Name: "p0", Dir: folder, Log: slog.New(slog.NewTextHandler(log, nil))}, words(text))
	if err != nil {
		return nil, err
	}
	return e.(*File), nil
}

func start(t *testing.T, folder, text string) (*File, *nstest.Buffer) {
	t.Helper()
	log := &nstest.Buffer{}
	f, err := newElement(folder, text, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, log
}

func TestWords(t *testing.T) {
	for _, test := range []struct{ text, fault string }{
		{"read a", ""},
		{"read a realtime", ""},
		{"at-once read a", ""},
		{"write a snaplen 128", ""},
		{"", "test:1:99: the file is missing"},
		{"realtime", "the file is missing"},
		{"read a write b", "test:1:3: read and write contradict"},
		{"write a read b", "test:1:3: read and write contradict"},
		{"read a realtime at-once", "test:1:4: realtime and at-once contradict"},
		{"write a at-once", "test:1:3: at-once is for read"},
		{"read a snaplen 100", "test:1:3: snaplen is for write"},
		{"write a snaplen 13", "not a number from 14 to 262144"},
		{"reed a", "did you mean read?"},
	} {
		_, err := newElement("", test.text, &nstest.Buffer{})
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%q: %v, want %q", test.text, err, test.fault)
		}
	}
}

// someFrames are frames of different lengths.
func someFrames(n int) []ethernet.Frame {
	frames := make([]ethernet.Frame, n)
	for i := range frames {
		frames[i].Data = append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, byte(i)}, bytes.Repeat([]byte{byte(i)}, 45+i)...)
	}
	return frames
}

func collect(t *testing.T, f *File, n int) []ethernet.Frame {
	t.Helper()
	stop := time.AfterFunc(20*time.Second, func() { f.Close() })
	defer stop.Stop()
	var got []ethernet.Frame
	for len(got) < n {
		frames, err := f.port.ReadFrames()
		if err != nil {
			t.Fatalf("after %d frames: %v", len(got), err)
		}
		for _, x := range frames {
			got = append(got, ethernet.Frame{Data: bytes.Clone(x.Data)})
		}
	}
	return got
}

func same(t *testing.T, got, want []ethernet.Frame, most int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range want {
		if data := want[i].Data; !bytes.Equal(got[i].Data, data[:min(most, len(data))]) {
			t.Fatalf("frame %d is % x, want % x", i, got[i].Data, data)
		}
	}
}

func TestWhatIsRecordedIsReplayed(t *testing.T) {
	folder := t.TempDir()
	frames := someFrames(200)
	for _, name := range []string{"a.pcap", "a.pcapng"} {
		for range 2 { // an earlier capture is replaced
			w, _ := start(t, folder, "write "+name)
			for _, part := range [][]ethernet.Frame{frames[:1], frames[1:]} {
				if err := w.port.WriteFrames(part); err != nil {
					t.Fatal(err)
				}
			}
			if got := w.Status(); !strings.Contains(got, "200 frames") {
				t.Error(got)
			}
			// All is there before the end.
			r, log := start(t, folder, "read "+name+" at-once")
			same(t, collect(t, r, 200), frames, 1<<20)
			ended := make(chan error)
			go func() {
				_, err := r.port.ReadFrames()
				ended <- err
			}()
			if !nstest.Eventually(10*time.Second, func() bool { return strings.Contains(log.String(), "the replay has ended") }) {
				t.Error("nothing is said of the end")
			}
			if err := r.port.WriteFrames(frames[:2]); err != nil || r.port.Counters().Write.Count(ethernet.FilteredOut) != 2 {
				t.Errorf("what is sent to a replay: %v", err)
			}
			r.Close()
			if err := <-ended; err != net.ErrClosed {
				t.Errorf("the reader ends with %v", err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if err := w.port.WriteFrames(frames[:1]); err != net.ErrClosed {
				t.Errorf("written after Close: %v", err)
			}
		}
	}
}

// tcpdump reads what we write, and we read what it writes.
func TestTcpdump(t *testing.T) {
	nstest.NeedPrograms(t, "tcpdump")
	folder := t.TempDir()
	frames := someFrames(20)
	for _, name := range []string{"a.pcap", "a.pcapng"} {
		w, _ := start(t, folder, "write "+name+" snaplen 60")
		w.port.WriteFrames(frames)
		w.Close()
		out, err := exec.Command("tcpdump", "-r", filepath.Join(folder, name), "-e", "-n", "-tttt").CombinedOutput()
		if err != nil || strings.Count(string(out), "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype Unknown (0x88b5)") != 20 || !strings.Contains(string(out), "length 79:") || !strings.Contains(string(out), time.Now().UTC().Format("2006-")) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	w, _ := start(t, folder, "write b.pcap")
	w.port.WriteFrames(frames)
	w.Close()
	if out, err := exec.Command("tcpdump", "-r", filepath.Join(folder, "b.pcap"), "-w", filepath.Join(folder, "c.pcap")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r, _ := start(t, folder, "read c.pcap at-once")
	same(t, collect(t, r, 20), frames, 1<<20)
}

// write makes a capture of frames that are a time apart.
func write(t *testing.T, path string, apart time.Duration, frames []ethernet.Frame) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := pcap.NewWriter(file, pcap.MaxPacket, true)
	for i := range frames {
		w.Write(time.Unix(1e9, 0).Add(time.Duration(i)*apart), frames[i].Data)
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		t.Fatal(err)
	}
}

func TestPace(t *testing.T) {
	folder := t.TempDir()
	frames := someFrames(6)
	write(t, filepath.Join(folder, "a"), 100*time.Millisecond, frames)
	r, _ := start(t, folder, "read a")
	began := time.Now()
	same(t, collect(t, r, 6), frames, 1<<20)
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("5 pauses of 100 ms took %v", took)
	}
	// One that waits for an hour ends with Close, and times that go back do not wait.
	write(t, filepath.Join(folder, "b"), time.Hour, frames)
	r, _ = start(t, folder, "read b realtime")
	collect(t, r, 1)
	ended := make(chan error)
	go func() {
		_, err := r.port.ReadFrames()
		ended <- err
	}()
	r.Close()
	if err := <-ended; err != net.ErrClosed {
		t.Errorf("ended with %v", err)
	}
	write(t, filepath.Join(folder, "c"), -time.Hour, frames)
	r, _ = start(t, folder, "read c realtime")
	same(t, collect(t, r, 6), frames, 1<<20)
}

func TestBadFiles(t *testing.T) {
	folder := t.TempDir()
	at := func(name string) string { return filepath.Join(folder, name) }
	os.WriteFile(at("text"), []byte("no capture"), 0o600)
	os.Mkdir(at("folder"), 0o700)
	for text, want := range map[string]string{
		"read nothing":   "no such file",
		"read text":      "it is no capture",
		"read folder":    "it is no file",
		"write text":     "there is a file already that is no capture",
		"write folder":   "it is no file",
		"write x/y":      "no such file",
		"read /dev/zero": "it is no file",
	} {
		f, err := newElement(folder, text, &nstest.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Start(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if got, _ := os.ReadFile(at("text")); string(got) != "no capture" {
		t.Errorf("the file was changed to %q", got)
	}
	// Packets that are no frames, and a file that ends inside one.
	frames := someFrames(2)
	write(t, at("a"), 0, []ethernet.Frame{{Data: make([]byte, 13)}, {}, frames[0], {Data: make([]byte, ethernet.MaxFrameLen+1)}, frames[1], frames[1]})
	data, _ := os.ReadFile(at("a"))
	os.WriteFile(at("a"), data[:len(data)-10], 0o600)
	r, log := start(t, folder, "read a at-once")
	same(t, collect(t, r, 2), frames, 1<<20)
	drops := &r.port.Counters().Read
	if drops.Count(ethernet.Runt) != 2 || drops.Count(ethernet.Oversize) != 1 || drops.Total() != 3 || strings.Count(log.String(), "left out a packet") != 1 {
		t.Errorf("runts %d, too long %d, all %d; logged:\n%s", drops.Count(ethernet.Runt), drops.Count(ethernet.Oversize), drops.Total(), log)
	}
	if !strings.Contains(log.String(), "ends inside a packet") {
		t.Errorf("logged:\n%s", log)
	}
	// A part of a frame is none.
	w, _ := start(t, folder, "write short snaplen 20")
	w.port.WriteFrames(frames)
	w.Close()
	data, _ = os.ReadFile(at("short"))
	os.WriteFile(at("short"), append(data, bytes.Repeat([]byte{0xff}, 16)...), 0o600)
	r, _ = start(t, folder, "read short at-once")
	if _, err := r.port.ReadFrames(); err == nil || !strings.Contains(err.Error(), "it is damaged") {
		t.Errorf("a damaged file: %v", err)
	}
	if n := r.port.Counters().Read.Count(ethernet.Incomplete); n != 2 {
		t.Errorf("%d parts of frames, want 2", n)
	}
}

// fills is a disk on which there is room for the beginning of a file.
type fills struct{ full bool }

func (f *fills) Write(b []byte) (int, error) {
	if f.full {
		return 0, errors.New("no space left")
	}
	f.full = true
	return len(b), nil
}

// A disk that is full ends the connection.
func TestDiskFull(t *testing.T) {
	w, _ := start(t, t.TempDir(), "write a.pcap")
	out, err := pcap.NewWriter(&fills{}, 100, false)
	if err != nil {
		t.Fatal(err)
	}
	w.port.(*recorder).out = out
	if err := w.port.WriteFrames(someFrames(1)); err == nil || !strings.Contains(err.Error(), "a.pcap: no space left") {
		t.Errorf("written to a full disk: %v", err)
	}
	if n := w.port.Counters().Write.Count(ethernet.SendFailed); n != 1 {
		t.Errorf("%d frames are counted, want 1", n)
	}
}
