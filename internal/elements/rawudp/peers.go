package rawudp

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxPeers bounds whom a hub knows: every frame goes to each of them.
const maxPeers = 256

// peers are those that a hub knows, by their addresses. Times come from the caller.
//
// Who reads them takes no lock: a change replaces the whole.
type peers struct {
	age   time.Duration // after which a learned peer that is silent is forgotten
	known atomic.Pointer[map[netip.AddrPort]*peer]
	hosts map[netip.Addr]*peer // the only named one of a host, who may send from any port

	mu sync.Mutex // held by whoever changes known
}

// peer is somebody who sends frames, and is sent them.
type peer struct {
	addr  netip.AddrPort
	named bool         // by the description: it is never forgotten
	seen  atomic.Int64 // a time.Duration, when it was heard last
}

// newPeers knows those that are named. With anyPort whoever is named alone of its host is
// known by that.
func newPeers(named []netip.AddrPort, anyPort bool, age time.Duration) *peers {
	p := &peers{age: age, hosts: map[netip.Addr]*peer{}}
	known := map[netip.AddrPort]*peer{}
	for _, a := range named {
		known[a] = &peer{addr: a, named: true}
		if _, several := p.hosts[a.Addr()]; several {
			p.hosts[a.Addr()] = nil
		} else if anyPort {
			p.hosts[a.Addr()] = known[a]
		}
	}
	p.known.Store(&known)
	return p
}

// heard notes that a peer was heard, and gives it; nil if it is not known.
func (p *peers) heard(a netip.AddrPort, now time.Duration) *peer {
	known := (*p.known.Load())[a]
	if known == nil {
		known = p.hosts[a.Addr()]
	}
	// An eighth of a second spares most writes to what others read.
	if known != nil && int64(now)-known.seen.Load() > int64(time.Second/8) {
		known.seen.Store(int64(now))
	}
	return known
}

// learn takes up a peer, and says whether there is room for it.
func (p *peers) learn(a netip.AddrPort, now time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := maps.Clone(*p.known.Load())
	maps.DeleteFunc(next, func(_ netip.AddrPort, q *peer) bool { return p.aged(q, now) })
	room := len(next) < maxPeers
	if room {
		q := &peer{addr: a}
		q.seen.Store(int64(now))
		next[a] = q
	}
	p.known.Store(&next)
	return room
}

func (p *peers) aged(q *peer, now time.Duration) bool {
	return !q.named && int64(now)-q.seen.Load() > int64(p.age)
}

// each calls fn for the peers that are there, until it fails.
func (p *peers) each(now time.Duration, fn func(*peer) error) error {
	for _, q := range *p.known.Load() {
		if p.aged(q, now) {
			continue
		}
		if err := fn(q); err != nil {
			return err
		}
	}
	return nil
}

// list gives the addresses of those that are there, in their order.
func (p *peers) list(now time.Duration) []netip.AddrPort {
	var all []netip.AddrPort
	p.each(now, func(q *peer) error { all = append(all, q.addr); return nil })
	slices.SortFunc(all, netip.AddrPort.Compare)
	return all
}
