package hostnet

import (
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Watch calls changed with the interface's state: once before it returns, and
// from a goroutine of its own after each change, until stop is called, which
// waits for the goroutine. Of a removed interface nothing more is said.
func (l Link) Watch(changed func(LinkState)) (stop func(), err error) {
	w := &watch{link: l, changed: changed, done: make(chan struct{}), ended: make(chan struct{})}
	updates, err := w.subscribe()
	if err != nil {
		return nil, err
	}
	state, err := l.State()
	if err != nil {
		close(w.done)
		for range updates {
		}
		return nil, err
	}
	changed(state)
	go w.run(updates)
	return sync.OnceFunc(func() {
		close(w.done)
		<-w.ended
	}), nil
}

type watch struct {
	link    Link
	changed func(LinkState)
	done    chan struct{} // closed by stop; it also ends the subscription
	ended   chan struct{} // closed when the goroutine has ended
}

func (w *watch) subscribe() (<-chan netlink.LinkUpdate, error) {
	at := netns.None()
	if w.link.ns.name != "" {
		at = netns.NsHandle(w.link.ns.file.Fd())
	}
	updates := make(chan netlink.LinkUpdate)
	if err := netlink.LinkSubscribeAt(at, updates, w.done); err != nil {
		return nil, fmt.Errorf("watch interface %s: %w", w.link.Name, err)
	}
	return updates, nil
}

// run follows the interface. The kernel ends a subscription whose queue has run
// over; then the state is read anew under a new one.
func (w *watch) run(updates <-chan netlink.LinkUpdate) {
	defer close(w.ended)
	for {
		for u := range updates {
			if int(u.Index) == w.link.Index {
				w.read()
			}
		}
		for updates = nil; updates == nil; {
			select {
			case <-w.done:
				return
			case <-time.After(time.Second):
			}
			if next, err := w.subscribe(); err == nil {
				updates = next
			}
		}
		w.read()
	}
}

// read asks for the whole state: the updates of a bridge's ports come in parts,
// and tell of leaving with the bridge still named.
func (w *watch) read() {
	if state, err := w.link.State(); err == nil {
		w.changed(state)
	}
}
