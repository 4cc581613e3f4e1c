package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"tmelink/internal/openvpn"
)

// newcomer is a connection of which it is not known yet whose it is.
type newcomer struct {
	conn   *net.TCPConn
	from   netip.Addr
	since  time.Time
	head   []byte      // what has been read of it
	shown  atomic.Bool // whether head is not empty
	ctx    context.Context
	cancel context.CancelFunc
}

const (
	// maxNewcomers is how many there may be at one socket. A connection is one until
	// its first bytes have come and its peer's name is looked up: where that takes a
	// tenth of a second, more than a thousand may come in each second.
	maxNewcomers = 128
	// newcomerTime is how long a connection may take to show what it is: ten times
	// what a client needs whose bytes come one a second.
	newcomerTime = 30 * time.Second
	// lookUpTime bounds how long names are looked up to know whose it is.
	lookUpTime = 10 * time.Second
	// silence is how long a connection must say nothing for it to be a peer's that
	// waits for this end to speak. OpenVPN shares ports as a TLS server alone, whose
	// peers never do.
	silence = 5 * time.Second
	// acceptPause is before the next connection when one could not be accepted, such
	// as for want of descriptors.
	acceptPause = 100 * time.Millisecond
)

// accept takes connections until the socket is closed.
func (e *entrance) accept(tcp *net.TCPListener) {
	for {
		conn, err := tcp.AcceptTCP()
		switch {
		case err == nil:
			e.welcome(conn)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			e.tellFailure(err)
			select {
			case <-e.ctx.Done():
			case <-time.After(acceptPause):
			}
		}
	}
}

func (e *entrance) tellFailure(err error) {
	entrances.Lock()
	defer entrances.Unlock()
	if n := e.failing.Due(time.Now()); n > 0 {
		e.log.Warn("no connection can be accepted", "local", e.local, "times", n, "err", withoutAddress(err))
	}
}

// welcome makes a connection a newcomer, in place of another if there are many.
func (e *entrance) welcome(conn *net.TCPConn) {
	entrances.Lock()
	defer entrances.Unlock()
	if e.ctx.Err() != nil {
		conn.Close()
		return
	}
	n := &newcomer{conn: conn, from: addrPort(conn.RemoteAddr()).Addr(), since: time.Now()}
	n.ctx, n.cancel = context.WithCancel(e.ctx)
	if len(e.waiting) >= maxNewcomers {
		e.tellOdd("there are too many that show nothing")
		e.dismiss(leastWelcome(e.waiting)).drop()
	}
	e.waiting = append(e.waiting, n)
	e.running.Go(func() { e.receive(n) })
}

// leastWelcome chooses whom to close: of those who have shown nothing the oldest of
// the address with the most of them, so that who opens many keeps out only himself.
func leastWelcome(waiting []*newcomer) *newcomer {
	count := map[netip.Addr]int{}
	for _, n := range waiting {
		if !n.shown.Load() {
			count[n.from]++
		}
	}
	var found *newcomer
	for _, n := range waiting {
		if !n.shown.Load() && (found == nil || count[n.from] > count[found.from]) {
			found = n
		}
	}
	if found == nil {
		return waiting[0]
	}
	return found
}

// dismiss makes a connection a newcomer no more.
func (e *entrance) dismiss(n *newcomer) *newcomer {
	e.waiting = slices.DeleteFunc(e.waiting, func(other *newcomer) bool { return other == n })
	return n
}

// drop closes a newcomer's connection, and ends what is waited for.
func (n *newcomer) drop() {
	n.cancel()
	n.conn.Close()
}

// tellOdd logs, now and then, that connections were closed of which nothing came.
func (e *entrance) tellOdd(why string) {
	if times := e.odd.Due(time.Now()); times > 0 {
		e.log.Warn("closed a connection that has not shown what it is", "local", e.local, "times", times, "err", why)
	}
}

// receive finds out whose a connection is, and gives it to him.
func (e *entrance) receive(n *newcomer) {
	defer n.cancel()
	entrances.Lock()
	share := e.share
	entrances.Unlock()
	if share == nil {
		e.handOver(n)
		return
	}
	verdict, err := e.judge(n)
	switch {
	case err == nil && verdict == openvpn.Own:
		e.handOver(n)
	case err == nil:
		e.passOn(n, share)
	default:
		entrances.Lock()
		defer entrances.Unlock()
		e.dismiss(n)
		n.conn.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			e.tellOdd("it took longer than " + newcomerTime.String())
		}
	}
}

// judge reads a newcomer's first bytes until they suffice. Its error is that of the
// connection.
func (e *entrance) judge(n *newcomer) (openvpn.Verdict, error) {
	if e.maySilent() {
		verdict, err := n.read(n.since.Add(silence), e.verdict)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return verdict, err
		}
		if len(n.head) == 0 {
			if l, _ := e.whose(n); l == nil || l.config.Beginning.Silent() {
				return openvpn.Own, nil
			}
		}
	}
	return n.read(n.since.Add(newcomerTime), e.verdict)
}

