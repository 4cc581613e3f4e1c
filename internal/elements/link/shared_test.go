package link

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tmelink/internal/transport"
)

// nat stands between a link and its peer and may give the link another address there.
type nat struct {
	inside  *net.UDPConn
	client  atomic.Pointer[netip.AddrPort] // who was heard inside
	outside atomic.Pointer[net.UDPConn]
	to      netip.AddrPort
	working sync.WaitGroup
}

func newNAT(t testing.TB, to netip.AddrPort) *nat {
	n := &nat{inside: socket(t, "127.0.0.1:0"), to: to}
	n.move(t)
	n.working.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			size, from, err := n.inside.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			n.client.Store(&from)
			n.outside.Load().WriteToUDPAddrPort(buf[:size], to)
		}
	})
	t.Cleanup(func() {
		n.inside.Close()
		n.outside.Load().Close()
		n.working.Wait()
	})
	return n
}

// move takes another address outside; what comes to the one before is lost.
func (n *nat) move(t testing.TB) netip.AddrPort {
	out := socket(t, "127.0.0.1:0")
	before := n.outside.Swap(out)
	n.working.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			size, err := out.Read(buf)
			if err != nil {
				return
			}
			if to := n.client.Load(); to != nil {
				n.inside.WriteToUDPAddrPort(buf[:size], *to)
			}
		}
	})
	if before != nil {
		before.Close()
	}
	return n.address()
}

// address is the link's as its peer sees it.
func (n *nat) address() netip.AddrPort {
	return netip.MustParseAddrPort(n.outside.Load().LocalAddr().String())
}

// sharedPort is a port of loopback that nobody has.
func sharedPort(t testing.TB) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// TestThreeLinksOfOnePort: one without keys, and two with keys of their own, of which
// one peer moves in the midst of it and the other may be anywhere. Each hears its peer
// and no other.
func TestThreeLinksOfOnePort(t *testing.T) {
	at := sharedPort(t)
	here := fmt.Sprintf("--dev tap --local 127.0.0.1 --lport %d ", at.Port())
	there := "--dev tap --local 127.0.0.1 --lport 0 --remote 127.0.0.1 "
	plainPeer := start(t, fmt.Sprint(there, at.Port()))
	way := newNAT(t, at)
	movingServer, movingClient := identities(t)
	floatServer, floatClient := identities(t)

	links := []*testLink{
		start(t, fmt.Sprint(here, "--remote 127.0.0.1 ", plainPeer.local().Port())),
		start(t, fmt.Sprint(here, "--float --remote 127.0.0.1 ", way.address().Port(), movingServer)),
		start(t, here+floatServer),
	}
	peers := []*testLink{
		plainPeer,
		start(t, fmt.Sprint(there, portOf(way.inside.LocalAddr()), movingClient)),
		start(t, fmt.Sprint(there, at.Port(), floatClient)),
	}
	id := []int{0, 1, 2} // the last digit of the frames of each
	number := 0
	flow := func(what string) {
		t.Helper()
		for i := range links {
			number += 10
			for _, way := range [2][2]*testLink{{peers[i], links[i]}, {links[i], peers[i]}} {
				want := numbered(number + id[i])
				way[0].writeUntil(fmt.Sprintf("%s: a frame of link %d", what, i), func() bool {
					got := way[1].got()
					return len(got) > 0 && string(got[len(got)-1]) == string(want)
				}, want)
			}
		}
	}
	flow("in the beginning")
	for range 3 {
		moved := way.move(t)
		flow("after a move")
		if s := links[1].status(); !strings.Contains(s, moved.String()) {
			t.Errorf("status %q does not tell of the peer's new address %v", s, moved)
		}
	}
	links[0].elem.Close() // it opened the socket
	all := slices.Concat(links, peers)
	links, peers, id = links[1:], peers[1:], id[1:]
	way.move(t)
	flow("without the first")
	for i, l := range all {
		for _, f := range l.got() {
			if n := int(binary.BigEndian.Uint32(f[14:])); n%10 != i%3 {
				t.Errorf("link %d has a frame of link %d", i, n%10)
			}
		}
	}
}

// TestLinksWithOnePeerOfTwoNames: what check cannot see is an error at the start.
func TestLinksWithOnePeerOfTwoNames(t *testing.T) {
	at := sharedPort(t)
	start(t, fmt.Sprintf("--local 127.0.0.1 --lport %d --remote 127.0.0.1 9", at.Port()))
	second := build(t, fmt.Sprintf("--local 127.0.0.1 --lport %d --remote other 9", at.Port()))
	second.elem.(*Link).names = func(context.Context, string, transport.Family) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	err := second.elem.Start(context.Background())
	if err == nil || !strings.Contains(err.Error(), "a peer at the same address and port") {
		t.Errorf("got %v", err)
	}
}

// TestARestartOfOneLinkOfAPort gives it the port again, and the other is not disturbed.
func TestARestartOfOneLinkOfAPort(t *testing.T) {
	at := sharedPort(t)
	here := fmt.Sprintf("--local 127.0.0.1 --lport %d --remote 127.0.0.1 ", at.Port())
	there := fmt.Sprintf("--local 127.0.0.1 --lport 0 --remote 127.0.0.1 %d", at.Port())
	peers := []*testLink{start(t, there), start(t, there)}
	var links []*testLink
	for _, p := range peers {
		links = append(links, start(t, fmt.Sprint(here, p.local().Port(), " --connect-retry 0")))
	}
	links[0].elem.(*Link).Restart("the test says so")
	eventually(t, "a restart", func() bool {
		return strings.Contains(links[0].status(), "open for") && strings.Contains(links[0].status(), "restarts 1")
	})
	peers[1].write(series(50)...)
	links[1].expectSeries(50)
	peers[0].writeUntil("a frame", func() bool { return len(links[0].got()) > 0 }, numbered(0))
	if s := links[1].status(); !strings.Contains(s, "restarts 0") {
		t.Errorf("the other: %s", s)
	}
}
