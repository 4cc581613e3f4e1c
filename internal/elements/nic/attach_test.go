package nic

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// attachedTo makes an interface with an emulator attached, in a folder.
func attachedTo(t *testing.T, folder, line string) (element.Element, error) {
	t.Helper()
	typ, _ := element.Lookup("tme/bus/multibus/3c400")
	return typ.New(element.Env{Machine: "m", Name: "ec0", Dir: folder, Log: slog.New(slog.DiscardHandler)}, words(line))
}

func TestAttachFaults(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"attach", "1:1: attach wants SPEC"},
		{"attach qemu:unix:", "1:8: attach: say qemu:unix:PATH"},
		{"attach qemu:unix", "is no way to attach an emulator"},
		{"attach qemu:unix:a attach vde:b", "attach is given twice"},
		{"attach qmu:unix:a", `1:8: attach: "qmu:unix:a" is no way to attach an emulator`},
		{"attach stdio:x", "is no way to attach an emulator"},
		{"attach qemu:unixx", "is no way to attach an emulator"},
		{"attach qemu:unix:/" + strings.Repeat("x", 120), "choose a shorter one"},
		{"attach qemu:tcp:4711", `1:8: listen: "4711" is not HOST:PORT`},
		{"attach qemu:tcp-connect:h:x", `"x" is not a port`},
		{"attach qemu:dgram:a", `1:8: attach: qemu:dgram:LOCAL,REMOTE: "a" is not LOCAL,REMOTE`},
		{"attach qemu:dgram:a,a", "that is the element's own socket"},
		{"attach udp:a,", `"a," is not LOCAL,REMOTE`},
		{"attach udp:127.0.0.1:1,127.0.0.1", `1:8: attach: udp:LOCAL,REMOTE: "127.0.0.1" is not HOST:PORT`},
		{"attach udp:127.0.0.1:1,:2", `":2" is not HOST:PORT`},
		{"attach udp:127.0.0.1:0,127.0.0.1:2", `"127.0.0.1:0" is not HOST:PORT`},
		{"inet 10.0.0.1 attach stdio", "1:1: attach and inet contradict each other: leave out inet if"},
		{"attach stdio dns 10.0.0.1", "1:14: attach and dns contradict each other"},
		{"attach stdio ether 2:0:0:0:0:1", "1:14: attach and ether contradict each other"},
	} {
		_, err := attachedTo(t, "", test.line)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %q", test.line, err, test.want)
		}
	}
}

