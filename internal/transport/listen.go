package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tmelink/internal/occasion"
	"tmelink/internal/openvpn"
)

// ListenConfig is what a link wants of a listening socket.
type ListenConfig struct {
	TCPConfig
	// Remote gives the addresses that the peer may come from. It may wait, and is
	// called by several goroutines. nil: the peer may be anywhere, and whoever is
	// no other link's peer is taken for it.
	Remote    func(ctx context.Context) ([]netip.Addr, error)
	Share     PortShare         // zero: none
	Beginning openvpn.Beginning // of the peer's connections, by which Share tells others
}

// Listener is a link's share in a listening socket. It takes one connection at a
// time.
type Listener struct {
	config   ListenConfig
	entrance *entrance
	ready    chan *TCP     // holds the connection that Accept is to give
	done     chan struct{} // closed by Close

	closed  bool // this and what follows is under the lock of entrances
	current *TCP // that was taken, until it is closed
}

// entrance is a listening socket, and the links of this process that share it.
// While only one link does, without --port-share, it is closed as long as that
// has a connection: like with OpenVPN another one is refused by the kernel.
type entrance struct {
	at      entranceKey
	socket  Socket
	ctx     context.Context // ends with the last link
	cancel  context.CancelFunc
	running sync.WaitGroup

	// Under the lock of entrances:
	members         []*Listener
	log             *slog.Logger     // of the first of them
	tcp             *net.TCPListener // nil while it is closed
	local           netip.AddrPort   // of tcp, or what it was last
	share           *sharer          // nil: no member has --port-share
	sharing         int              // members that have
	waiting         []*newcomer      // the oldest first
	strangers, busy telling
	odd             occasion.Occasion // of lines on connections that were no use
	failing         occasion.Occasion // of lines on accept's errors
}

// entranceKey is what two links must have the same to share a socket.
type entranceKey struct {
	local  netip.AddrPort
	device string
}

// entrances are the listening sockets of this process, but those with port 0. One
// lock is enough for all: it is held for a few steps for each connection.
var entrances = struct {
	sync.Mutex
	known map[entranceKey]*entrance
}{known: map[entranceKey]*entrance{}}

// Listen opens a listening socket, or joins the one that this process has at the
// address. Its error is a *BindError.
func Listen(ctx context.Context, c ListenConfig) (*Listener, error) {
	entrances.Lock()
	defer entrances.Unlock()
	at := entranceKey{c.Local, c.Device}
	e := entrances.known[at]
	if e == nil {
		e = newEntrance(at, c.Socket)
	}
	l := &Listener{config: c, entrance: e, ready: make(chan *TCP, 1), done: make(chan struct{})}
	if err := e.admit(ctx, l); err != nil {
		if len(e.members) == 0 {
			e.cancel()
		}
		return nil, &BindError{"listen on tcp", c.Local, err}
	}
	if at.local.Port() != 0 {
		entrances.known[at] = e
	}
	return l, nil
}

