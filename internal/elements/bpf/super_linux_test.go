package bpf

import (
	"io"
	"net"
	"os/exec"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/nstest"
)

// What the host sends through a card that segments and sums for it comes as
// super-frames that say what is missing.
func TestHostsSuperFrames(t *testing.T) {
	alone(t)
	nstest.Need(t, "socat")
	peer := nstest.New(t, "peer")
	ip(t, "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", peer.Name)
	t.Cleanup(func() { exec.Command("ip", "link", "del", "v0").Run() })
	quiet(t, "v0")
	ip(t, "addr", "add", "10.5.0.1/24", "dev", "v0")
	ip(t, "link", "set", "v0", "up")
	peer.IP("addr", "add", "10.5.0.2/24", "dev", "v1")
	peer.IP("link", "set", "v1", "up")
	const total = 1 << 20
	sink := peer.Start("socat", "-u", "TCP4-LISTEN:5001", "OPEN:/dev/null")
	var conn net.Conn
	if !nstest.Eventually(wait, func() bool {
		c, err := net.DialTimeout("tcp4", "10.5.0.2:5001", time.Second)
		conn = c
		return err == nil
	}) {
		t.Fatal("no connection; the sink says " + sink.Output())
	}
	defer conn.Close()
	p := start(t, "interface v0", nil)
	go func() {
		io.CopyN(conn, zeros{}, total)
		conn.Close()
	}()
	super, payload := 0, 0
	for payload < total {
		frames, err := p.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			h, err := ethernet.ParseHeader(f.Data)
			if err != nil || h.Type != ethernet.TypeIPv4 || f.Data[23] != 6 || f.Data[29] != 1 { // TCP of ours
				continue
			}
			data := len(f.Data) - 34 - int(f.Data[46]>>4)*4
			payload += data
			if f.Needs&ethernet.TSO4 != 0 {
				super++
				if f.Needs&ethernet.Checksum == 0 || f.ChecksumStart != 34 || f.ChecksumOffset != 16 || data <= int(f.SegmentSize) {
					t.Errorf("%d bytes with needs %b, segments of %d, checksum at %d+%d", data, f.Needs, f.SegmentSize, f.ChecksumStart, f.ChecksumOffset)
				}
			} else if len(f.Data) > ethernet.FrameLen(1500) {
				t.Errorf("a frame of %d bytes that is no super-frame", len(f.Data))
			}
		}
	}
	if super == 0 {
		t.Error("no super-frame was seen")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// frames goes through two ports without an allocation.
func TestPortsDoNotAllocate(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	out, in := start(t, "interface v0", filterOf(other)), start(t, "interface v1", filterOf(machine))
	batch := make([]ethernet.Frame, 40)
	for i := range batch {
		batch[i].Data = frame(machine, other, uint32(i))
	}
	if n := testing.AllocsPerRun(200, func() { pass(t, out, in, batch) }); n != 0 {
		t.Errorf("%v allocations for %d frames", n, len(batch))
	}
}

// pass sends a batch and reads it at the other end.
func pass(t testing.TB, out, in *port, batch []ethernet.Frame) {
	if err := out.WriteFrames(batch); err != nil {
		t.Fatal(err)
	}
	for got := 0; got < len(batch); {
		frames, err := in.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		got += len(frames)
	}
}

func BenchmarkVeth(b *testing.B) {
	nstest.InNamespace(b)
	veth(b, "v0", "v1")
	out, in := start(b, "interface v0", filterOf(other)), start(b, "interface v1", filterOf(machine))
	batch := make([]ethernet.Frame, 32)
	for i := range batch {
		batch[i].Data = append(frame(machine, other, uint32(i)), make([]byte, 1450)...)
	}
	b.SetBytes(int64(len(batch) * len(batch[0].Data)))
	b.ReportAllocs()
	for b.Loop() {
		pass(b, out, in, batch)
	}
}
