package transport

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/mmsg"
	"tmelink/internal/nstest"
	"tmelink/internal/openvpn/datachannel"
)

// controlMessage lays out a message as cmsg(3) says.
func controlMessage(level, kind int, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = int32(level), int32(kind)
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// sendJoined sends a super-datagram, to be cut into datagrams of a size.
func sendJoined(t *testing.T, from *net.UDPConn, to netip.AddrPort, data []byte, size int) {
	t.Helper()
	control := controlMessage(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, uint16(size)))
	if _, _, err := from.WriteMsgUDPAddrPort(data, control, to); err != nil {
		t.Skip("skipped: this kernel sends no super-datagrams:", err)
	}
}

// TestUDPCutsJoinedDatagrams: what is wrong with one of them concerns that one
// alone, and what is wrong with the sender all of them.
func TestUDPCutsJoinedDatagrams(t *testing.T) {
	peer, stranger := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	u, counters, _ := openUDP(t, UDPConfig{Remotes: []netip.AddrPort{portOf(peer)}, MaxPacket: 1000})
	data := packetsOf([]int{10300}, true)[0]
	sendJoined(t, stranger, u.Local(), data, 1000)
	sendJoined(t, peer, u.Local(), data, 1000)
	var want [][]byte
	for from := 0; from < len(data); from += 1000 {
		want = append(want, data[from:min(from+1000, len(data))])
	}
	compare(t, take(t, u, 11), want)
	if n := counters.Read.Count(ethernet.Stranger); n != 11 || counters.Read.Total() != n {
		t.Errorf("%d of strangers counted of %d dropped, want 11", n, counters.Read.Total())
	}
	sendJoined(t, peer, u.Local(), data, 1001)
	compare(t, take(t, u, 1), [][]byte{data[10*1001:]})
	if n := counters.Read.Count(ethernet.Oversize); n != 10 {
		t.Errorf("%d too long ones counted, want 10", n)
	}
}

func TestSplit(t *testing.T) {
	data := append(packetsOf([]int{2500}, true)[0], make([]byte, datachannel.Slack)...)
	for name, c := range map[string]struct {
		length, size int
		cut          bool
		want         []int
		oversize     uint64
	}{
		"one":                        {900, 900, false, []int{900}, 0},
		"one too long":               {1001, 1001, false, nil, 1},
		"one cut by the kernel":      {900, 900, true, nil, 1},
		"several":                    {2500, 1000, false, []int{1000, 1000, 500}, 0},
		"all but the last too long":  {2500, 1100, false, []int{300}, 2},
		"the last cut by the kernel": {2500, 1000, true, []int{1000, 1000}, 1},
		"all of one size, cut":       {2000, 1000, true, []int{1000}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			counters := &ethernet.Counters{}
			u := &UDP{config: UDPConfig{MaxPacket: 1000, Counters: counters}}
			r := receiver{u: u}
			packets := r.split(nil, data[:c.length], c.size, c.cut)
			if n := counters.Read.Count(ethernet.Oversize); n != c.oversize || len(packets) != len(c.want) {
				t.Fatalf("%d packets and %d too long ones, want %d and %d", len(packets), n, len(c.want), c.oversize)
			}
			from := 0
			if c.oversize == 2 {
				from = 2 * c.size
			}
			for i, p := range packets {
				if !bytes.Equal(p, data[from:from+c.want[i]]) || cap(p) != len(p)+datachannel.Slack {
					t.Errorf("packet %d has %d bytes, want %d", i, len(p), c.want[i])
				}
				from += len(p)
			}
		})
	}
}

