package transport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn"
)

func tcpConfig() TCPConfig {
	return TCPConfig{Local: loopback, MaxPacket: 1768, Counters: &ethernet.Counters{}, Log: (&log{}).logger()}
}

func tcpPair(t testing.TB) (server, client *TCP) { return tcpPairWith(t, Socket{}) }

func tcpPairWith(t testing.TB, socket Socket) (server, client *TCP) {
	t.Helper()
	c := tcpConfig()
	c.Socket = socket
	l := listen(t, ListenConfig{TCPConfig: c})
	var err error
	if client, err = Dial(context.Background(), c, to(l.Local()), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	server = accept(t, l)
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

func TestTCPCarriesBatches(t *testing.T) {
	server, client := tcpPair(t)
	if server.Peer() != client.Local() || client.Peer() != server.Local() {
		t.Fatalf("%v is connected to %v, %v to %v", client.Local(), client.Peer(), server.Local(), server.Peer())
	}
	for _, way := range [][2]Conn{{server, client}, {client, server}} {
		if err := way[0].WritePackets(texts("packet %d", 100)); err != nil {
			t.Fatal(err)
		}
		way[0].Send([]byte("beside"), netip.AddrPort{})
		got := gather(t, way[1], 101)
		for i := range 100 {
			if want := fmt.Sprintf("packet %d", i); got[i] != want {
				t.Fatalf("packet %d is %q", i, got[i])
			}
		}
		if got[100] != "beside" {
			t.Fatalf("then %q", got[100])
		}
	}
}

func TestTCPOfSingleBytesAndOfOneSegment(t *testing.T) {
	server, client := tcpPair(t)
	stream := openvpn.AppendStream(nil, texts("packet %d", 100))
	go func() {
		for i := range stream {
			client.conn.Write(stream[i : i+1])
		}
		client.conn.Write(stream)
	}()
	for i, got := range gather(t, server, 200) {
		if want := fmt.Sprintf("packet %d", i%100); got != want {
			t.Fatalf("packet %d is %q", i, got)
		}
	}
}

func TestTCPPacketsBeforeABadLengthCount(t *testing.T) {
	for name, bad := range map[string]string{"0": "\x00\x00", "65535": "\xff\xff"} {
		server, client := tcpPair(t)
		client.conn.Write(append(openvpn.AppendStream(nil, texts("packet %d", 3)), bad...))
		gather(t, server, 3)
		if _, err := server.ReadPackets(); err == nil || !strings.Contains(err.Error(), "packet length "+name) {
			t.Errorf("length %s: %v", name, err)
		}
		if n := server.counters.Read.Count(ethernet.Malformed); n != 1 {
			t.Errorf("length %s: %d counted", name, n)
		}
	}
}

func TestTCPForeignStreamIsLost(t *testing.T) {
	server, client := tcpPair(t)
	client.conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
	if _, err := server.ReadPackets(); err == nil || err == net.ErrClosed {
		t.Fatalf("got %v", err)
	}
}

func TestTCPPeerGone(t *testing.T) {
	server, client := tcpPair(t)
	client.conn.CloseWrite() // half of the connection is of no use
	if _, err := server.ReadPackets(); err == nil || err.Error() != "the peer has closed the connection" {
		t.Fatalf("got %v", err)
	}
}

func TestTCPBlockedWriteIsWokenByClose(t *testing.T) {
	_, client := tcpPair(t) // whose server does not read
	// Both write until they cannot: when the buffers are full, a kernel on a busy
	// machine may still make room again.
	done := make(chan error, 2)
	var progress atomic.Int64
	until := func(write func() error) {
		for {
			if err := write(); err != nil {
				done <- err
				return
			}
			progress.Add(1)
		}
	}
	packets := [][]byte{make([]byte, 1700), make([]byte, 1700), make([]byte, 1700)}
	go until(func() error { return client.WritePackets(packets) })
	go until(func() error { return client.Send(packets[0], netip.AddrPort{}) })
	for before := int64(-1); before != progress.Load(); time.Sleep(100 * time.Millisecond) {
		before = progress.Load()
	}
	client.Close()
	for range 2 {
		select {
		case err := <-done:
			if err != net.ErrClosed {
				t.Errorf("got %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a writer still waits")
		}
	}
	if n := client.counters.Write.Count(ethernet.Disconnected); n != 3 {
		t.Errorf("%d packets counted, want 3", n)
	}
}

func TestClientTakesItsPortAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	route := Route{To: addrPort(l.Addr())}
	for range 5 {
		conn, err := Dial(context.Background(), tcpConfig(), []Route{route}, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		route.Local = conn.Local()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		server.Close()
	}
}
