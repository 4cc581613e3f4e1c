package ethernet

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Filter is the set of addresses that a station listens to. Wants may be called
// by any goroutine at any time and takes no lock; a fresh Filter wants only
// broadcasts.
type Filter struct {
	state atomic.Pointer[filterState]

	mu       sync.Mutex // held by whoever changes state
	onChange func()
}

type filterState struct {
	addrs       map[Addr]struct{} // own addresses and joined groups
	promiscuous bool
}

// Wants says whether a frame of at least HeaderLen bytes is for the station.
func (f *Filter) Wants(frame []byte) bool {
	dst := Dst(frame)
	if dst == Broadcast {
		return true
	}
	s := f.state.Load()
	if s == nil {
		return false
	}
	if s.promiscuous {
		return true
	}
	_, ok := s.addrs[dst]
	return ok
}

// Add takes up an address of the station's own or of a group that it joins.
func (f *Filter) Add(a Addr) { f.change(func(s *filterState) { s.addrs[a] = struct{}{} }) }

// Remove takes an address out.
func (f *Filter) Remove(a Addr) { f.change(func(s *filterState) { delete(s.addrs, a) }) }

// SetPromiscuous says whether the station wants every frame.
func (f *Filter) SetPromiscuous(on bool) { f.change(func(s *filterState) { s.promiscuous = on }) }

// Promiscuous says whether the station wants every frame.
func (f *Filter) Promiscuous() bool {
	s := f.state.Load()
	return s != nil && s.promiscuous
}

// Addrs are the station's own addresses and groups, sorted.
func (f *Filter) Addrs() []Addr {
	s := f.state.Load()
	if s == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(s.addrs), func(a, b Addr) int { return slices.Compare(a[:], b[:]) })
}

// OnChange has fn called after every later change, by the goroutine that made
// it. One function can be set.
func (f *Filter) OnChange(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onChange = fn
}

func (f *Filter) change(edit func(*filterState)) {
	f.mu.Lock()
	next := &filterState{addrs: map[Addr]struct{}{}}
	if s := f.state.Load(); s != nil {
		next.addrs, next.promiscuous = maps.Clone(s.addrs), s.promiscuous
	}
	edit(next)
	f.state.Store(next)
	fn := f.onChange
	f.mu.Unlock()
	if fn != nil {
		fn()
	}
}
