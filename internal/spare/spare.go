// Package spare keeps memory that is used again and again for short times:
// buffers that an idle element should not hold and a busy one should not have to
// make anew. Unlike a sync.Pool it is not emptied by the garbage collector, which
// would make the largest buffers come and go with every collection, and so bring
// the next one about.
package spare

import "sync"

// kept is how many values a list keeps for good: about as many as are in use at
// one time on a large machine. The garbage collector takes those beyond it away,
// such as a flood through a switch of many ports leaves.
const kept = 16

// List is a list of values that nobody uses. Make it with New.
type List[T any] struct {
	mu     sync.Mutex
	values []*T
	more   sync.Pool
}

// New gives an empty list; fresh makes a value when there is none to give.
func New[T any](fresh func() *T) *List[T] {
	l := &List[T]{}
	l.more.New = func() any { return fresh() }
	return l
}

// Take gives a value, as it was given back last.
func (l *List[T]) Take() *T {
	l.mu.Lock()
	if n := len(l.values); n > 0 {
		v := l.values[n-1]
		l.values = l.values[:n-1]
		l.mu.Unlock()
		return v
	}
	l.mu.Unlock()
	return l.more.Get().(*T)
}

// Give gives back a value that is used no more.
func (l *List[T]) Give(v *T) {
	l.mu.Lock()
	if len(l.values) < kept {
		l.values = append(l.values, v)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	l.more.Put(v)
}
