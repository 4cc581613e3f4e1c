//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// roamer is a client that changes its address, and a server that goes on with it.
type roamer struct {
	name           string
	client, server roamingEnd
	tls            bool
	gone           time.Duration // without an address, and then it has the same one
	begins         string        // anew, as the server would not follow it, or for its interface: what it tells
	says           string        // by the server of the new address, which follows; an expression
}

// roamingEnd is a program with its words beside those of TLS.
type roamingEnd struct{ program, words string }

const (
	anyLocal  = "--nobind --remote 192.168.0.2 --ping 1 "
	atEth0    = "--local eth0 --remote 192.168.0.2 --ping 1 "
	floats    = "--local 192.168.0.2 --float --remote 192.168.0.1 --ping 1 "
	secret    = "--secret secret --cipher AES-256-CBC "
	otherAddr = "eth0 no longer has 192.168.0.1 (--local)"
	changed   = "peer has changed.* peer="
	initiated = "Peer Connection Initiated with .*"
)

// roamers have each program as client and as server. An OpenVPN that is not in server mode
// does not let a client with TLS float: data is taken from where its session has begun
// (handle_data_channel_packet in ssl.c).
var roamers = []roamer{
	{name: "tmelink, TLS, to OpenVPN in server mode", tls: true, says: "floated from .*to .*",
		client: roamingEnd{"tmelink", "--client " + anyLocal}, server: roamingEnd{"openvpn", "--mode server --local 192.168.0.2 --ping 1"}},
	{name: "tmelink, TLS, to OpenVPN", tls: true, begins: "(--ping-restart)", says: initiated,
		client: roamingEnd{"tmelink", anyLocal + "--ping-restart 3"}, server: roamingEnd{"openvpn", floats}},
	{name: "tmelink, static key, to OpenVPN", says: initiated,
		client: roamingEnd{"tmelink", secret + anyLocal}, server: roamingEnd{"openvpn", secret + floats}},
	{name: "tmelink, plain, to OpenVPN", says: initiated,
		client: roamingEnd{"tmelink", anyLocal}, server: roamingEnd{"openvpn", floats}},
	{name: "tmelink, TLS, to tmelink", tls: true, says: changed,
		client: roamingEnd{"tmelink", anyLocal}, server: roamingEnd{"tmelink", floats}},
	{name: "tmelink, plain, to tmelink", says: changed,
		client: roamingEnd{"tmelink", anyLocal}, server: roamingEnd{"tmelink", floats}},
	{name: "OpenVPN, TLS, to tmelink", tls: true, says: changed,
		client: roamingEnd{"openvpn", anyLocal}, server: roamingEnd{"tmelink", floats}},
	{name: "OpenVPN, static key, to tmelink", says: changed,
		client: roamingEnd{"openvpn", secret + anyLocal}, server: roamingEnd{"tmelink", secret + floats}},
	{name: "OpenVPN, plain, to tmelink", says: changed,
		client: roamingEnd{"openvpn", anyLocal}, server: roamingEnd{"tmelink", floats}},

	{name: "without an address for a while", tls: true, gone: 3 * time.Second,
		client: roamingEnd{"tmelink", anyLocal}, server: roamingEnd{"openvpn", floats}},
	{name: "an interface without an address for a while", tls: true, gone: 3 * time.Second,
		client: roamingEnd{"tmelink", atEth0}, server: roamingEnd{"openvpn", floats}},
	{name: "an interface with another address", tls: true, begins: otherAddr, says: changed,
		client: roamingEnd{"tmelink", atEth0}, server: roamingEnd{"tmelink", floats}},
	{name: "an interface with another address, to OpenVPN", tls: true, begins: otherAddr, says: initiated,
		client: roamingEnd{"tmelink", atEth0}, server: roamingEnd{"openvpn", floats}},
	{name: "an interface with another address, plain, to OpenVPN", begins: otherAddr, says: initiated,
		client: roamingEnd{"tmelink", atEth0}, server: roamingEnd{"openvpn", floats}},
}

