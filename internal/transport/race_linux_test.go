package transport

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mute is an address that answers no attempt to connect: a listener whose backlog is
// full.
func mute(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var shortened error
	if err := raw.Control(func(fd uintptr) { shortened = unix.Listen(int(fd), 0) }); err != nil || shortened != nil {
		t.Fatal(err, shortened)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	for range 8 {
		conn, err := net.DialTimeout("tcp", at.String(), 200*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the backlog takes any number")
	return at
}

// A name may have an address that is silent and one that refuses; the one that
// answers is taken all the same, and nothing is left of the others.
func TestDialTakesTheFirstThatAnswers(t *testing.T) {
	l := listen(t, ListenConfig{TCPConfig: tcpConfig()})
	refused := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), l.Local().Port())
	routes := []Route{{To: mute(t)}, {To: refused}, {To: l.Local()}}
	conn, err := Dial(context.Background(), tcpConfig(), routes, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.Peer() != l.Local() {
		t.Errorf("connected to %v", conn.Peer())
	}
}
