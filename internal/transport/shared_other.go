//go:build !linux

package transport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/spare"
)

// maxShares is how many datagrams may wait that a member has not come for.
const maxShares = 256

// datagram is one, of a shared socket.
type datagram struct {
	buf  [1<<16 + datachannel.Slack]byte
	n    int
	from netip.AddrPort
	refs atomic.Int32 // who reads it
}

var datagrams = spare.New(func() *datagram { return new(datagram) })

func (d *datagram) release() {
	if d.refs.Add(-1) == 0 {
		datagrams.Give(d)
	}
}

// share is a datagram for a member.
type share struct{ datagram *datagram }

// add puts nothing together: each datagram lies by itself.
func (s *share) add(share) bool { return false }
func (s *share) keep()          { s.datagram.refs.Add(1) }
func (s *share) count() int     { return 1 }

func (s *share) release() {
	if s.datagram != nil {
		s.datagram.release()
		*s = share{}
	}
}

// receiveShare waits for what the port has for this member.
func (r *receiver) receiveShare(m *member) ([][]byte, error) {
	r.share.release()
	s, err := m.take()
	if err != nil {
		return nil, err
	}
	r.share = s
	return r.take(s.datagram.buf[:s.datagram.n], s.datagram.from), nil
}

// fan reads a shared socket and hands out what comes.
type fan struct {
	port   *udpPort
	errors int // in a row
}

func newFan(p *udpPort) *fan { return &fan{port: p} }

// receive waits for a datagram and hands it out. Its error is the socket's end.
func (f *fan) receive() error {
	d := datagrams.Take()
	d.refs.Store(1)
	defer d.release()
	buf := d.buf[:len(d.buf)-datachannel.Slack]
	n, from, err := f.port.conn.ReadFromUDPAddrPort(buf)
	switch {
	case errors.Is(err, net.ErrClosed):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded): // one who had the socket alone was interrupted
		f.port.conn.SetReadDeadline(time.Time{})
		return nil
	case errors.Is(err, errTooLong): // see receiver.receive
		n = len(buf)
	case err != nil:
		if f.errors++; f.errors > maxErrors {
			return err
		}
		f.port.tellError(err)
		return nil
	}
	f.errors = 0
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	d.n, d.from = n, from
	p := f.port
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.known(&from)
	if m == nil {
		m = p.search(from, d.buf[:n], n)
	}
	if m != nil {
		m.put(share{d})
	}
	return nil
}

// tellError has the eldest member log what the network says.
func (p *udpPort) tellError(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.members) > 0 {
		p.members[0].u.tellError(err)
	}
}
