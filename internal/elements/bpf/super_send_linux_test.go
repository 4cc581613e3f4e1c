package bpf

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/frametest"
	"tmelink/internal/nstest"
)

// kinds are a flow of each kind that is joined, between two stations beyond the
// interfaces.
func kinds() map[string]frametest.Flow {
	v4 := frametest.Flow{
		Dst: machine, Src: other,
		To: netip.MustParseAddrPort("10.9.0.1:5001"), From: netip.MustParseAddrPort("10.9.0.2:5002"),
	}
	v6 := v4
	v6.To, v6.From = netip.MustParseAddrPort("[fd00:9::1]:5001"), netip.MustParseAddrPort("[fd00:9::2]:5002")
	all := map[string]frametest.Flow{}
	for family, f := range map[string]frametest.Flow{"IPv4": v4, "IPv6": v6} {
		for _, f.TCP = range []bool{false, true} {
			for _, f.VLAN = range []uint16{0, 0x6007} {
				all[fmt.Sprintf("%s, TCP %v, tag %#x", family, f.TCP, f.VLAN)] = f
			}
		}
	}
	return all
}

// ofFlow says of a frame that it is of such a flow, and none of the host's.
func ofFlow(f *ethernet.Frame) bool { return ethernet.Src(f.Data) == other }

// read reads frames of the flow until n bytes of data came, or more. They must come in
// time.
func read(t *testing.T, p *port, n int) (all []ethernet.Frame) {
	t.Helper()
	defer time.AfterFunc(wait, func() { p.Close() }).Stop()
	for n > 0 {
		frames, err := p.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if !ofFlow(&f) {
				continue
			}
			f.Data = bytes.Clone(f.Data)
			all = append(all, f)
			n -= len(f.Data)
		}
	}
	return all
}

// TestSendsSuperFrames: frames of a flow go through the kernel as one, tagged or
// not, which another packet socket sees whole.
func TestSendsSuperFrames(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	out, in := start(t, "interface v0", nil), start(t, "interface v1", nil)
	for name, f := range kinds() {
		want := f.Super(frametest.Pattern(20300), 1000)
		if err := out.WriteFrames(f.Frames(frametest.Pattern(20300), 1000)); err != nil {
			t.Fatal(err)
		}
		got := read(t, in, len(want.Data))
		if len(got) != 1 || !bytes.Equal(got[0].Data, want.Data) {
			t.Errorf("%s: %d frames arrive, the first of %d bytes; want one of %d, or its content is another", name, len(got), len(got[0].Data), len(want.Data))
			continue
		}
		got[0].Data, want.Data = nil, nil
		if fmt.Sprint(got[0]) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", name, got[0], want)
		}
	}
	if n := out.Counters().Write.Total() + in.Counters().Read.Total(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// TestSuperFramesArriveCut where the interface has no offloads: the frames are
// those that were written, to the last byte.
func TestSuperFramesArriveCut(t *testing.T) {
	alone(t)
	nstest.NeedPrograms(t, "ethtool")
	veth(t, "v0", "v1")
	if out, err := exec.Command("ethtool", "-K", "v0", "tx", "off", "sg", "off", "tso", "off", "gso", "off",
		"tx-udp-segmentation", "off", "tx-vlan-offload", "off", "tx-gso-list", "off").CombinedOutput(); err != nil {
		t.Fatalf("ethtool: %v: %s", err, out)
	}
	out, in := start(t, "interface v0", nil), start(t, "interface v1", nil)
	for name, f := range kinds() {
		frames := f.Frames(frametest.Pattern(20300), 1000)
		total := 0
		for _, one := range frames {
			total += len(one.Data)
		}
		if err := out.WriteFrames(f.Frames(frametest.Pattern(20300), 1000)); err != nil {
			t.Fatal(err)
		}
		got := read(t, in, total)
		if len(got) != len(frames) {
			t.Errorf("%s: %d frames arrive of %d", name, len(got), len(frames))
			continue
		}
		for i := range got {
			if got[i].Needs != 0 || !bytes.Equal(got[i].Data, frames[i].Data) {
				t.Errorf("%s: frame %d arrives with %d bytes and needs %v; want %d, or its content is another\n%x\n%x",
					name, i, len(got[i].Data), got[i].Needs, len(frames[i].Data), got[i].Data[:60], frames[i].Data[:60])
				break
			}
		}
	}
	if n := out.Counters().Write.Total() + in.Counters().Read.Total(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// TestMixedBatchesArriveInOrder: what is joined does not overtake what is not, and
// more than a call takes goes in several.
func TestMixedBatchesArriveInOrder(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	out, in := start(t, "interface v0", nil), start(t, "interface v1", nil)
	var batch []ethernet.Frame
	var want [][]byte
	id := uint32(0)
	for round := range 20 {
		for _, f := range kinds() {
			batch = append(batch, f.Frames(frametest.Pattern(1000*(1+round%3)+round), 1000)...)
			for range round % 4 {
				id++
				batch = append(batch, ethernet.Frame{Data: frame(machine, other, id)})
			}
		}
	}
	total := 0
	for _, f := range batch {
		want = append(want, bytes.Clone(f.Data))
		total += len(f.Data)
	}
	if len(batch) < 4*sendSlots {
		t.Fatal("the test makes no more than", len(batch))
	}
	go out.WriteFrames(batch)
	var s ethernet.Segmenter
	var drops ethernet.Drops
	i := 0
	for i < len(want) {
		frames, err := in.ReadFrames()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.Finish(frames, 0, ethernet.MaxFrameLen, &drops) {
			if !ofFlow(&f) {
				continue
			}
			if i == len(want) || !bytes.Equal(f.Data, want[i]) {
				t.Fatalf("frame %d of %d arrives with %d bytes, or its content is another", i, len(want), len(f.Data))
			}
			i++
		}
	}
	if n := out.Counters().Write.Total() + in.Counters().Read.Total() + drops.Total(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// TestRefusedSuperFramesCountAsFrames: whoever looks at the counters knows nothing
// of what was joined.
func TestRefusedSuperFramesCountAsFrames(t *testing.T) {
	alone(t)
	veth(t, "v0", "v1")
	p := start(t, "interface v0", nil)
	ip(t, "link", "set", "v0", "down")
	f := kinds()["IPv4, TCP true, tag 0x0"]
	batch := append(f.Frames(frametest.Pattern(20300), 1000), ethernet.Frame{Data: frame(machine, other, 1)})
	if len(batch) != 22 {
		t.Fatal("the test makes", len(batch))
	}
	if err := p.WriteFrames(batch); err != nil {
		t.Fatal(err)
	}
	if n := p.Counters().Write.Count(ethernet.InterfaceDown); n != 22 || p.Counters().Write.Total() != 22 {
		t.Errorf("dropped %v, want 22 frames", drops(&p.Counters().Write))
	}
}
