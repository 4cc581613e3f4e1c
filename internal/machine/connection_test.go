package machine

import (
	"net/netip"
	"testing"

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
