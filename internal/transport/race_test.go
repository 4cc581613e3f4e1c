package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// to are the routes to one address.
func to(a netip.AddrPort) []Route { return []Route{{To: a}} }

func TestAlternate(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "[]",
		"10.0.0.1":                     "[10.0.0.1]",
		"::1 ::2 10.0.0.1 10.0.0.2":    "[::1 10.0.0.1 ::2 10.0.0.2]",
		"10.0.0.1 ::1 ::2 ::3":         "[10.0.0.1 ::1 ::2 ::3]",
		"10.0.0.1 10.0.0.2 ::1":        "[10.0.0.1 ::1 10.0.0.2]",
		"::1 ::2 ::3 10.0.0.1 ::4 ::5": "[::1 10.0.0.1 ::2 ::3 ::4 ::5]",
	} {
		var addrs []netip.Addr
		for _, a := range strings.Fields(text) {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		if got := fmt.Sprint(Alternate(addrs)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestDialTellsOfEveryAddress(t *testing.T) {
	a, b := netip.MustParseAddrPort("127.0.0.9:1"), netip.MustParseAddrPort("127.0.0.8:1")
	nowhere := Route{Local: netip.MustParseAddrPort("192.0.2.1:0"), To: a}
	_, err := Dial(context.Background(), tcpConfig(), []Route{{To: a}, nowhere, {To: b}}, time.Minute)
	const want = "connect to tcp 127.0.0.9:1: connection refused; connect to tcp 127.0.0.8:1: connection refused"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	_, err = Dial(context.Background(), tcpConfig(), []Route{nowhere, nowhere}, time.Minute)
	if bind := (*BindError)(nil); !errors.As(err, &bind) {
		t.Errorf("%T: %v", err, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = Dial(ctx, tcpConfig(), []Route{{To: a}, {To: b}}, time.Minute); err == nil {
		t.Error("connected after the end")
	}
}

// What has come before an interruption is not lost by it.
func TestInterrupt(t *testing.T) {
	check := func(t *testing.T, reader, writer Conn) {
		t.Helper()
		for range 3 {
			ended := make(chan error)
			go func() {
				_, err := reader.ReadPackets()
				ended <- err
			}()
			time.Sleep(10 * time.Millisecond) // mostly it waits already; it need not
			reader.Interrupt()
			if err := <-ended; !errors.Is(err, ErrInterrupted) {
				t.Fatalf("the read ended with %v", err)
			}
		}
		if err := writer.WritePackets([][]byte{[]byte("hello")}); err != nil {
			t.Fatal(err)
		}
		if got := gather(t, reader, 1); got[0] != "hello" {
			t.Errorf("read %q", got)
		}
	}
	t.Run("udp", func(t *testing.T) {
		a, b := udpPair(t)
		check(t, a, b)
	})
	t.Run("tcp", func(t *testing.T) {
		server, client := tcpPair(t)
		check(t, server, client)
	})
}
