package nat

import (
	"net/netip"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
)

const (
	offerTime = time.Minute    // how long an address is kept for who was offered it
	spoilTime = 10 * time.Hour // how long one is left alone that is taken by another
	forever   = time.Duration(1<<63 - 1)
)

// pool is the range of addresses that are given to whoever asks. A station gets
// the one that it had, as long as it was not needed for another; where there is no
// fresh one, the one goes that has been free for the longest.
type pool struct {
	from, to netip.Addr // not valid: there is no range
	taken    map[netip.Addr]bool
	byAddr   map[netip.Addr]*lease
	byHost   map[ethernet.Addr]*lease
	next     netip.Addr // the first one that nobody has had
	held     atomic.Int64
}

// lease is what is known of an address.
type lease struct {
	addr  netip.Addr
	host  ethernet.Addr // zero: nobody's
	until time.Duration // when it is free, by the gateway's clock
}

// newPool makes a pool without the addresses that are taken otherwise.
func newPool(from, to netip.Addr, taken map[netip.Addr]bool) pool {
	return pool{from: from, to: to, next: from, taken: taken, byAddr: map[netip.Addr]*lease{}, byHost: map[ethernet.Addr]*lease{}}
}

// size is how many addresses the range has, taken or not.
func (p *pool) size() int {
	if !p.from.IsValid() {
		return 0
	}
	return int(number(p.to)-number(p.from)) + 1
}

func (p *pool) has(a netip.Addr) bool {
	return p.from.IsValid() && a.Is4() && !a.Less(p.from) && !p.to.Less(a) && !p.taken[a]
}

// lease gives a station's address: its own one, else the wanted one if that is
// free, else another; it says no where there is none.
func (p *pool) lease(host ethernet.Addr, wanted netip.Addr, now, until time.Duration) (netip.Addr, bool) {
	if l := p.byHost[host]; l != nil {
		l.until = max(l.until, until)
		return l.addr, true
	}
	l := p.free(wanted, now)
	if l == nil {
		return netip.Addr{}, false
	}
	if l.host != (ethernet.Addr{}) {
		delete(p.byHost, l.host)
	}
	l.host, l.until = host, until
	p.byHost[host] = l
	p.held.Store(int64(len(p.byHost)))
	return l.addr, true
}

// free finds an address that nobody has now.
func (p *pool) free(wanted netip.Addr, now time.Duration) *lease {
	if p.has(wanted) {
		l := p.byAddr[wanted]
		if l == nil {
			return p.fresh(wanted)
		}
		if l.until <= now {
			return l
		}
	}
	for ; p.next.IsValid() && !p.to.Less(p.next); p.next = p.next.Next() {
		if p.has(p.next) && p.byAddr[p.next] == nil {
			return p.fresh(p.next)
		}
	}
	var oldest *lease
	for _, l := range p.byAddr {
		if l.until <= now && (oldest == nil || l.until < oldest.until || l.until == oldest.until && l.addr.Less(oldest.addr)) {
			oldest = l
		}
	}
	return oldest
}

func (p *pool) fresh(a netip.Addr) *lease {
	l := &lease{addr: a}
	p.byAddr[a] = l
	return l
}

// release notes that a station does not need its address now.
func (p *pool) release(host ethernet.Addr, a netip.Addr, now time.Duration) {
	if l := p.byHost[host]; l != nil && l.addr == a {
		l.until = now
	}
}

// spoil leaves a station's address alone, which somebody else has.
func (p *pool) spoil(host ethernet.Addr, a netip.Addr, now time.Duration) {
	if l := p.byHost[host]; l != nil && l.addr == a {
		delete(p.byHost, host)
		p.held.Store(int64(len(p.byHost)))
		l.host, l.until = ethernet.Addr{}, now+spoilTime
	}
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
