package link

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
)

// TestFallBackAndReturn has a client whose best way, UDP, is closed at first: it goes
// by TCP, and back when UDP works, without losing a frame between, and again by TCP when
// UDP is closed once more.
func TestFallBackAndReturn(t *testing.T) {
	serverWords, clientWords := identities(t)
	for name, words := range map[string][2]string{"plain": {}, "tls": {serverWords, clientWords}} {
		t.Run(name, func(t *testing.T) {
			udp, tcp := freePort(t), freePort(t)
			overTCP := start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d --proto tcp-server --keepalive 1 4", tcp)+words[0])
			client := start(t, fmt.Sprintf("--dev tap --nobind --remote 127.0.0.1 %d udp --remote 127.0.0.1 %d tcp-client --connect-timeout 1 --keepalive 1 2 --remote-return 1", udp, tcp)+words[1])
			client.writeUntil("a frame over TCP", func() bool { return len(overTCP.got()) > 0 }, numbered(0))
			if s := client.status(); !strings.HasPrefix(s, "tcp ") || !strings.Contains(s, "changes of way 1") {
				t.Errorf("status %q", s)
			}

			begin := fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d --keepalive 1 4", udp) + words[0]
			overUDP := start(t, begin)
			sent := 0
			eventually(t, "a frame over UDP", func() bool {
				sent++
				client.write(numbered(sent))
				return len(overUDP.got()) > 0
			})
			eventually(t, "every frame", func() bool {
				got := map[string]bool{}
				for _, f := range append(slices.Clone(overTCP.got()), overUDP.got()...) {
					got[string(f)] = true
				}
				delete(got, string(numbered(0))) // of before
				return len(got) == sent
			})
			overUDP.writeUntil("a frame from the UDP end", func() bool { return len(client.got()) > 0 }, numbered(7))
			if s := client.status(); !strings.HasPrefix(s, "udp ") || !strings.Contains(s, "restarts 1, changes of way 2") {
				t.Errorf("status %q", s)
			}

			overUDP.elem.Close()
			had := len(overTCP.got())
			client.writeUntil("a frame over TCP again", func() bool { return len(overTCP.got()) > had }, numbered(1))
			if n := strings.Count(client.log.String(), "goes another way"); n != 3 {
				t.Errorf("the log tells of %d changes", n)
			}
		})
	}
}

// TestRaceOfAddresses has a name with two addresses, at the first of which nobody
// answers.
func TestRaceOfAddresses(t *testing.T) {
	names := fakeNames(map[string][]string{"peer": {"127.0.0.2", "::1", "127.0.0.1"}})
	serverWords, clientWords := identities(t)
	t.Run("udp", func(t *testing.T) {
		server := start(t, "--dev tap --local ::1 --lport 0"+serverWords)
		client := build(t, fmt.Sprintf("--dev tap --nobind --remote peer %d", server.local().Port())+clientWords)
		client.elem.(*Link).names = names
		client.begin("client")
		client.writeUntil("a frame", func() bool { return len(server.got()) > 0 }, numbered(0))
		if !strings.Contains(client.status(), "peer [::1]:") {
			t.Errorf("status %q", client.status())
		}
	})
	t.Run("tcp", func(t *testing.T) {
		port := freePort(t)
		server := start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d --proto tcp-server", port)+serverWords)
		client := build(t, fmt.Sprintf("--dev tap --nobind --proto tcp-client --remote peer %d", port)+clientWords)
		client.elem.(tcpLink).names = names
		client.begin("client")
		client.writeUntil("a frame", func() bool { return len(server.got()) > 0 }, numbered(0))
		client.elem.(tcpLink).Restart("to see where it goes first")
		eventually(t, "the restart", func() bool { return strings.Contains(client.status(), "restarts 1") })
		had := len(server.got())
		client.writeUntil("a frame", func() bool { return len(server.got()) > had }, numbered(0))
	})
}

// TestNothingIsLeftOfASearch ends a link while it looks for its better ways, which
// answer nothing.
func TestNothingIsLeftOfASearch(t *testing.T) {
	quiet := socket(t, "127.0.0.1:0")
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	serverWords, clientWords := identities(t)
	tcp := freePort(t)
	server := start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d --proto tcp-server", tcp)+serverWords)
	client := start(t, fmt.Sprintf("--dev tap --nobind --remote 127.0.0.1 %d udp --remote 127.0.0.1 %d tcp-client --remote 127.0.0.1 %d tcp-client --connect-timeout 1 --hand-window 2 --remote-return 1",
		portOf(quiet.LocalAddr()), portOf(deaf.Addr()), tcp)+clientWords)
	client.writeUntil("a frame", func() bool { return len(server.got()) > 0 }, numbered(0))
	eventually(t, "a search", func() bool { return strings.Contains(client.log.String(), "a better way does not work yet") })
	for _, want := range []string{"the peer has not shown itself", fmt.Sprintf("way=\"udp 127.0.0.1 port %d\"", portOf(quiet.LocalAddr()))} {
		if !strings.Contains(client.log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
}

// TestReturnFromTheSamePort has both ways begin at one port of the client's.
func TestReturnFromTheSamePort(t *testing.T) {
	serverWords, clientWords := identities(t)
	for _, c := range []struct{ name, server, client string }{
		{"udp", " --keepalive 1 4", "--proto udp"},
		{"tcp", " --keepalive 1 4 --proto tcp-server", "--proto tcp-client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			best, second, own := freePort(t), freePort(t), freePort(t)
			serve := func(port int) *testLink {
				return start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d", port)+c.server+serverWords)
			}
			two := serve(second)
			client := start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d --remote 127.0.0.1 %d --remote 127.0.0.1 %d --connect-timeout 1 --keepalive 1 2 --remote-return 1 ",
				own, best, second)+c.client+clientWords)
			client.writeUntil("a frame by the second way", func() bool { return len(two.got()) > 0 }, numbered(0))
			one := serve(best)
			client.writeUntil("a frame by the best way", func() bool { return len(one.got()) > 0 }, numbered(1))
			one.writeUntil("a frame back", func() bool { return len(client.got()) > 0 }, numbered(2))
			one.elem.Close()
			had := len(two.got())
			client.writeUntil("a frame by the second way again", func() bool { return len(two.got()) > had }, numbered(3))
		})
	}
}