// TestOpenVPNRoams changes a client's address while transfers run both ways: they end
// right by checksum, and the server tells of the move once.
func TestOpenVPNRoams(t *testing.T) {
	nstest.Need(t, "openvpn", "ping")
	keys := keyset(t)
	for _, r := range roamers {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			e := newDuo(t, keys)
			server := e.startRoaming(t, r, 1)
			client := e.startRoaming(t, r, 0)
			e.expectAnswer(t, 30*time.Second)
			finish := e.transfers(t)
			e.move(r.gone)
			told := func() int {
				return len(regexp.MustCompile(r.says+`192\.168\.0\.3\b`).FindAllString(server.Output(), -1))
			}
			if r.gone == 0 && !nstest.Eventually(30*time.Second, func() bool { return told() > 0 }) {
				t.Errorf("the server does not tell that the client has moved:\n%s", server.Output())
			}
			finish()
			if r.begins != "" {
				client.Expect(t, r.begins, time.Second)
				return
			}
			if n := told(); r.gone == 0 && n != 1 {
				t.Errorf("the server tells %d times that the client has moved:\n%s", n, server.Output())
			}
			for _, p := range []*nstest.Process{client, server} {
				if strings.Contains(p.Output(), "link is lost") || strings.Count(p.Output(), "the kernel refuses to send") > 1 {
					t.Errorf("an end begins anew, or tells too much:\n%s", p.Output())
				}
			}
		})
	}
}

// startRoaming starts an end of a case, 0 for the client.
func (e *duo) startRoaming(t *testing.T, r roamer, i int) *nstest.Process {
	t.Helper()
	end := []roamingEnd{r.client, r.server}[i]
	words := append(strings.Fields(end.words), keyCase{secret: !r.tls}.options(t, e.keys, i == 0)...)
	if end.program == "openvpn" {
		return e.hosts[i].Start("openvpn", append([]string{"--cd", e.keys, "--dev", "tap0", "--lladdr", fmt.Sprintf("02:00:00:00:00:0%d", i+1),
			"--ifconfig", fmt.Sprintf("10.0.77.%d", i+1), "255.255.255.0", "--verb", "4"}, words...)...)
	}
	return e.hosts[i].Start("tmelink", "run", e.description(t,
		fmt.Sprintf("tap0: tme/host/tun/tap inet 10.0.77.%d netmask 255.255.255.0 nat none hwaddr 02:00:00:00:00:0%[1]d", i+1),
		"link0 at tap0: tme/host/openvpn/socket/link --dev tap "+strings.Join(words, " ")))
}

// move takes the first host's address away, and gives it another one; after a while, if
// there is one, the same.
func (e *duo) move(gone time.Duration) {
	h := e.hosts[0]
	h.IP("addr", "del", "192.168.0.1/24", "dev", "eth0")
	addr := "192.168.0.3/24"
	if gone > 0 {
		time.Sleep(gone)
		addr = "192.168.0.1/24"
	}
	h.IP("addr", "add", addr, "dev", "eth0")
}

// transfers begins one in each direction, and returns when both are halfway. They go on,
// slowly; finish lets them end, and compares their checksums.
func (e *duo) transfers(t *testing.T) (finish func()) {
	t.Helper()
	const size = 4_000_000
	file := filepath.Join(t.TempDir(), "finish")
	var fetches []*nstest.Process
	for i, addr := range []string{"10.0.77.1", "10.0.77.2"} {
		server := e.hosts[i].Start("tcpserve", addr+":7000", fmt.Sprint(size), file)
		server.Expect(t, "ready", 10*time.Second)
		fetches = append(fetches, e.hosts[1-i].Start("tcpfetch", addr+":7000"))
		server.Expect(t, "halfway", 30*time.Second)
	}
	return func() {
		t.Helper()
		try(t, os.WriteFile(file, nil, 0o600))
		for _, fetch := range fetches {
			if err := fetch.Wait(t, 60*time.Second); err != nil || fetch.Output() != fetched(size) {
				t.Errorf("a transfer ends with %v, and gives %s, not %s", err, fetch.Output(), fetched(size))
			}
		}
	}
}