func TestSegmentSize(t *testing.T) {
	number := func(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }
	whole := unix.CmsgLen(4)
	for name, c := range map[string]struct {
		control []byte
		length  int // of the control message
		want    int
	}{
		"joined":            {controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, number(1000)), whole, 1000},
		"nothing":           {controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, number(1000)), 0, 0},
		"half a number":     {controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, number(1000)), whole - 2, 0},
		"of another level":  {controlMessage(unix.IPPROTO_IP, unix.UDP_GRO, number(1000)), whole, 0},
		"of another kind":   {controlMessage(unix.IPPROTO_UDP, unix.UDP_SEGMENT, number(1000)), whole, 0},
		"as long as all":    {controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, number(5000)), whole, 0},
		"longer than all":   {controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, number(5001)), whole, 0},
		"no size":           {controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, number(0)), whole, 0},
		"less than no size": {controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, number(-1000)), whole, 0},
	} {
		control := *(*intControl)(unsafe.Pointer(&c.control[0]))
		m := &mmsg.Header{Len: 5000}
		m.SetControllen(c.length)
		if got, ok := control.segmentSize(m); ok != (c.want > 0) || ok && got != c.want {
			t.Errorf("%s: size %d, %v; want %d", name, got, ok, c.want)
		}
	}
}

// TestUDPAsksForAsManyAsCome: the kernel's price of a call grows with what it is
// asked for, also where little comes.
func TestUDPAsksForAsManyAsCome(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	u, _, _ := openUDP(t, UDPConfig{})
	roomy(t, u.conn, 200)
	send := func(n int) {
		for range n {
			peer.WriteToUDPAddrPort([]byte("x"), u.Local())
		}
	}
	reads := func(want ...int) {
		t.Helper()
		for _, n := range want {
			packets, err := u.ReadPackets()
			if err != nil {
				t.Fatal(err)
			}
			if len(packets) != n {
				t.Fatalf("a batch of %d, want %d", len(packets), n)
			}
		}
	}
	asksFor := func(want int) {
		t.Helper()
		if u.rx.slots != want {
			t.Errorf("%d are asked for, want %d", u.rx.slots, want)
		}
	}
	asksFor(joinedSlots)
	send(180) // many by themselves
	reads(joinedSlots, receiveSlots, receiveSlots)
	asksFor(receiveSlots)
	reads(180 - joinedSlots - 2*receiveSlots)
	asksFor(joinedSlots)

	sendJoined(t, peer, u.Local(), make([]byte, 20000), 1000) // joined ones
	for range joinedSlots {
		sendJoined(t, peer, u.Local(), make([]byte, 20000), 1000)
	}
	reads(20 * joinedSlots)
	asksFor(joinedSlots)
	reads(20)
	asksFor(joinedSlots)

	// One that is waited for. It may have come before the socket was asked, but
	// not time and again.
	if !nstest.Eventually(10*time.Second, func() bool {
		time.AfterFunc(20*time.Millisecond, func() { send(1) })
		reads(1)
		return u.rx.slots == 1
	}) {
		t.Fatal("a lone datagram does not come to be expected alone")
	}
	send(30) // company again
	reads(1, joinedSlots, 30-1-joinedSlots)
	asksFor(joinedSlots)
}

// TestUDPHoldsNoMemoryAtRest: the memory of a batch goes back before a socket
// waits.
func TestUDPHoldsNoMemoryAtRest(t *testing.T) {
	peer := plain(t, "127.0.0.1:0")
	u, _, _ := openUDP(t, UDPConfig{})
	waits := make(chan struct{}, 10)
	try := u.rx.try
	u.rx.try = func(fd uintptr) bool {
		done := try(fd)
		if !done {
			if u.rx.batch != nil {
				t.Error("it waits with memory for a batch")
			}
			select {
			case waits <- struct{}{}:
			default:
			}
		}
		return done
	}
	got := make(chan string, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			packets, err := u.ReadPackets()
			if err != nil {
				return
			}
			for _, p := range packets {
				got <- string(p)
			}
		}
	}()
	for _, text := range []string{"one", "two"} {
		peer.WriteToUDPAddrPort([]byte(text), u.Local())
		select {
		case g := <-got:
			if g != text {
				t.Errorf("got %q, want %q", g, text)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nothing came")
		}
		select {
		case <-waits:
		case <-time.After(10 * time.Second):
			t.Fatal("it does not come to wait")
		}
	}
	u.Close()
	<-done
}
