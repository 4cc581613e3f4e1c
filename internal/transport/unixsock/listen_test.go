package unixsock

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tmelink/internal/ethernet"
)

// networks are the addresses of every kind of connection that this platform has.
func networks(t *testing.T) []Address {
	all := []Address{{"unix", filepath.Join(t.TempDir(), "s")}, {"tcp", "127.0.0.1:0"}}
	if runtime.GOOS == "linux" {
		all = append(all, Address{"unixpacket", filepath.Join(t.TempDir(), "s")})
	}
	return all
}

// Each kind of connection carries frames both ways, waits for a slow reader, and
// gives what came before its end.
func TestConnections(t *testing.T) {
	for _, at := range networks(t) {
		for _, prefix := range []Prefix{Big32, Big16, Little16} {
			c := testConfig()
			c.Prefix = prefix
			server, client := connect(t, at, c)
			for _, way := range [][2]Conn{{server, client}, {client, server}} {
				done := make(chan error, 1)
				go func() { done <- way[0].WriteFrames(numbered(0, 3000, 1514)) }()
				collect(t, way[1], 0, 3000, 1514)
				if err := within(t, "the writer", done); err != nil {
					t.Fatalf("%s: %v", at, err)
				}
			}
			if at.Network == "tcp" && !strings.HasPrefix(server.Peer(), "127.0.0.1:") {
				t.Errorf("the peer is %q", server.Peer())
			}
			client.WriteFrames(numbered(0, 30, 100))
			client.Close()
			if runtime.GOOS == "linux" {
				for end := time.Now().Add(10 * time.Second); !server.Vanished(); time.Sleep(time.Millisecond) { // TCP takes a moment
					if time.Now().After(end) {
						t.Fatalf("%s: the end is not seen before what waits is read", at)
					}
				}
			}
			collect(t, server, 0, 30, 100)
			if _, err := server.ReadFrames(); err != ErrGone {
				t.Errorf("%s: behind the last frame there is %v", at, err)
			}
			if _, err := client.ReadFrames(); err != net.ErrClosed {
				t.Errorf("%s: closed, it reads %v", at, err)
			}
			if err := client.WriteFrames(numbered(0, 1, 60)); err != net.ErrClosed {
				t.Errorf("%s: closed, it writes %v", at, err)
			}
			server.Close()
			expectCounts(t, &c.Counters.Read, nil)
			expectCounts(t, &c.Counters.Write, nil)
		}
	}
}

func TestConnectionsCloseWakes(t *testing.T) {
	for _, at := range networks(t) {
		server, client := connect(t, at, testConfig())
		defer client.Close()
		done := make(chan error, 2)
		go func() {
			_, err := server.ReadFrames()
			done <- err
		}()
		go func() {
			for {
				if err := server.WriteFrames(numbered(0, 100, 1500)); err != nil {
					done <- err
					return
				}
			}
		}()
		select {
		case err := <-done:
			t.Fatalf("%s: nothing waits: %v", at, err)
		case <-time.After(100 * time.Millisecond):
		}
		if err := errors.Join(server.Close(), server.Close()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := within(t, "a goroutine", done); err != net.ErrClosed {
				t.Errorf("%s: woken with %v", at, err)
			}
		}
	}
}

// Another end that goes wakes who waits for it to read.
func TestConnectionsEndWakes(t *testing.T) {
	for _, at := range networks(t) {
		c := testConfig()
		server, client := connect(t, at, c)
		done := make(chan error, 1)
		go func() {
			for c.Counters.Write.Total() == 0 {
				server.WriteFrames(numbered(0, 100, 1500))
			}
			done <- nil
		}()
		time.Sleep(50 * time.Millisecond)
		client.Close()
		within(t, "the writer", done)
		if n := c.Counters.Write.Count(ethernet.Disconnected); n == 0 || n > 100 {
			t.Errorf("%s: %d of a batch of 100 are counted", at, n)
		}
		if _, err := server.ReadFrames(); err != ErrGone {
			t.Errorf("%s: the reader gets %v", at, err)
		}
		server.Close()
	}
}

func TestDialTellsWhere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := Address{"tcp", l.Addr().String()}
	if _, err := Listen(at, 0, testConfig()); err == nil || !strings.HasPrefix(err.Error(), "listen on tcp:127.0.0.1:") {
		t.Errorf("listen where somebody listens: %v", err)
	}
	l.Close()
	_, err = Dial(context.Background(), at, testConfig())
	if !Absent(err) || !strings.HasPrefix(err.Error(), "connect to tcp:127.0.0.1:") {
		t.Errorf("dial where nobody is: %v", err)
	}
}
