package machine

import (
	"net/netip"
	"testing"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// guidePort is a port that learns how its neighbour's station is to be set up.
type guidePort struct {
	*fakePort
	hand func(*ethernet.Network) error
}

func (p *guidePort) OnNetwork(f func(*ethernet.Network) error) { p.hand = f }

// guidedPort is a port whose station can be set up so.
type guidedPort struct {
	*fakePort
	given []*ethernet.Network
}

func (p *guidedPort) SetNetwork(n *ethernet.Network) error {
	p.given = append(p.given, n)
	return nil
}

func end(p ethernet.Port) End { return End{Part: &Part{}, Port: p} }

// TestGuideIsJoined joins a guide from either side, and to what cannot be guided.
func TestGuideIsJoined(t *testing.T) {
	network := &ethernet.Network{Addr4: netip.MustParsePrefix("10.8.0.5/24")}
	for _, swapped := range []bool{false, true} {
		guide, guided := &guidePort{fakePort: newFakePort()}, &guidedPort{fakePort: newFakePort()}
		a, b := end(guide), end(guided)
		if swapped {
			a, b = b, a
		}
		newConnection(tmesh.Pos{}, a, b)
		if guide.hand == nil || len(guided.given) != 1 || guided.given[0] != nil {
			t.Fatalf("after the joining: handed on by %p, given %v", guide.hand, guided.given)
		}
		if err := guide.hand(network); err != nil || len(guided.given) != 2 || guided.given[1] != network {
			t.Errorf("given %v, %v", guided.given, err)
		}
	}
	guide := &guidePort{fakePort: newFakePort()}
	newConnection(tmesh.Pos{}, end(guide), end(newFakePort()))
	if guide.hand != nil {
		t.Error("a network is handed on to a port that takes none")
	}
	guided := &guidedPort{fakePort: newFakePort()}
	newConnection(tmesh.Pos{}, end(guided), end(newFakePort()))
	if guided.given != nil {
		t.Errorf("a port that is not guided was given %v", guided.given)
	}
}

// boundedPort is a port that is told of frames that are too long for it.
type boundedPort struct {
	*fakePort
	told chan int
}

func (p *boundedPort) TellOversize(length int) { p.told <- length }

// severalQueues is a port that is read by two goroutines.
type severalQueues struct {
	*fakePort
	second *fakePort
}

func (p *severalQueues) Readers() []ethernet.Reader { return []ethernet.Reader{p, p.second} }

// TestOversizeIsTold: a port hears of frames that were left out because of their
// length, out of whichever queue, and of no others.
func TestOversizeIsTold(t *testing.T) {
	from := &severalQueues{newFakePort(), newFakePort()}
	to := &boundedPort{newFakePort(), make(chan int, 16)}
	c := newConnection(tmesh.Pos{}, end(from), end(to))
	done := make(chan error, 1)
	go func() { done <- c.pump(c.A, c.B, &c.aToB) }()
	from.in <- []ethernet.Frame{{Data: frame(1, 13)}, {Data: frame(2, 60)}}
	from.in <- []ethernet.Frame{{Data: frame(3, 60)}, {Data: frame(4, 1523)}, {Data: frame(5, 4000)}}
	for want := range 2 {
		if got := receive(t, to.fakePort); int(got[0]) != want+2 {
			t.Errorf("frame %d has come", got[0])
		}
	}
	from.second.in <- []ethernet.Frame{{Data: frame(6, 1600)}}
	for _, want := range []int{4000, 1600} {
		select {
		case got := <-to.told:
			if got != want {
				t.Errorf("told of %d bytes, want %d", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("not told of %d bytes", want)
		}
	}
	from.Close()
	from.second.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := from.counters.Read.Count(ethernet.Oversize); n != 3 || len(to.told) != 0 {
		t.Errorf("%d counted, and told %d times more", n, len(to.told))
	}
}

// partingPort is a port whose far side can go away.
type partingPort struct {
	*fakePort
	gone func()
}

func (p *partingPort) OnParted(f func()) { p.gone = f }

// learningPort is a port that remembers stations.
type learningPort struct {
	*fakePort
	forgot int
}

func (p *learningPort) Forget() { p.forgot++ }

// TestPartingIsJoined joins a port whose far side can go away with one that wants
// to know, from either side, and with one that does not.
func TestPartingIsJoined(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		parting, learner := &partingPort{fakePort: newFakePort()}, &learningPort{fakePort: newFakePort()}
		a, b := end(parting), end(learner)
		if swapped {
			a, b = b, a
		}
		newConnection(tmesh.Pos{}, a, b)
		if parting.gone == nil || learner.forgot != 0 {
			t.Fatalf("after the joining: told by %p, forgotten %d times", parting.gone, learner.forgot)
		}
		if parting.gone(); learner.forgot != 1 {
			t.Errorf("forgotten %d times, want 1", learner.forgot)
		}
	}
	parting := &partingPort{fakePort: newFakePort()}
	newConnection(tmesh.Pos{}, end(parting), end(newFakePort()))
	if parting.gone != nil {
		t.Error("a port is told that remembers nothing")
	}
}
