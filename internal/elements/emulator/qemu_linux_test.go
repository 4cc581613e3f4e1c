package emulator

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// relay is a QEMU without a machine: what its network back-ends take in at a
// socket it gives out at the other.
func relay(t *testing.T, folder string, stream string) *nstest.Process {
	t.Helper()
	return nstest.Start(t, "qemu-system-x86_64", "-machine", "none", "-display", "none", "-monitor", "none", "-serial", "none", "-nodefaults",
		"-netdev", stream,
		"-netdev", "hubport,id=h0,hubid=0,netdev=n0",
		"-netdev", fmt.Sprintf("dgram,id=n1,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", filepath.Join(folder, "q"), filepath.Join(folder, "t")),
		"-netdev", "hubport,id=h1,hubid=0,netdev=n1")
}

// throughQEMU sends frames of several lengths into one element until they come
// out of the other, and then many of them without loss.
func throughQEMU(t *testing.T, from *plugged, came <-chan []byte) {
	t.Helper()
	probe := numbered(1<<20, 1, 60)
	if !nstest.Eventually(10*time.Second, func() bool {
		from.WriteFrames(probe)
		select {
		case <-came:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	}) {
		t.Fatalf("no frame comes through QEMU; the sender logged:\n%s", from.log)
	}
	for _, length := range []int{14, 60, 1514, 1522} {
		// QEMU 7.2 lets frames overtake each other while our queue is full.
		if err := from.WriteFrames(numbered(0, 40, length)); err != nil {
			t.Fatal(err)
		}
		expectAll(t, came, numbered(0, 40, length), probe[0].Data)
	}
}

// Frames go through QEMU's own code both ways: into our stream and out of our
// datagrams, and back. Each end begins anew once.
func TestQEMURelaysFrames(t *testing.T) {
	nstest.NeedPrograms(t, "qemu-system-x86_64")
	folder, port := t.TempDir(), freePort(t)
	path := filepath.Join(folder, "s")
	inet := strings.NewReplacer("HOST:PORT", port, "PORT", port[strings.LastIndex(port, ":")+1:])
	for name, test := range map[string]struct{ stream, element string }{
		"QEMU connects":          {"stream,id=n0,server=off,addr.type=unix,addr.path=" + path, "qemu/stream listen s"},
		"QEMU listens":           {"stream,id=n0,server=on,addr.type=unix,addr.path=" + path, "qemu/stream connect s"},
		"QEMU connects over TCP": {inet.Replace("stream,id=n0,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=PORT"), inet.Replace("qemu/stream listen tcp:HOST:PORT")},
		"QEMU listens over TCP":  {inet.Replace("stream,id=n0,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=PORT"), inet.Replace("qemu/stream connect tcp:HOST:PORT")},
	} {
		t.Run(name, func(t *testing.T) {
			stream := start(t, folder, test.element)
			dgram := start(t, folder, "qemu/dgram local t remote q")
			atStream, atDgram := reader(t, stream), reader(t, dgram)
			both := func() {
				t.Helper()
				throughQEMU(t, stream, atDgram)
				throughQEMU(t, dgram, atStream)
			}
			qemu := relay(t, folder, test.stream)
			stream.expect(t, "connected for")
			both()
			// Another QEMU takes the place of the first.
			qemu.Stop()
			stream.expectLines(t, "emulator has gone", 1)
			dgram.WriteFrames(numbered(0, 3, 60))
			if n := dgram.Counters().Write.Count(ethernet.Disconnected); n < 3 {
				t.Errorf("%d frames for the QEMU that is away are counted, want 3 at least", n)
			}
			relay(t, folder, test.stream)
			stream.expect(t, "connected for")
			both()
			for _, p := range []*plugged{stream, dgram} {
				expectCounts(t, &p.Counters().Read, nil)
			}
			// Our datagram end begins anew, and so does our stream where
			// QEMU, which listens, takes the next one.
			dgram.element.Close()
			dgram = start(t, folder, "qemu/dgram local t remote q")
			atDgram = reader(t, dgram)
			if strings.Contains(test.stream, "server=on") {
				stream.element.Close()
				stream = start(t, folder, test.element)
				atStream = reader(t, stream)
				stream.expect(t, "connected for")
			}
			both()
		})
	}
}

// A machine that QEMU boots from its network card asks for an address, each way in
// which the card is attached.
func TestQEMUBootsFromTheNetwork(t *testing.T) {
	nstest.NeedPrograms(t, "qemu-system-x86_64")
	folder, port := t.TempDir(), freePort(t)
	host, number, _ := net.SplitHostPort(port)
	for _, test := range []struct{ element, netdev string }{
		{"qemu/stream listen s", "stream,id=n0,server=off,addr.type=unix,addr.path=" + filepath.Join(folder, "s")},
		{"qemu/stream listen tcp:" + port, fmt.Sprintf("stream,id=n0,server=off,addr.type=inet,addr.host=%s,addr.port=%s", host, number)},
		{"qemu/dgram local t remote q", fmt.Sprintf("dgram,id=n0,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", filepath.Join(folder, "q"), filepath.Join(folder, "t"))},
	} {
		p := start(t, folder, test.element)
		came := reader(t, p)
		qemu := nstest.Start(t, "qemu-system-x86_64", "-machine", "pc", "-nodefaults", "-display", "none", "-m", "64",
			"-netdev", test.netdev, "-device", "e1000,netdev=n0,mac=52:54:00:12:34:56,bootindex=0")
		for patience := time.After(2 * time.Minute); ; {
			var frame []byte
			select {
			case frame = <-came:
			case <-patience:
				t.Fatalf("%s: the machine asks for no address; QEMU says:\n%s", test.element, qemu.Output())
			}
			// IPv4 without options, UDP to port 67, and there the client's address (RFC 2131, 2).
			if len(frame) > 14+20+8+34 && frame[12] == 8 && frame[13] == 0 && frame[23] == 17 && frame[37] == 67 {
				if got := net.HardwareAddr(frame[14+20+8+28:][:6]).String(); got != "52:54:00:12:34:56" {
					t.Errorf("%s: %s asks for an address", test.element, got)
				}
				break
			}
		}
		qemu.Stop()
		p.element.Close()
	}
}
