package transport

import (
	"fmt"
	"net/netip"
	"testing"
)

// batchSizes are the packets of which batches are measured: the least frame, and
// what fits a path of 1500 bytes together with the headers.
var batchSizes = []int{64, 1464}

func batchOf(size int) [][]byte {
	batch := make([][]byte, 64)
	for i := range batch {
		batch[i] = make([]byte, size)
	}
	return batch
}

// room is what a batch needs that is written before it is read.
var room = Socket{SendBuffer: 1 << 20, ReceiveBuffer: 1 << 20}

// udpPair is two sockets that have heard each other, of which one has a fixed
// peer.
func udpPair(t testing.TB) (floating, fixed *UDP) {
	t.Helper()
	floating, _, _ = openUDP(t, UDPConfig{Socket: room})
	fixed, _, _ = openUDP(t, UDPConfig{Socket: room, Remotes: []netip.AddrPort{floating.Local()}})
	carry(t, fixed, floating, texts("hello", 1))
	carry(t, floating, fixed, texts("hello", 1))
	return floating, fixed
}

// sharedPair is udpPair at a port that several share.
func sharedPair(t testing.TB) (floating, fixed *UDP) {
	t.Helper()
	local := freePort(t, loopback.Addr())
	fixed, _, _ = openUDP(t, UDPConfig{Socket: room, Remotes: []netip.AddrPort{local}})
	openUDP(t, UDPConfig{Socket: room, Local: local, Remotes: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}})
	floating, _, _ = openUDP(t, UDPConfig{Socket: room, Local: local})
	carry(t, fixed, floating, texts("hello", 1))
	carry(t, floating, fixed, texts("hello", 1))
	return floating, fixed
}

// carry brings a batch from one Conn to the other.
func carry(t testing.TB, from, to Conn, batch [][]byte) {
	if err := from.WritePackets(batch); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(batch); {
		packets, err := to.ReadPackets()
		if err != nil {
			t.Fatal(err)
		}
		n += len(packets)
	}
}

func TestBatchesAllocateNothing(t *testing.T) {
	floating, fixed := udpPair(t)
	shared, peer := sharedPair(t)
	server, client := tcpPairWith(t, room)
	for name, pair := range map[string][2]Conn{"UDP": {floating, fixed}, "shared UDP": {shared, peer}, "TCP": {server, client}} {
		for _, size := range batchSizes {
			batch := batchOf(size)
			if n := testing.AllocsPerRun(50, func() {
				carry(t, pair[0], pair[1], batch)
				carry(t, pair[1], pair[0], batch)
			}); n != 0 {
				t.Errorf("%s: %v allocations for 64 packets of %d bytes each way", name, n, size)
			}
		}
	}
}

func BenchmarkUDPBatch(b *testing.B) {
	floating, fixed := udpPair(b)
	benchmarkBatch(b, fixed, floating)
}

func BenchmarkSharedUDPBatch(b *testing.B) {
	floating, fixed := sharedPair(b)
	benchmarkBatch(b, fixed, floating)
}

func BenchmarkTCPBatch(b *testing.B) {
	server, client := tcpPairWith(b, room)
	benchmarkBatch(b, server, client)
}

func benchmarkBatch(b *testing.B, from, to Conn) {
	for _, size := range batchSizes {
		batch := batchOf(size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(batch) * size))
			b.ReportAllocs()
			for b.Loop() {
				carry(b, from, to, batch)
			}
		})
	}
}