func newEntrance(at entranceKey, socket Socket) *entrance {
	e := &entrance{
		at: at, socket: socket, local: at.local, busy: telling{every: time.Minute},
		odd: occasion.New(1, time.Minute), failing: occasion.New(1, time.Minute),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// admit makes a link a member, and opens the socket where it is closed.
func (e *entrance) admit(ctx context.Context, l *Listener) error {
	c := l.config
	switch {
	case e.socket != c.Socket:
		return errors.New("another link listens there with another --sndbuf, --rcvbuf or --mark; give both the same")
	case c.Share != PortShare{} && e.share != nil && e.share.PortShare != c.Share:
		return errors.New("another link listens there with another --port-share; give both the same, or only one of them any")
	}
	shared := e.share
	if c.Share != (PortShare{}) && shared == nil {
		var err error
		if shared, err = newSharer(c.Share); err != nil {
			return err
		}
	}
	if err := e.open(ctx, c); err != nil {
		if shared != e.share {
			shared.wait()
		}
		return err
	}
	if c.Share != (PortShare{}) {
		e.share = shared
		e.sharing++
	}
	e.members = append(e.members, l)
	e.log = e.members[0].config.Log
	return nil
}

// open opens the socket, unless it is open. Its error is without operation and
// address.
func (e *entrance) open(ctx context.Context, c ListenConfig) error {
	if e.tcp != nil {
		return nil
	}
	lc := net.ListenConfig{Control: c.control(false)}
	l, err := lc.Listen(ctx, network("tcp", c.Local.Addr()), c.Local.String())
	if err != nil {
		return withoutAddress(err)
	}
	tcp := l.(*net.TCPListener)
	e.tcp, e.local = tcp, addrPort(l.Addr())
	e.running.Go(func() { e.accept(tcp) })
	return nil
}

// settle closes the socket where nobody wants it open.
func (e *entrance) settle() {
	alone := len(e.members) == 1 && e.share == nil
	if e.tcp != nil && (len(e.members) == 0 || alone && e.members[0].current != nil) {
		e.tcp.Close()
		e.tcp = nil
	}
}

// Again listens again at the same address, where the socket was closed for the
// connection that Accept gave. Its error is a *BindError.
func (l *Listener) Again(ctx context.Context) error {
	entrances.Lock()
	defer entrances.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	if l.current != nil { // it waits for Accept
		return nil
	}
	if err := l.entrance.open(ctx, l.config); err != nil {
		return &BindError{"listen on tcp", l.config.Local, err}
	}
	return nil
}

// Accept waits for a connection of the link's peer. Until it is closed, others of
// the peer are. After Close it returns net.ErrClosed.
func (l *Listener) Accept(ctx context.Context) (*TCP, error) {
	select {
	case t := <-l.ready:
		return t, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Local is the address that is listened on, and Asked the one that was asked for.
func (l *Listener) Local() netip.AddrPort {
	entrances.Lock()
	defer entrances.Unlock()
	return l.entrance.local
}

func (l *Listener) Asked() netip.AddrPort { return l.config.Local }

// Close ends Accept and leaves the socket, which is closed with its last link.
// The connection that was accepted stays; those that --port-share has passed on end
// with the last link that has it.
func (l *Listener) Close() error {
	e := l.entrance
	entrances.Lock()
	if l.closed {
		entrances.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	e.members = slices.DeleteFunc(e.members, func(m *Listener) bool { return m == l })
	var ended *sharer
	if l.config.Share != (PortShare{}) {
		if e.sharing--; e.sharing == 0 {
			ended, e.share = e.share, nil
			ended.end()
		}
	}
	e.settle()
	last := len(e.members) == 0
	if last {
		if entrances.known[e.at] == e {
			delete(entrances.known, e.at)
		}
		e.cancel()
		for _, n := range e.waiting {
			n.drop()
		}
	} else {
		e.log = e.members[0].config.Log
	}
	entrances.Unlock()
	select {
	case t := <-l.ready:
		t.Close()
	default:
	}
	if ended != nil {
		ended.wait()
	}
	if last {
		e.running.Wait()
	}
	return nil
}

// take gives a connection to the link, whose only one it is then. The lock is held.
func (l *Listener) take(conn *net.TCPConn, head []byte) {
	t := newTCP(conn, l.config.TCPConfig)
	if len(head) > 0 {
		t.stream.Begin(head)
	}
	t.left = func() { l.release(t) }
	l.current = t
	l.ready <- t
	l.entrance.settle()
}

// release has the link take another connection.
func (l *Listener) release(t *TCP) {
	entrances.Lock()
	defer entrances.Unlock()
	if l.current == t {
		l.current = nil
	}
}

// telling bounds how often the log tells of an address.
type telling struct {
	every time.Duration // 0: once
	last  map[netip.Addr]time.Time
}

// maxTold bounds the memory for it.
const maxTold = 1000

// due says whether to tell of an address.
func (t *telling) due(a netip.Addr, now time.Time) bool {
	old := func(at time.Time) bool { return t.every > 0 && now.Sub(at) >= t.every }
	if at, known := t.last[a]; known && !old(at) {
		return false
	}
	if t.last == nil {
		t.last = map[netip.Addr]time.Time{}
	}
	if len(t.last) >= maxTold {
		for a, at := range t.last {
			if old(at) {
				delete(t.last, a)
			}
		}
	}
	if len(t.last) >= maxTold {
		return false
	}
	t.last[a] = now
	return true
}
