package transport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/nstest"
	"tmelink/internal/openvpn"
)

// TestTCPPartialWrites: what the socket takes only a part of goes on where it
// stopped, and nothing of another goroutine's gets in between.
func TestTCPPartialWrites(t *testing.T) {
	server, client := tcpPairWith(t, Socket{SendBuffer: 1, ReceiveBuffer: 1}) // the kernel's least
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	inPacket, inLength := 0, 0 // where writes stopped: in an own packet or its length
	try := client.tx.try
	client.tx.try = func(fd uintptr) bool {
		done := try(fd)
		if b := client.tx.iovs; !done && len(b)%2 == 1 {
			inPacket++ // or before it
		} else if !done && b[0].Len == 1 {
			inLength++
		}
		return done
	}
	const most = 1768
	var sizes []int
	for len(sizes) < 1500 {
		size := 5 + r.IntN(most-5)
		if r.IntN(2) == 0 {
			size = 5 + r.IntN(30)
		}
		sizes = append(sizes, size)
	}
	packets := packetsOf(sizes, false)
	for i, p := range packets {
		p[0] = 'p'
		binary.BigEndian.PutUint32(p[1:], uint32(i))
	}
	const besides = 200
	beside := func(i int) []byte { return fmt.Appendf(nil, "beside %d %s", i, strings.Repeat("=", i*7%1500)) }
	var writing sync.WaitGroup
	writing.Go(func() {
		for rest := packets; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(700)) // and more than one call writes
			if err := client.WritePackets(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
	})
	writing.Go(func() {
		for i := range besides {
			if err := client.Send(beside(i), netip.AddrPort{}); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Duration(i%3) * 100 * time.Microsecond)
		}
	})
	stop := time.AfterFunc(20*time.Second, func() { server.Close() })
	defer stop.Stop()
	next, nextBeside, reads := 0, 0, 0
	for next < len(packets) || nextBeside < besides {
		got, err := server.ReadPackets()
		if err != nil {
			t.Fatalf("after %d packets and %d beside them: %v", next, nextBeside, err)
		}
		for _, p := range got {
			switch {
			case next < len(packets) && bytes.Equal(p, packets[next]):
				next++
			case nextBeside < besides && bytes.Equal(p, beside(nextBeside)):
				nextBeside++
			default:
				t.Fatalf("after %d packets and %d beside them came %.40q of %d bytes", next, nextBeside, p, len(p))
			}
		}
		if reads++; reads%20 == 0 {
			time.Sleep(time.Millisecond) // a slow reader
		}
	}
	writing.Wait()
	if inPacket == 0 {
		t.Error("every write was taken as a whole: the test shows nothing")
	}
	t.Logf("%d writes stopped in or before a packet, %d in its length", inPacket, inLength)
}

// TestTCPHoldsNoMemoryAtRest: an idle connection has no buffer, unless a packet
// has begun to come.
func TestTCPHoldsNoMemoryAtRest(t *testing.T) {
	server, client := tcpPair(t)
	waits := make(chan bool, 100) // with a buffer
	try := server.rx.try
	server.rx.try = func(fd uintptr) bool {
		done := try(fd)
		if !done {
			waits <- !reflect.ValueOf(server.stream).Elem().FieldByName("buf").IsNil()
		}
		return done
	}
	got := make(chan string, 10)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			packets, err := server.ReadPackets()
			if err != nil {
				return
			}
			for _, p := range packets {
				got <- string(p)
			}
		}
	}()
	waitsWith := func(what string, want bool) {
		t.Helper()
		for end := time.After(10 * time.Second); ; {
			select {
			case with := <-waits:
				if with == want {
					return
				}
			case <-end:
				t.Fatalf("%s: it does not come to wait with a buffer %v", what, want)
			}
		}
	}
	comes := func(want string) {
		t.Helper()
		select {
		case text := <-got:
			if text != want {
				t.Errorf("got %q, want %q", text, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q did not come", want)
		}
	}
	stream := openvpn.AppendStream(nil, [][]byte{[]byte("first"), []byte("second"), []byte("third")})
	waitsWith("before all", false)
	client.conn.Write(stream[:1]) // half of a length
	waitsWith("in a length", true)
	client.conn.Write(stream[1:10])
	comes("first")
	waitsWith("in a packet", true)
	client.conn.Write(stream[10:])
	comes("second")
	comes("third")
	waitsWith("at rest", false)
	client.conn.Write(stream)
	comes("first")
	server.Close()
	<-ended
}

func TestAdvance(t *testing.T) {
	data := []byte("0123456789abcdef")
	for _, c := range []struct {
		pieces []int
		n      int
		want   string // what is left, a piece between bars
	}{
		{[]int{2, 3, 4}, 0, "01|234|5678"},
		{[]int{2, 3, 4}, 1, "1|234|5678"},
		{[]int{2, 3, 4}, 2, "234|5678"},
		{[]int{2, 3, 4}, 4, "4|5678"},
		{[]int{2, 3, 4}, 5, "5678"},
		{[]int{2, 3, 4}, 8, "8"},
		{[]int{2, 3, 4}, 9, ""},
		{[]int{0, 3}, 0, "012"},
		{[]int{2, 0, 3}, 2, "234"},
		{[]int{2, 0, 3}, 3, "34"},
		{[]int{5}, 5, ""},
		{nil, 0, ""},
	} {
		var iovs []unix.Iovec
		at := 0
		for _, n := range c.pieces {
			iovs = append(iovs, unix.Iovec{Base: &data[at]})
			iovs[len(iovs)-1].SetLen(n)
			at += n
		}
		var left []string
		for _, v := range advance(iovs, c.n) {
			left = append(left, string(unsafe.Slice(v.Base, v.Len)))
		}
		if got := strings.Join(left, "|"); got != c.want {
			t.Errorf("%v without %d bytes is %q, want %q", c.pieces, c.n, got, c.want)
		}
	}
}

// TestTCPBatchesBeyondACall: the kernel takes 1024 pieces of memory at once.
func TestTCPBatchesBeyondACall(t *testing.T) {
	server, client := tcpPair(t)
	for _, n := range []int{tcpPackets - 1, tcpPackets, tcpPackets + 1, 3*tcpPackets + 7} {
		packets := packetsOf(same(n, 90), false)
		done := make(chan error, 1)
		go func() { done <- client.WritePackets(packets) }()
		compare(t, take(t, server, n), packets)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	b := tcpBatches.Take()
	defer tcpBatches.Give(b)
	if i := slices.IndexFunc(b.iovs[:], func(v unix.Iovec) bool { return v.Base != nil }); i >= 0 {
		t.Errorf("piece %d still points to what was sent", i)
	}
}

// TestTCPLosesNothingOfAnEndedStream: what came before the end is given first.
func TestTCPLosesNothingOfAnEndedStream(t *testing.T) {
	server, client := tcpPair(t)
	packets := packetsOf(same(200, 1500), false)
	go func() {
		client.WritePackets(packets)
		client.Close()
	}()
	compare(t, take(t, server, 200), packets)
	if !nstest.Eventually(10*time.Second, func() bool { _, err := server.ReadPackets(); return err == errHungUp }) {
		t.Error("the end is not told")
	}
}

func TestTCPHoldsBackWhatIsNotSent(t *testing.T) {
	_, client := tcpPair(t)
	err := client.raw.Control(func(fd uintptr) {
		if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); err != nil || got != unsent {
			t.Errorf("TCP_NOTSENT_LOWAT is %d, %v", got, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
