package emulator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// vdePlug is the program of that name, which speaks frames over its standard input
// and output, with 16 bits of length before each.
type vdePlug struct {
	in   io.Writer
	came <-chan []byte
}

func startVDEPlug(t *testing.T, folder string) *vdePlug {
	t.Helper()
	cmd := exec.Command("vde_plug", folder)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	came := make(chan []byte, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			var length [2]byte
			if _, err := io.ReadFull(out, length[:]); err != nil {
				return
			}
			frame := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(out, frame); err != nil {
				return
			}
			came <- frame
		}
	}()
	t.Cleanup(func() {
		in.Close()
		within(t, "the end of vde_plug", ended)
		cmd.Wait()
	})
	return &vdePlug{in, came}
}

func (p *vdePlug) send(frame []byte) {
	p.in.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(frame))), frame...))
}

// vdeClient is a client by hand.
type vdeClient struct {
	ctl  *net.UnixConn
	data *net.UnixConn
	port string // where the switch takes its frames
}

func plugInByHand(t testing.TB, folder, name string, port int) (*vdeClient, error) {
	t.Helper()
	local := filepath.Join(folder, name)
	data, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: local})
	if err != nil {
		t.Fatal(err)
	}
	c := &vdeClient{ctl: dial(t, filepath.Join(folder, "ctl")), data: data}
	t.Cleanup(func() { data.Close() })
	c.ctl.Write(plugRequest(port, local, "by hand"))
	c.ctl.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer := make([]byte, sockaddrLen)
	if _, err := io.ReadFull(c.ctl, answer); err != nil {
		return nil, err
	}
	c.port, err = plugAnswer(answer)
	return c, err
}

func (c *vdeClient) send(frame []byte) error {
	_, err := c.data.WriteToUnix(frame, &net.UnixAddr{Net: "unixgram", Name: c.port})
	return err
}