// Each way to attach an emulator is an element type's, with its words, and the
// interface is one of it.
func TestAttachMeans(t *testing.T) {
	shown := map[string]bool{}
	for _, test := range []struct{ line, status, detail string }{
		{"attach qemu:unix:s", "listening on FOLDER/s, no emulator", "listen FOLDER/s"},
		{"attach qemu:unix-connect:s", "connecting to FOLDER/s, no emulator", "connect FOLDER/s"},
		{"attach qemu:tcp:127.0.0.1:4711", "listening on tcp:127.0.0.1:4711, no emulator", "listen tcp:127.0.0.1:4711"},
		{"attach qemu:tcp-connect:[::1]:4711", "connecting to tcp:[::1]:4711, no emulator", "connect tcp:[::1]:4711"},
		{"attach qemu:dgram:a,b", "not open", "local FOLDER/a"},
		{"attach udp:127.0.0.1:4712,127.0.0.1:4713", "not started", "127.0.0.1:4712"},
		{"attach vde:port", "switch FOLDER/port, not plugged in", "vde FOLDER/port"}, // a folder of that name
		{"attach vfkit:s", "not open", "listen FOLDER/s"},
		{"attach bess:s", "listening on FOLDER/s, no emulator", "listen FOLDER/s"},
		{"attach stdio", "not open", "stdin and stdout"},
	} {
		e, err := attachedTo(t, "folder", test.line+" mtu 9000")
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		for _, m := range manners {
			shown[m.name] = shown[m.name] || strings.HasPrefix(test.line, "attach "+m.name+":") || test.line == "attach "+m.name
		}
		inFolder := strings.NewReplacer("FOLDER/", "folder"+string(filepath.Separator))
		if got := e.(element.Reporter).Status(); !strings.Contains(got, inFolder.Replace(test.status)) {
			t.Errorf("%s: status %q, want %q", test.line, got, test.status)
		}
		s := e.(element.Sketcher).Sketch()
		if got := strings.Join(s.Detail, "\n"); s.Kind != element.HostKind || !strings.HasPrefix(got, "an emulator's\n") || !strings.Contains(got, inFolder.Replace(test.detail)) {
			t.Errorf("%s: drawn as %v with %q, want %q", test.line, s.Kind, got, test.detail)
		}
		p, err := e.Attach(element.Args{})
		if err != nil {
			t.Fatal(err)
		}
		if most := p.MaxFrame(); most < 9018 || most > 9022 {
			t.Errorf("%s: frames up to %d are taken", test.line, most)
		}
		if _, err := e.(element.Commander).Prepare(words("ping 10.0.0.1")); err == nil || !strings.Contains(err.Error(), "has no built-in host") {
			t.Errorf("%s: a command gives %v", test.line, err)
		}
		stdio := test.line == "attach stdio"
		if claims := e.(element.Claimer).Claims(); (len(claims) == 1 && claims[0].Proto == element.StandardIO) != stdio {
			t.Errorf("%s: claims %v", test.line, claims)
		}
		if (e.(element.Finite).Ended() != nil) != stdio {
			t.Errorf("%s: it ends by itself: %v", test.line, !stdio)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, m := range manners {
		if !shown[m.name] {
			t.Errorf("%s is not tried", m.form())
		}
	}
}

// Frames go between an emulator that sends each in a UDP datagram and whatever the
// interface is connected to.
func TestAttachUDP(t *testing.T) {
	emulator, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer emulator.Close()
	free, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ours := free.LocalAddr().(*net.UDPAddr)
	free.Close()
	e, err := attachedTo(t, "", "attach udp:"+ours.String()+","+emulator.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Attach(element.Args{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	frame := bytes.Repeat([]byte{0x42}, 100)
	emulator.WriteToUDP(nil, ours) // says nothing, and ends nothing
	emulator.WriteToUDP(frame, ours)
	stop := time.AfterFunc(time.Minute, func() { p.Close() })
	defer stop.Stop()
	frames, err := p.ReadFrames()
	if err != nil || len(frames) != 1 || !bytes.Equal(frames[0].Data, frame) {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	if err := p.WriteFrames([]ethernet.Frame{{Data: frame}}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 200)
	emulator.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := emulator.Read(buf); err != nil || !bytes.Equal(buf[:n], frame) {
		t.Errorf("the emulator gets % x, %v", buf[:n], err)
	}
}

// A started interface gives an emulator's frames, outlives it, and leaves nothing.
func TestAttachComesAndGoes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: the status of a connection that has ended is looked at on Unix")
	}
	folder := t.TempDir()
	e, err := attachedTo(t, folder, "attach qemu:unix:s")
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Attach(element.Args{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	read := make(chan int, 10)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			frames, err := p.ReadFrames()
			if err != nil {
				return
			}
			for _, f := range frames {
				read <- len(f.Data)
			}
		}
	}()
	for i := range 3 {
		qemu, err := net.Dial("unix", filepath.Join(folder, "s"))
		if err != nil {
			t.Fatal(err)
		}
		qemu.Write(append([]byte{0, 0, 0, byte(60 + i)}, make([]byte, 60+i)...))
		select {
		case n := <-read:
			if n != 60+i {
				t.Errorf("a frame of %d bytes, want %d", n, 60+i)
			}
		case <-within(t).Done():
			t.Fatal("no frame comes")
		}
		qemu.Close()
		if !nstest.Eventually(time.Minute, func() bool {
			return strings.HasSuffix(e.(element.Reporter).Status(), "no emulator")
		}) {
			t.Fatalf("status %q", e.(element.Reporter).Status())
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	if files, _ := filepath.Glob(filepath.Join(folder, "*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}
