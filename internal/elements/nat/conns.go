package nat

import "sync"

// conns are the TCP connections that there are or that are being made, no more than
// most. The methods may be called by any goroutine.
type conns struct {
	mu   sync.Mutex
	most int
	open map[*conn]struct{}
}

func (s *conns) init(most int) { s.most, s.open = most, map[*conn]struct{}{} }

// add takes one more, or says no.
func (s *conns) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.most {
		return false
	}
	s.open[c] = struct{}{}
	return true
}

func (s *conns) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

func (s *conns) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// each calls f with every one.
func (s *conns) each(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		f(c)
	}
}