func TestVDESwitchWithRealPlugs(t *testing.T) {
	nstest.NeedPrograms(t, "vde_plug")
	folder := t.TempDir()
	s := start(t, folder, "vde/switch vde")
	atPort := reader(t, s)
	plug := start(t, folder, "vde/plug vde port 7")
	plug.expect(t, "/007.")
	atPlug := reader(t, plug)
	real := startVDEPlug(t, filepath.Join(folder, "vde"))
	s.expect(t, "2 plugged in")
	frames := numbered(0, 60, 1514)
	for _, f := range frames {
		real.send(f.Data)
	}
	expectAll(t, atPort, frames, nil)
	expectAll(t, atPlug, frames, nil)
	for _, from := range []*plugged{s, plug} {
		to := atPort
		if from == s {
			to = atPlug
		}
		if err := from.WriteFrames(numbered(100, 60, 60)); err != nil {
			t.Fatal(err)
		}
		expectAll(t, real.came, numbered(100, 60, 60), nil)
		expectAll(t, to, numbered(100, 60, 60), nil)
	}
	s.element.Close()
	plug.expect(t, "not plugged in")
	if _, err := os.Stat(filepath.Join(folder, "vde")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

// The network boot of a QEMU asks for an address.
func TestVDESwitchWithQEMU(t *testing.T) {
	nstest.NeedPrograms(t, "qemu-system-x86_64")
	if out, _ := exec.Command("qemu-system-x86_64", "-netdev", "help").CombinedOutput(); !strings.Contains(string(out), "vde") {
		t.Skip("skipped: this QEMU has no -netdev vde")
	}
	folder := t.TempDir()
	s := start(t, folder, "vde/switch vde")
	came := reader(t, s)
	nstest.Start(t, "qemu-system-x86_64", "-display", "none", "-monitor", "none", "-serial", "none", "-nodefaults", "-boot", "n",
		"-netdev", "vde,id=n0,sock="+filepath.Join(folder, "vde"), "-device", "e1000,netdev=n0,mac=02:00:00:00:00:07")
	s.expect(t, "1 plugged in")
	expectDHCP(t, came)
}

// expectDHCP waits for a station's search for a DHCP server.
func expectDHCP(t *testing.T, came <-chan []byte) {
	t.Helper()
	for end := time.After(90 * time.Second); ; {
		select {
		case f := <-came:
			if len(f) > 240 && ethernet.Src(f) == (ethernet.Addr{2, 0, 0, 0, 0, 7}) && bytes.Contains(f, []byte{0x63, 0x82, 0x53, 0x63, 53, 1, 1}) {
				return
			}
		case <-end:
			t.Fatal("no DHCPDISCOVER came")
		}
	}
}

func TestVDESwitchFolders(t *testing.T) {
	folder := t.TempDir()
	vde := filepath.Join(folder, "vde")
	fails := func(want string) {
		t.Helper()
		e, err := newElement(folder, "vde/switch vde", &nstest.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start: %v, want %q", err, want)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	os.WriteFile(vde, nil, 0o600)
	fails("no folder")
	os.Remove(vde)
	os.Mkdir(vde, 0o700)
	os.WriteFile(filepath.Join(vde, "letters"), nil, 0o600)
	fails("with other files in it, such as letters")
	os.Remove(filepath.Join(vde, "letters"))

	// A folder that somebody has prepared stays.
	start(t, folder, "vde/switch vde").element.Close()
	if entries, err := os.ReadDir(vde); err != nil || len(entries) > 0 {
		t.Errorf("a folder that was there has %v, %v", entries, err)
	}
	// What a killed process has left does not.
	for _, dead := range []string{"ctl", "001.5", ".1-2"} {
		network := "unixgram"
		if dead == "ctl" {
			network = "unix"
		}
		c, err := makeDead(network, filepath.Join(vde, dead))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	s := start(t, folder, "vde/switch vde mode 660")
	entries, _ := os.ReadDir(vde)
	if len(entries) != 1 || entries[0].Name() != "ctl" {
		t.Errorf("the folder holds %v", entries)
	}
	if info, err := os.Stat(vde); err != nil || info.Mode().Perm() != 0o770 || info.Mode()&fs.ModeSticky == 0 {
		t.Errorf("the folder's mode is %v, %v", info.Mode(), err)
	}
	c, err := plugInByHand(t, vde, ".by-hand", 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{filepath.Join(vde, "ctl"), c.port} {
		if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("%s: mode %v, %v", socket, info.Mode(), err)
		}
	}
	fails("another program has its socket there")
	if _, err := plugInByHand(t, vde, ".another", 3); err == nil {
		t.Error("two have port 3")
	}
	s.expectLines(t, "port 3 is another's", 1)
	s.element.Close()
	if _, err := os.Stat(vde); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

// makeDead makes a socket whose file stays when it is closed.
func makeDead(network, path string) (io.Closer, error) {
	addr := &net.UnixAddr{Net: network, Name: path}
	if network == "unixgram" {
		return net.ListenUnixgram(network, addr) // which leaves its file
	}
	l, err := net.ListenUnix(network, addr)
	if err == nil {
		l.SetUnlinkOnClose(false)
	}
	return l, err
}

func TestVDESwitchBadClients(t *testing.T) {
	folder := t.TempDir()
	vde := filepath.Join(folder, "vde")
	s := start(t, folder, "vde/switch vde")
	came := reader(t, s)
	ctl := filepath.Join(vde, "ctl")
	var silent []*net.UnixConn
	for range 100 {
		silent = append(silent, dial(t, ctl))
	}
	for _, junk := range [][]byte{bytes.Repeat([]byte("GET / "), 50), plugRequest(0, "/nowhere", ""), plugRequest(0, ctl+"x", ""), plugRequest(0, "/dev/null", "")} {
		c := dial(t, ctl)
		c.Write(junk)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("% x: %v", junk[:12], err)
		}
	}
	c, err := plugInByHand(t, vde, ".c", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range silent {
		f.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := f.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("one that says nothing: %v", err)
		}
	}
	s.expectLines(t, "turned away who would plug in", 3)
	// Datagrams of a client that are no frames.
	c.ctl.Write([]byte("more on the control socket"))
	for _, length := range []int{0, 13, 14, 1522, 1523, 60000} {
		frame := make([]byte, length)
		copy(frame, ethernet.Broadcast[:])
		if err := c.send(frame); err != nil {
			t.Fatal(err)
		}
	}
	for _, length := range []int{14, 1522} {
		if got := within(t, "a frame", came); len(got) != length {
			t.Errorf("%d bytes came, want %d", len(got), length)
		}
	}
	s.expect(t, "1 plugged in, 0 frames to and 4 from them dropped")
	c.ctl.Close()
	s.expect(t, "0 plugged in")
	if files, _ := filepath.Glob(filepath.Join(vde, "0*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}

// A client that does not read loses its own frames and nobody else's.
func TestVDESwitchSlowClient(t *testing.T) {
	folder := t.TempDir()
	vde := filepath.Join(folder, "vde")
	s := start(t, folder, "vde/switch vde")
	came := reader(t, s)
	if _, err := plugInByHand(t, vde, ".slow", 0); err != nil {
		t.Fatal(err)
	}
	c, err := plugInByHand(t, vde, ".quick", 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		f := numbered(i, 1, 60)[0].Data
		if err := c.send(f); err != nil {
			t.Fatal(err)
		}
		if got := within(t, "a frame", came); !bytes.Equal(got, f) {
			t.Fatalf("frame %d came as % x", i, got)
		}
	}
	s.expect(t, "2 plugged in, ")
	if n := s.element.(*VDESwitch).counters.Write.Count(ethernet.QueueFull); n < 1000 || n > 3000 {
		t.Errorf("%d frames for the slow one are counted, of 3000", n)
	}
	s.element.Close() // while the switch waits for the slow one
}

// Of other users only the group's may plug in, and only with sockets of their own.
func TestVDESwitchOfAnotherUser(t *testing.T) {
	nstest.NeedPrograms(t, "vde_plug", "setpriv", "socat")
	if os.Geteuid() != 0 {
		t.Skip("skipped: another user needs root")
	}
	folder, err := os.MkdirTemp("", "vde")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	os.Chmod(folder, 0o777)
	vde := filepath.Join(folder, "vde")
	nobody := func(script string) []string {
		return []string{"--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script, "sh", vde}
	}
	asNobody := func(script string) (string, error) {
		out, err := exec.Command("setpriv", nobody(script)...).CombinedOutput()
		return string(out), err
	}
	os.Mkdir(vde, 0o700)
	os.Chown(vde, 65534, -1)
	e, err := newElement(folder, "vde/switch vde", &nstest.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "the folder is another user's") {
		t.Errorf("start in a folder of nobody's: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	os.Remove(vde)
	s := start(t, folder, "vde/switch vde")
	if out, err := asNobody(`ls "$1"`); err == nil {
		t.Errorf("nobody sees a folder of mode 700: %s", out)
	}
	s.element.Close()
	s = start(t, folder, "vde/switch vde group 65534")
	came := reader(t, s)
	f := numbered(1, 1, 60)[0].Data
	input := filepath.Join(folder, "input")
	os.WriteFile(input, append(binary.BigEndian.AppendUint16(nil, uint16(len(f))), f...), 0o644)
	plug := nstest.Start(t, "setpriv", nobody(`mkfifo "$1/../pipe"; exec vde_plug "$1" <>"$1/../pipe"`)...)
	s.expect(t, "1 plugged in")
	asNobody(`cat "$1/../input" >"$1/../pipe"`)
	if got := within(t, "a frame of nobody's", came); !bytes.Equal(got, f) {
		t.Errorf("it came as % x", got)
	}
	plug.Stop()
	s.expect(t, "0 plugged in")
	// A socket of root's.
	other, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(folder, "roots")})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	os.WriteFile(input, plugRequest(0, filepath.Join(folder, "roots"), ""), 0o644)
	if out, err := asNobody(`socat -u "$1/../input" UNIX-CONNECT:"$1/ctl"`); err != nil {
		t.Errorf("socat: %v\n%s", err, out)
	}
	s.expectLines(t, "belongs to another user than it, who is user 65534", 1)
}