// read reads until there is a verdict. What ends before is another protocol's, if it
// has said anything.
func (n *newcomer) read(until time.Time, judge func([]byte) openvpn.Verdict) (openvpn.Verdict, error) {
	n.conn.SetReadDeadline(until)
	buf := make([]byte, openvpn.HeadLen)
	for {
		if v := judge(n.head); v != openvpn.Undecided || len(n.head) == openvpn.HeadLen {
			return v, nil
		}
		got, err := n.conn.Read(buf[:openvpn.HeadLen-len(n.head)])
		if got > 0 {
			n.head = append(n.head, buf[:got]...)
			n.shown.Store(true)
		} else if err == io.EOF && len(n.head) > 0 {
			return openvpn.Foreign, nil
		} else if err != nil {
			return openvpn.Undecided, err
		}
	}
}

// verdict is foreign where it is for every link, and waits until each has one.
func (e *entrance) verdict(head []byte) openvpn.Verdict {
	entrances.Lock()
	defer entrances.Unlock()
	all := openvpn.Foreign
	for _, l := range e.members {
		switch l.config.Beginning.Judge(head) {
		case openvpn.Undecided:
			return openvpn.Undecided
		case openvpn.Own:
			all = openvpn.Own
		}
	}
	return all
}

func (e *entrance) maySilent() bool {
	entrances.Lock()
	defer entrances.Unlock()
	return slices.ContainsFunc(e.members, func(l *Listener) bool { return l.config.Beginning.Silent() })
}

// passOn gives a connection to the server of --port-share.
func (e *entrance) passOn(n *newcomer, share *sharer) {
	entrances.Lock()
	e.dismiss(n)
	log := e.log
	entrances.Unlock()
	if n.ctx.Err() != nil {
		n.conn.Close()
		return
	}
	n.conn.SetReadDeadline(time.Time{})
	share.pass(n.conn, n.head, log)
}

// handOver gives a connection to the link whose peer it comes from.
func (e *entrance) handOver(n *newcomer) {
	l, err := e.whose(n)
	entrances.Lock()
	if l != nil && e.share != nil && len(n.head) > 0 && l.config.Beginning.Judge(n.head) == openvpn.Foreign {
		share := e.share
		entrances.Unlock()
		e.passOn(n, share)
		return
	}
	defer entrances.Unlock()
	e.dismiss(n)
	n.conn.SetReadDeadline(time.Time{})
	now := time.Now()
	switch {
	case n.ctx.Err() != nil:
	case l == nil && e.strangers.due(n.from, now):
		e.log.Warn("closed the connection of another than the peer", "from", n.from, "local", e.local, "err", err)
	case l == nil:
	case !l.closed && l.current == nil:
		l.take(n.conn, n.head)
		return
	case !l.closed && e.busy.due(n.from, now):
		l.config.Log.Warn("closed a second connection of the peer: the link has one", "from", n.from, "local", e.local)
	}
	n.conn.Close()
}

// whose finds the link whose peer's address a connection comes from, else one that
// takes any; of several rather one that has no connection. Without any, the error
// says what could not be looked up.
func (e *entrance) whose(n *newcomer) (*Listener, error) {
	ctx, cancel := context.WithTimeout(n.ctx, lookUpTime)
	defer cancel()
	entrances.Lock()
	members := slices.Clone(e.members)
	entrances.Unlock()
	type answer struct {
		l   *Listener
		is  bool
		err error
	}
	answers := make(chan answer, len(members))
	var choice, anybody *Listener
	asked := 0
	for _, l := range members {
		if l.config.Remote == nil {
			anybody = freer(anybody, l)
			continue
		}
		asked++
		e.running.Go(func() { // one name server that is silent holds up nobody else
			addrs, err := l.config.Remote(ctx)
			answers <- answer{l, slices.ContainsFunc(addrs, func(a netip.Addr) bool { return Matches(a, n.from) }), err}
		})
	}
	var failed error
	for ; asked > 0; asked-- {
		a := <-answers
		if a.err != nil {
			failed = a.err
		} else if a.is {
			if choice = freer(choice, a.l); choice.free() {
				return choice, nil
			}
		}
	}
	if choice == nil {
		choice = anybody
	}
	return choice, failed
}

// freer is the first of two links, unless only the other has no connection.
func freer(a, b *Listener) *Listener {
	if a == nil || !a.free() && b.free() {
		return b
	}
	return a
}

func (l *Listener) free() bool {
	entrances.Lock()
	defer entrances.Unlock()
	return l.current == nil && !l.closed
}
