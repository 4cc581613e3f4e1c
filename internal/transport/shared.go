package transport

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/occasion"
)

// Theory of operation: the first UDP of a port reads its socket by itself. When a
// second one asks for the same port, its reader is woken, and from then on a
// goroutine of the port reads the socket, finds out whose each datagram is, and
// hands it to that member's queue, where it lies until the member's reader comes for
// it. Nothing is copied: what lies in the queues is shares of the memory that the
// kernel has written to. Each member decides on its datagrams as if it had the
// socket alone, sends by the same socket, and leaves when it is closed; with the last
// one the socket is closed.
//
// Whose a datagram is: the member's whose peer, or remote, its sender is; else the
// member's that recognizes it by its keys; else that of the one member who takes
// packets of anybody.

// ports are the UDP ports that were asked for by number.
var ports = struct {
	sync.Mutex // held while sockets are bound, joined and left
	open       map[portKey]*udpPort
}{open: map[portKey]*udpPort{}}

// portKey is what the kernel binds one socket to.
type portKey struct {
	local  netip.AddrPort
	device string
}

func keyOf(c *UDPConfig) portKey { return portKey{c.Local, c.Device} }

// udpPort is a socket and those who use it.
type udpPort struct {
	key    portKey
	socket Socket
	plain  bool
	conn   *net.UDPConn
	raw    syscall.RawConn
	joined bool // datagrams may come joined
	drops  *kernelDrops

	running sync.WaitGroup // the goroutine that reads for all, once shared
	shared  bool           // under ports

	mu       sync.Mutex           // held while a batch is handed out
	members  []*member            // in the order they came
	peers    map[sockaddr]*member // whom they take packets of
	floating *member              // the one who takes packets of anybody

	last   sockaddr // whom the last datagram was from, and for which member
	lastTo *member  // nil: not known

	strangers occasion.Occasion
}

// openPort makes a port of a UDP that has the socket alone.
func openPort(u *UDP) {
	c := &u.config
	p := &udpPort{
		key: keyOf(c), socket: c.Socket, plain: c.Plain, conn: u.conn, raw: u.raw, joined: u.joined, drops: u.drops,
		peers: map[sockaddr]*member{}, strangers: occasion.New(3, time.Minute),
	}
	u.port = p
	p.members = []*member{newMember(u)}
	ports.open[p.key] = p
}

// Why a port cannot be shared.
var (
	errOtherTerms = errors.New("another link of this process has that port, and asks other things of the socket: give both the same --mark, --sndbuf, --rcvbuf, --mtu-disc and --offload, or one of them another --lport")
	errTwoFloat   = errors.New("another link of this process has that port, and takes packets of anybody like this one: give one of them a --remote, or another --lport")
	errSamePeer   = errors.New("another link of this process has that port, and a peer at the same address and port: give one of them another --remote, or another --lport")
)

// join makes a UDP over the socket for one more member. ports is locked.
func (p *udpPort) join(c UDPConfig) (*UDP, error) {
	if c.Socket != p.socket || c.Plain != p.plain {
		return nil, &BindError{"listen on udp", c.Local, errOtherTerms}
	}
	if err := p.clash(&c); err != nil {
		return nil, &BindError{"listen on udp", c.Local, err}
	}
	if !p.shared {
		p.share(p.members[0])
		defer p.running.Go(p.run)
	}
	u := newUDP(c, p.conn)
	u.raw, u.joined, u.drops, u.port = p.raw, p.joined, p.drops, p
	u.begin()
	m := newMember(u)
	u.shared.Store(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = append(p.members, m)
	p.sort()
	return u, nil
}

// clash says why somebody cannot be a member.
func (p *udpPort) clash(c *UDPConfig) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		if takesAnybody(&m.u.config) && takesAnybody(c) {
			return errTwoFloat
		}
		if slices.ContainsFunc(c.Remotes, m.u.isRemote) {
			return errSamePeer
		}
	}
	return nil
}

// takesAnybody says whether whoever sends is the peer.
func takesAnybody(c *UDPConfig) bool {
	return len(c.Remotes) == 0 || c.Float && c.Recognize == nil
}

// share leaves the socket to the port's goroutine, which is started afterwards: the
// only member's reader is out of it. ports is locked, and mu is not, which this reader
// may wait for.
func (p *udpPort) share(alone *member) {
	p.shared = true
	u := alone.u
	u.shared.Store(alone)
	p.conn.SetReadDeadline(longAgo)
	u.receiving.Lock()
	u.unsettle()
	p.conn.SetReadDeadline(time.Time{})
	u.receiving.Unlock()
}

// leave takes a member out, and closes the socket after the last one. A writer of the
// one that leaves may wait for the socket to take its packets: all writers are woken,
// and those of others go back to it.
func (p *udpPort) leave(u *UDP) error {
	ports.Lock()
	p.mu.Lock()
	at := slices.IndexFunc(p.members, func(m *member) bool { return m.u == u })
	if at < 0 {
		p.mu.Unlock()
		ports.Unlock()
		return net.ErrClosed
	}
	u.left.Store(true)
	p.members[at].end(net.ErrClosed)
	p.members = slices.Delete(p.members, at, at+1)
	p.sort()
	last := len(p.members) == 0
	p.mu.Unlock()
	var err error
	if last {
		p.forget()
		err = p.conn.Close()
	} else {
		p.conn.SetWriteDeadline(longAgo)
		u.writing.Lock() // it is out of the socket
		p.conn.SetWriteDeadline(time.Time{})
		u.writing.Unlock()
	}
	ports.Unlock()
	if last {
		p.running.Wait()
	}
	return err
}

