package link

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// A link at an interface goes on when that has other addresses, without a --ping-restart:
// over UDP, at either end of a connection, and where a tcp-server waits for one.
func TestLinksFollowTheirInterface(t *testing.T) {
	nstest.Need(t)
	nstest.InNamespace(t)
	ip(t, "link add roam0 type veth peer name roam1", "link set roam0 up", "link set roam1 up")
	t.Cleanup(func() { ip(t, "link del roam0") })
	addresses := func(what string, n int) {
		t.Helper()
		ip(t, fmt.Sprintf("addr %s 10.66.0.%d/24 dev roam0", what, n), fmt.Sprintf("addr %s fd66::%d/64 dev roam0 nodad", what, n))
	}
	addresses("add", 1)
	const at, tcp4 = "--dev tap --local roam0 --lport %d --proto %s --connect-retry 0 0 ", 20090
	floats := func(local, proto string) *testLink {
		return start(t, fmt.Sprintf("--dev tap --local %s --lport 0 --proto %s", local, proto))
	}
	udp, udp6 := floats("127.0.0.1", "udp4"), floats("::1", "udp6")
	server := start(t, fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d --proto tcp4-server --keepalive 1 3", tcp4))
	type pair struct {
		name       string
		mover, far *testLink // far nil: nobody is connected
	}
	pairs := []pair{
		{"UDP", start(t, fmt.Sprintf(at+"--remote 127.0.0.1 %d", 0, "udp4", udp.local().Port())), udp},
		{"UDP over IPv6", start(t, fmt.Sprintf(at+"--remote ::1 %d", 0, "udp6", udp6.local().Port())), udp6},
		{"a tcp-client", start(t, fmt.Sprintf(at+"--remote 127.0.0.1 %d --ping 1", 0, "tcp4-client", tcp4)), server},
		{"a waiting tcp-server", start(t, fmt.Sprintf(at, tcp4+1, "tcp4-server")), nil},
		{"a connected tcp-server", start(t, fmt.Sprintf(at, tcp4+2, "tcp6-server")), nil},
	}
	client := func(to string, port int) *testLink {
		return start(t, fmt.Sprintf("--dev tap --nobind --proto tcp-client --remote %s %d --connect-retry 0 0", to, port))
	}
	pairs[4].far = client("fd66::1", tcp4+2)
	arrives := func(p pair) {
		t.Helper()
		for _, way := range [][2]*testLink{{p.mover, p.far}, {p.far, p.mover}} {
			had := len(way[1].got())
			way[0].writeUntil(p.name, func() bool { return len(way[1].got()) > had }, numbered(0))
		}
	}
	for _, p := range pairs {
		if p.far != nil {
			arrives(p)
		}
	}
	addresses("del", 1)
	time.Sleep(interfacePoll + interfacePoll/2) // in which they wait for an address
	addresses("add", 2)
	pairs[3].far, pairs[4].far = client("10.66.0.2", tcp4+1), client("fd66::2", tcp4+2)
	for i, p := range pairs {
		arrives(p)
		want := "roam0 no longer has 10.66.0.1 (--local)"
		if i == 1 || i == 4 {
			want = "roam0 no longer has fd66::1 (--local)"
		}
		if n := strings.Count(p.mover.told(), want); n != 1 {
			t.Errorf("%s: %q is told %d times", p.name, want, n)
		}
	}
}
