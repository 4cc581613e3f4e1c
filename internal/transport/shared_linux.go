package transport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tmelink/internal/mmsg"
	"tmelink/internal/spare"
)

// maxShares is in how many batches datagrams may lie that a member has not come for.
// It bounds what a member that does not read holds of the memory; of datagrams it
// amounts to about as many as a socket's own buffer.
const maxShares = 32

// share is a member's slots of a batch, a bit for each. Whoever has one in the queue
// or reads in it counts as one of the batch's refs.
type share struct {
	batch *receiveBatch
	slots uint64
}

// add puts another share of the same batch to this one.
func (s *share) add(more share) bool {
	if s.batch != more.batch {
		return false
	}
	s.slots |= more.slots
	return true
}

func (s *share) keep() { s.batch.refs.Add(1) }

func (s *share) release() {
	if s.batch != nil {
		s.batch.release()
		*s = share{}
	}
}

// count is how many datagrams it is.
func (s *share) count() (n int) {
	for i := range receiveSlots {
		if s.slots&(1<<i) != 0 {
			data, size, _ := s.batch.datagrams(i)
			n += count(data, size)
		}
	}
	return n
}

// release gives the batch back after the last reader.
func (b *receiveBatch) release() {
	if b.refs.Add(-1) == 0 {
		receiveBatches.Give(b)
	}
}

// packetList is memory for the list of a share's packets.
type packetList struct{ packets [][]byte }

// packetLists are those that no receiver holds.
var packetLists = spare.New(func() *packetList { return new(packetList) })

// receiveShare waits for what the port has for this member.
func (r *receiver) receiveShare(m *member) ([][]byte, error) {
	r.rest() // of the time when it had the socket alone
	r.share.release()
	if r.list != nil {
		packetLists.Give(r.list)
		r.list = nil
	}
	s, err := m.take()
	if err != nil {
		return nil, err
	}
	r.share, r.list = s, packetLists.Take()
	r.list.packets, _ = r.take(s.batch, s.slots, r.list.packets[:0])
	return r.list.packets, nil
}

// fan reads a shared socket and hands out what comes. A batch is filled by as many
// calls as find room in it, so that a member who is late with a few datagrams holds
// one batch for them and not as many.
type fan struct {
	pace
	port  *udpPort
	ipv4  bool
	batch *receiveBatch // nil while nobody reads in it and there is nothing to receive
	used  int           // slots of the batch
	asked int
	zones zoneCache
	try   func(fd uintptr) bool
	n     int
	errno syscall.Errno

	to    []*member // whom this call has brought something for, and
	parts []uint64  // which slots
}

func newFan(p *udpPort) *fan {
	f := &fan{port: p, pace: pace{slots: joinedSlots}, ipv4: isIPv4(p.conn)}
	f.try = f.call
	return f
}

// room takes a batch with free slots.
func (f *fan) room() {
	switch b := f.batch; {
	case b != nil && b.refs.Load() == 1: // all that was in it is read
		f.used = 0
	case b != nil && f.used < receiveSlots:
	default:
		if b != nil {
			b.release()
		}
		f.batch, f.used = receiveBatches.Take(), 0
		f.batch.refs.Store(1)
	}
}

// call receives what waits at the socket, and says no to the poller if that is
// nothing.
func (f *fan) call(fd uintptr) bool {
	f.room()
	f.asked = min(f.slots, receiveSlots-f.used)
	f.n, f.errno = mmsg.Receive(fd, f.batch.ready(f.used, f.asked, f.port.joined), 0)
	switch f.errno {
	case 0:
		return true
	case unix.EAGAIN:
		f.waited = true
		if f.batch.refs.Load() == 1 {
			f.batch.release()
			f.batch = nil
		}
		return false
	}
	readErrors(fd, f.port.noteError)
	return true
}

// receive waits for datagrams and hands them out. Its error is the socket's end.
func (f *fan) receive() error {
	p := f.port
	err := p.raw.Read(f.try)
	switch {
	case errors.Is(err, net.ErrClosed):
		if f.batch != nil {
			f.batch.release()
			f.batch = nil
		}
		return err
	case errors.Is(err, os.ErrDeadlineExceeded): // one who had the socket alone was interrupted
		p.conn.SetReadDeadline(time.Time{})
		return nil
	case err != nil: // see receiver.receive
		p.raw.Control(func(fd uintptr) { readErrors(fd, p.noteError) })
		time.Sleep(10 * time.Millisecond)
		return nil
	case f.errno != 0 && !passing(f.errno):
		return f.errno
	case f.errno != 0:
		return nil
	}
	joined := f.hand()
	f.came(f.n, f.asked, joined)
	return nil
}

// hand hands out the datagrams of a call, and says whether some of them are joined.
func (f *fan) hand() (joined bool) {
	p, b := f.port, f.batch
	p.mu.Lock()
	defer p.mu.Unlock()
	f.to, f.parts = f.to[:0], f.parts[:0]
	last := -1 // whom the last datagram was for, in to
	for i := f.used; i < f.used+f.n; i++ {
		name := &b.names[i]
		if f.ipv4 { // what is behind it is of another socket
			clear(name[unix.SizeofSockaddrInet4:])
		}
		data, size, some := b.datagrams(i)
		joined = joined || some
		m := p.known(name)
		if m == nil {
			if m = p.search(name.parse(&f.zones), data, size); m == nil {
				continue
			}
		}
		if last < 0 || f.to[last] != m {
			last = f.place(m)
		}
		f.parts[last] |= 1 << i
	}
	f.used += f.n
	for i, m := range f.to {
		m.put(share{b, f.parts[i]})
		f.to[i] = nil
	}
	return joined
}

// place gives a member's place in to.
func (f *fan) place(m *member) int {
	for i, other := range f.to {
		if other == m {
			return i
		}
	}
	f.to, f.parts = append(f.to, m), append(f.parts, 0)
	return len(f.to) - 1
}

// noteError has a member take up what was said of a datagram to its peer. How much the
// path takes concerns all whose peers are at the same host.
func (p *udpPort) noteError(e socketError, to netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		peer := m.u.peer.Load()
		if peer != nil && Matches(peer.addr.Addr(), to.Addr()) && (peer.addr.Port() == to.Port() || e.errno == unix.EMSGSIZE) {
			m.u.noteError(e, to)
		}
	}
}