// forget has nobody join the port any more. ports is locked.
func (p *udpPort) forget() {
	if ports.open[p.key] == p {
		delete(ports.open, p.key)
	}
}

// run reads the socket for all members until it is closed or lost.
func (p *udpPort) run() {
	f := newFan(p)
	for {
		if err := f.receive(); err != nil {
			if errors.Is(err, net.ErrClosed) { // nobody is left
				return
			}
			ports.Lock()
			p.forget()
			ports.Unlock()
			p.mu.Lock()
			for _, m := range p.members {
				m.end(err)
			}
			p.mu.Unlock()
			return
		}
	}
}

// moved takes up that a member's peer has another address.
func (p *udpPort) moved() {
	p.mu.Lock()
	p.sort()
	p.mu.Unlock()
}

// sort notes anew whose datagrams are whose. What members were given for their remotes
// goes before where their peers are now.
func (p *udpPort) sort() {
	clear(p.peers)
	p.lastTo = nil
	add := func(peer *udpPeer, m *member) {
		if _, taken := p.peers[peer.name]; !taken {
			p.peers[peer.name] = m
		}
	}
	for _, m := range p.members {
		for _, r := range m.remotes {
			add(r, m)
		}
	}
	for _, m := range p.members {
		if peer := m.u.peer.Load(); peer != nil {
			add(peer, m)
		}
	}
	p.floating = p.whoFloats()
}

// whoFloats gives the member without remotes, or else the only one that floats.
func (p *udpPort) whoFloats() (found *member) {
	floats := 0
	for _, m := range p.members {
		switch {
		case len(m.u.config.Remotes) == 0:
			return m
		case m.u.config.Float:
			found = m
			floats++
		}
	}
	if floats != 1 {
		return nil
	}
	return found
}

// known gives the member whose peer has a name, nil for none.
func (p *udpPort) known(name *sockaddr) *member {
	if p.lastTo != nil && *name == p.last {
		return p.lastTo
	}
	m := p.peers[*name]
	if m != nil {
		p.last, p.lastTo = *name, m
	}
	return m
}

// search gives the member for whom the datagrams, of a size, of somebody are who is
// nobody's peer until now, nil for none.
func (p *udpPort) search(from netip.AddrPort, data []byte, size int) *member {
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	for _, m := range p.members {
		if m.u.isRemote(from) { // and now its zone is known
			return m
		}
	}
	for _, m := range p.members {
		if m.recognizes(data, size) {
			return m
		}
	}
	if p.floating == nil && len(p.members) > 0 { // counted once, at the eldest
		u := p.members[0].u
		u.config.Counters.Read.Add(ethernet.Stranger, count(data, size))
		if n := p.strangers.Due(time.Now()); n > 0 {
			u.config.Log.Warn("dropped what none of the port's links has for its peer", "local", u.local, "from", from, "times", n)
		}
	}
	return p.floating
}

// count is how many datagrams of a size there are; an empty one is one, too.
func count(data []byte, size int) int { return max(1, (len(data)+size-1)/max(1, size)) }

// member is one who uses a port, and the queue of what has come for it.
type member struct {
	u       *UDP
	remotes []*udpPeer

	mu       sync.Mutex
	filled   sync.Cond // or ended
	queue    [maxShares]share
	first, n int
	ended    error
}

func newMember(u *UDP) *member {
	m := &member{u: u}
	m.filled.L = &m.mu
	for _, r := range u.config.Remotes {
		m.remotes = append(m.remotes, u.newPeer(r))
	}
	return m
}

// recognizes says whether one of somebody's datagrams shows that he is the member's
// peer, who may be anywhere.
func (m *member) recognizes(data []byte, size int) bool {
	c := &m.u.config
	if c.Recognize == nil || !c.Float && len(c.Remotes) > 0 || len(data) == 0 {
		return false
	}
	for p := range slices.Chunk(data, size) {
		if c.Recognize(p) {
			return true
		}
	}
	return false
}

// put gives the member a share, and what it has no room for it counts.
func (m *member) put(s share) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.ended != nil:
	case m.n > 0 && m.queue[(m.first+m.n-1)%maxShares].add(s):
	case m.n == maxShares:
		m.u.config.Counters.Read.Add(ethernet.QueueFull, s.count())
	default:
		s.keep()
		m.queue[(m.first+m.n)%maxShares] = s
		m.n++
		m.filled.Signal()
	}
}

// take waits for a share, which its taker has to release.
func (m *member) take() (share, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.n == 0 && m.ended == nil && !m.u.interrupted.Load() {
		m.filled.Wait()
	}
	switch {
	case m.ended != nil:
		return share{}, m.ended
	case m.n == 0:
		m.u.interrupted.Store(false)
		return share{}, ErrInterrupted
	}
	s := m.queue[m.first]
	m.queue[m.first] = share{}
	m.first = (m.first + 1) % maxShares
	m.n--
	return s, nil
}

// wake has a reader that waits look about.
func (m *member) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.filled.Broadcast()
}

// end lets go of what is in the queue, and has the reader get an error.
func (m *member) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended == nil {
		m.ended = err
	}
	for ; m.n > 0; m.n-- {
		m.queue[m.first].release()
		m.queue[m.first] = share{}
		m.first = (m.first + 1) % maxShares
	}
	m.filled.Broadcast()
}
