package main

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// packet is an IPv4 packet in its frame, with options of so many bytes.
func packet(proto byte, options int, port uint16) []byte {
	p := make([]byte, 14+20+options+8)
	binary.BigEndian.PutUint16(p[12:], unix.ETH_P_IP)
	p[14] = 4<<4 | byte((20+options)/4)
	p[14+9] = proto
	binary.BigEndian.PutUint16(p[14+20+options+2:], port)
	return p
}

func TestOfTunnel(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"UDP", packet(unix.IPPROTO_UDP, 0, 1194), true},
		{"TCP", packet(unix.IPPROTO_TCP, 0, 1194), true},
		{"with options", packet(unix.IPPROTO_TCP, 8, 1194), true},
		{"to another port", packet(unix.IPPROTO_UDP, 0, 53), false},
		{"ICMP", packet(unix.IPPROTO_ICMP, 0, 1194), false},
		{"cut in the ports", packet(unix.IPPROTO_UDP, 40, 1194)[:14+20+40+3], false},
		{"cut in the header", packet(unix.IPPROTO_UDP, 0, 1194)[:30], false},
		{"a knock", knockOf(0), false},
		{"nothing", nil, false},
	} {
		if got := ofTunnel(c.frame); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

func TestEarNotesTheFirst(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	e := &ear{name: 1}
	outer := packet(unix.IPPROTO_UDP, 0, 1194)
	for _, h := range []struct {
		frame    []byte
		outgoing bool
		ms       int64
	}{
		{outer, false, 1}, // the peer's
		{knockOf(1), true, 2},
		{knockOf(1), false, 3}, // its own, come back
		{outer, true, 4},
		{outer, true, 5},
		{knockOf(0), false, 6},
		{knockOf(0), false, 7},
		{nil, false, 8},
	} {
		e.heard(h.frame, h.outgoing, at(h.ms))
	}
	if !e.sent.Equal(at(4)) || !e.knocked.Equal(at(6)) {
		t.Errorf("the first packet at %v, the first knock at %v; want at 4 and 6 ms", e.sent, e.knocked)
	}
}

func TestLater(t *testing.T) {
	a, b := time.UnixMilli(1), time.UnixMilli(2)
	if !later(a, b).Equal(b) || !later(b, a).Equal(b) {
		t.Error("the earlier one was taken")
	}
	if !later(a, time.Time{}).IsZero() || !later(time.Time{}, a).IsZero() {
		t.Error("one that is not known was taken for known")
	}
}

func TestTimeOf(t *testing.T) {
	if when, err := timeOf(nil); err == nil {
		t.Errorf("of nothing: %v", when)
	}
	if when, err := timeOf([]byte{9, 9, 9}); err == nil {
		t.Errorf("of what is no control message: %v", when)
	}
	when := time.Unix(1700000000, 123456789)
	data := binary.NativeEndian.AppendUint64(nil, uint64(when.Unix()))
	data = binary.NativeEndian.AppendUint64(data, uint64(when.Nanosecond()))
	header := unix.Cmsghdr{Level: unix.SOL_SOCKET, Type: unix.SCM_TIMESTAMPNS}
	header.SetLen(unix.CmsgLen(len(data)))
	control := make([]byte, unix.CmsgSpace(len(data)))
	if _, err := binary.Encode(control, binary.NativeEndian, header); err != nil {
		t.Fatal(err)
	}
	copy(control[unix.CmsgLen(0):], data)
	if got, err := timeOf(control); err != nil || !got.Equal(when) {
		t.Errorf("got %v, %v; want %v", got, err, when)
	}
}
