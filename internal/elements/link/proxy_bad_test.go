package link

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tmelink/internal/openvpn"
)

// breakOff is said by a proxy that resets the connection.
const breakOff = "reset"

// badProxy is one that says something to everybody and closes, or else waits until it is
// hung up on. It counts who has come.
type badProxy struct {
	port  int
	hangs bool
	says  atomic.Value // []byte
	came  atomic.Int64
}

func newBadProxy(t *testing.T, hangs bool, says string) *badProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &badProxy{port: portOf(l.Addr()), hangs: hangs}
	p.says.Store([]byte(says))
	var talks sync.WaitGroup
	talks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.came.Add(1)
			talks.Go(func() { p.talk(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); talks.Wait() })
	return p
}

func (p *badProxy) talk(conn net.Conn) {
	defer conn.Close()
	conn.Read(make([]byte, 4096)) // who connects speaks first
	text := p.says.Load().([]byte)
	if string(text) == breakOff {
		conn.(*net.TCPConn).SetLinger(0)
		return
	}
	if _, err := conn.Write(text); err == nil && p.hangs {
		io.Copy(io.Discard, conn)
	}
}

const (
	viaHTTP  = "--proto tcp-client --http-proxy 127.0.0.1 %d "
	viaSOCKS = "--proto %s --socks-proxy 127.0.0.1 %%d "
)

// A bad proxy is asked again and again, and told of once; another link of the process has
// nothing of it.
func TestBadProxiesAreToldOfOnce(t *testing.T) {
	goleakAtEnd(t)
	far := start(t, "--dev tap --local 127.0.0.1 --lport 0")
	other := start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d", far.local().Port()))
	header := "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 10000)
	for _, c := range []struct {
		name, words string
		hangs       bool
		says        string
		want        string
	}{
		{"rubbish for HTTP", viaHTTP, false, "SSH-2.0-OpenSSH_9.2p1\r\n", "not HTTP"},
		{"closes at once, HTTP", viaHTTP, false, "", "has closed the connection"},
		{"closes in the middle, HTTP", viaHTTP, false, "HTTP/1.1 200 OK\r\nVia:", "has closed the connection"},
		{"breaks off, HTTP", viaHTTP, false, breakOff, "reset"},
		{"hangs, HTTP", viaHTTP + "--connect-timeout 1 ", true, "", "it has not answered within 1s"},
		{"a header of 10 MB", viaHTTP, true, header, "longer than 65536 bytes"},
		{"a scheme that is lacking", viaHTTP + "auto --http-proxy-user-pass LOGIN ", true, "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\n\r\n", "offers negotiate; that is none"},
		{"rubbish for SOCKS", fmt.Sprintf(viaSOCKS, "tcp-client"), false, "HTTP/1.1 400 Bad\r\n\r\n", "does not speak SOCKS version 5"},
		{"rubbish for SOCKS, UDP", fmt.Sprintf(viaSOCKS, "udp"), false, "HTTP/1.1 400 Bad\r\n\r\n", "does not speak SOCKS version 5"},
		{"closes in the middle, SOCKS, UDP", fmt.Sprintf(viaSOCKS, "udp"), false, "\x05", "has closed the connection"},
		{"breaks off, SOCKS, UDP", fmt.Sprintf(viaSOCKS, "udp"), false, breakOff, "reset"},
		{"hangs, SOCKS, UDP", fmt.Sprintf(viaSOCKS, "udp") + "--connect-timeout 1 ", true, "\x05\x00", "it has not answered within 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			attempts := int64(10)
			if c.hangs { // each takes a while
				attempts = 3
			}
			p := newBadProxy(t, c.hangs, c.says)
			words := strings.Replace(fmt.Sprintf(c.words, p.port), "LOGIN", loginFile(t, "me\nhush\n"), 1)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			l := start(t, "--dev tap --nobind --remote peer.example 1194 --connect-retry 0 0 "+words)
			eventually(t, "attempts", func() bool { return p.came.Load() > attempts })
			runtime.ReadMemStats(&after)
			if each := (after.TotalAlloc - before.TotalAlloc) / uint64(p.came.Load()); each > 1<<20 {
				t.Errorf("each attempt has taken %d bytes", each)
			}
			log := l.told()
			if strings.Count(log, c.want) != 1 || strings.Count(log, "no connection") != 1 || strings.Contains(log, "hush") {
				t.Errorf("%q is not told once, or too much is:\n%s", c.want, log)
			}
			if strings.Count(log, "\n") > 6 || len(log) > 2000 {
				t.Errorf("much is told:\n%s", log)
			}
			seen := len(far.got())
			other.writeUntil("a frame over the other link", func() bool { return len(far.got()) > seen }, numbered(0))
		})
	}
	if strings.Contains(other.log.String()+far.log.String(), "lost") {
		t.Errorf("the other link was lost:\n%s%s", other.log, far.log)
	}
}

// What is new about a proxy is told, and a failure again after the peer was there.
func TestANewFailureOfAProxyIsTold(t *testing.T) {
	const down, closed = "HTTP/1.1 503 Down\r\n\r\n", "HTTP/1.1 403 Closed\r\n\r\n"
	p := newBadProxy(t, false, down)
	l := start(t, fmt.Sprintf("--dev tap --nobind --remote peer.example 1194 --connect-retry 0 0 "+viaHTTP, p.port))
	toldTimes := func(what string, n int) {
		t.Helper()
		seen := p.came.Load()
		eventually(t, "attempts", func() bool { return p.came.Load() > seen+5 })
		if got := strings.Count(l.told(), what); got != n {
			t.Errorf("%q is told %d times, want %d:\n%s", what, got, n, l.log)
		}
	}
	toldTimes("503 Down", 1)
	p.says.Store([]byte(closed))
	toldTimes("403 Closed", 1)
	p.says.Store(openvpn.AppendStream([]byte("HTTP/1.1 200 OK\r\n\r\n"), series(1)))
	eventually(t, "a frame of the peer", func() bool { return len(l.got()) > 0 })
	p.says.Store([]byte(down))
	toldTimes("503 Down", 2)
}
