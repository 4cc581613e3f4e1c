package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/transport/proxy"
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

// Who does not answer is told of with the option that says how long to wait; but where
// another limit comes first, that is it.
func TestDialTellsOfTheTimeout(t *testing.T) {
	at, peer := mute(t), proxy.Target{Host: "peer.example", Port: 1194}
	const timeout = 50 * time.Millisecond
	told := fmt.Sprintf("connect to tcp %v: it has not answered within 50ms (--connect-timeout)", at)
	_, err := Dial(t.Context(), tcpConfig(), to(at), timeout)
	if err == nil || err.Error() != told {
		t.Errorf("%v, want %s", err, told)
	}
	if _, err = Dial(t.Context(), tcpConfig(), []Route{{To: at}, {To: at}}, time.Second); err == nil || strings.Count(err.Error(), "within 1s (--connect-timeout)") != 2 {
		t.Errorf("of two addresses: %v", err)
	}
	_, errTCP := DialThrough(t.Context(), tcpConfig(), to(at), &proxy.SOCKS{}, peer, timeout)
	_, errUDP := Associate(t.Context(), RelayedConfig{Proxy: to(at), Remote: peer, Timeout: timeout})
	for _, err := range []error{errTCP, errUDP} {
		if want := fmt.Sprintf("reach %v through the proxy %v: %s", peer, at, told); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), timeout, errors.New("the scout has no time"))
	defer cancel()
	if _, err := Dial(ctx, tcpConfig(), to(at), time.Hour); err == nil || !strings.HasSuffix(err.Error(), ": the scout has no time") {
		t.Errorf("%v", err)
	}
}
