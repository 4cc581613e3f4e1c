package link

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tmelink/internal/nstest"
	"tmelink/internal/openvpn"
)

// webServer is a TLS server that has size pseudo-random bytes, and their checksum.
func webServer(t *testing.T, size int64) (port int, sum string) {
	t.Helper()
	source := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{5}), size) }
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, source()) }))
	t.Cleanup(s.Close)
	h := sha256.New()
	io.Copy(h, source())
	return portOf(s.Listener.Addr()), fmt.Sprintf("%x", h.Sum(nil))
}

// download fetches all over HTTPS and gives its checksum.
func download(t *testing.T, port int) string {
	t.Helper()
	way := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // it is the test's own
	defer way.CloseIdleConnections()
	client := http.Client{Transport: way, Timeout: 2 * patience}
	r, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/", port))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r.Body); err != nil {
		t.Error(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestTwoLinksAndAWebServerShareAPort: each gets its own, all at once, and goes on
// when another ends.
func TestTwoLinksAndAWebServerShareAPort(t *testing.T) {
	goleakAtEnd(t)
	web, sum := webServer(t, 10_000_000)
	port := freePort(t)
	journal := t.TempDir()
	at := fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d --proto tcp-server ", port)
	one := start(t, at+fmt.Sprintf("--remote 127.0.0.2 --port-share 127.0.0.1 %d %s", web, journal))
	two := start(t, at+"--remote 127.0.0.3")
	peer := func(addr string) *testLink {
		return start(t, fmt.Sprintf("--local %s --lport 0 --proto tcp-client --remote 127.0.0.1 %d --connect-retry 0", addr, port))
	}
	peerOne, peerTwo := peer("127.0.0.2"), peer("127.0.0.3")
	peerOne.writeUntil("a frame of the first", func() bool { return len(one.got()) > 0 }, numbered(0))
	peerTwo.writeUntil("a frame of the second", func() bool { return len(two.got()) > 0 }, numbered(0))
	var all sync.WaitGroup
	flow := func(from, to *testLink, first int) {
		all.Go(func() {
			const n = 2000
			for i := 0; i < n; i += 40 {
				var batch [][]byte
				for j := range 40 {
					batch = append(batch, numbered(first+i+j))
				}
				from.write(batch...)
			}
			var got [][]byte
			if !nstest.Eventually(patience, func() bool {
				got = slices.DeleteFunc(slices.Clone(to.got()), func(f []byte) bool {
					return len(f) < 18 || int(binary.BigEndian.Uint32(f[14:]))/10_000*10_000 != first
				})
				return len(got) >= n
			}) {
				t.Errorf("%d frames of %d have come", len(got), n)
			}
			for i, f := range got {
				if !bytes.Equal(f, numbered(first+i)) {
					t.Errorf("frame %d is %x", i, f)
					return
				}
			}
		})
	}
	flow(peerOne, one, 10_000)
	flow(one, peerOne, 20_000)
	flow(peerTwo, two, 30_000)
	flow(two, peerTwo, 40_000)
	for range 2 {
		all.Go(func() {
			if got := download(t, port); got != sum {
				t.Errorf("the download has the checksum %s, want %s", got, sum)
			}
		})
	}
	all.Wait()
	stranger := dial(t, one, "127.0.0.4")
	say(stranger)
	stranger.SetReadDeadline(time.Now().Add(patience))
	if _, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger is spoken to")
	}
	// The second link ends: neither the first nor the web server notices.
	two.elem.Close()
	flow(peerOne, one, 50_000)
	if got := download(t, port); got != sum {
		t.Errorf("the download has the checksum %s, want %s", got, sum)
	}
	all.Wait()
	if strings.Contains(one.log.String(), "lost") || !strings.Contains(one.status(), "restarts 0") {
		t.Errorf("the first link was disturbed; log:\n%s", one.log)
	}
	// And a new one has its peer again.
	again := start(t, at+"--remote 127.0.0.3")
	peerTwo.writeUntil("a frame of the second", func() bool { return len(again.got()) > 0 }, numbered(0))
}

func say(to io.Writer) { to.Write(openvpn.AppendStream(nil, series(1))) }

// TestPeersThatComeBackAreNotRefused: not even in the pause after a loss.
func TestPeersThatComeBackAreNotRefused(t *testing.T) {
	at := freePort(t)
	s := start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d --proto tcp-server --remote 127.0.0.2", at))
	for i := range 3 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		conn, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", at))
		if err != nil {
			t.Fatal(err)
		}
		n := len(s.got())
		say(conn)
		eventually(t, "a frame", func() bool { return len(s.got()) > n })
		conn.Close()
		eventually(t, "the loss to be seen", func() bool { return strings.Count(s.log.String(), "next attempt") > i })
	}
	if n := strings.Count(s.log.String(), "link is lost"); n != 3 {
		t.Errorf("%d losses, want 3:\n%s", n, s.log)
	}
}

func TestPortShareIsChecked(t *testing.T) {
	dir := keyFolder(t)
	const at = "--local 10.0.0.1 --proto tcp-server "
	for words, want := range map[string]string{
		"--local 10.0.0.1 --port-share web 443":                                                 "t:1:18: --port-share: only a tcp-server has a port that could be shared",
		at + "--port-share web":                                                                 "t:1:37: --port-share wants HOST PORT [DIR]",
		at + "--port-share web https":                                                           `t:1:54: --port-share: "https" is not a number from 1 to 65535`,
		at + "--port-share a/b 443":                                                             "t:1:50: --port-share: \"a/b\" is neither an address nor a name",
		at + "--port-share web 443 none":                                                        "t:1:58: --port-share: read none: no such file",
		at + "--port-share web 443 options.go":                                                  "t:1:58: --port-share: options.go is not a directory",
		at + "--port-share 10.0.0.1 1194":                                                       "t:1:37: --port-share: 10.0.0.1:1194 is the link's own port",
		"--local 0.0.0.0 --proto tcp-server --port 443 --port-share localhost 443":              "t:1:47: --port-share: localhost:443 is the link's own port",
		at + "--tun-mtu 5435 --port-share web 443":                                              "t:1:52: --port-share: with a --tun-mtu of 5435 a connection over HTTPS could be a frame by its first bytes; give the link keys with --tls-server and --tls-client, or make the --tun-mtu smaller than 5435",
		at + "--tun-mtu 9000 --secret " + dir + "/static --cipher AES-256-CBC --port-share w 9": "--port-share: with a --tun-mtu of 9000",
	} {
		args, _ := argsOf(words)
		_, err := parse(args, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", words, err, want)
		}
	}
	for _, words := range []string{
		at + "--port-share web 443",
		at + "--port-share 10.0.0.1 443 .",
		at + "--tun-mtu 5434 --port-share fd00::1 443",
		at + "--tun-mtu 9000 --port-share w 9 --tls-server --ca crt --cert crt --key key",
		at + "--tun-mtu 9000 --port-share w 9 --tls-client --ca crt --cert crt --key key",
	} {
		args, _ := argsOf(words)
		c, err := parse(args, dir)
		if err != nil {
			t.Errorf("%s: %v", words, err)
		} else if c.portShare.Port == 0 || c.beginning().ByClient != c.security.server || c.beginning().ByServer != c.security.client {
			t.Errorf("%s: %+v", words, c.portShare)
		}
	}
}
