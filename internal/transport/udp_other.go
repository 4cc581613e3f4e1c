//go:build !linux

package transport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn/datachannel"
)

// sockaddr is an address as these systems give it.
type sockaddr = netip.AddrPort

type udpPeer struct {
	addr netip.AddrPort
	name sockaddr
}

// tune does nothing: these systems have neither super-datagrams nor an error
// queue that Go's packages reach.
func (u *UDP) tune() {}

// settle does nothing: the sender's address is looked at with each datagram.
func (u *UDP) settle(*udpPeer) {}

// unsettle does nothing either.
func (u *UDP) unsettle() {}

func (u *UDP) newPeer(addr netip.AddrPort) *udpPeer { return &udpPeer{addr, addr} }

// receiver reads one datagram a call: these systems have no recvmmsg that Go's
// packages reach.
type receiver struct {
	u       *UDP
	buf     []byte
	packets [1][]byte
	last    netip.AddrPort // whose datagrams were let in last
	errors  int            // in a row

	share share // of a shared port, that the packet given last is in
}

// maxErrors is how many errors in a row a socket may give before it counts as
// lost.
const maxErrors = 100

func (r *receiver) init(u *UDP) {
	// One byte more than a packet may have shows a datagram that was cut.
	*r = receiver{u: u, buf: make([]byte, u.config.MaxPacket+1, u.config.MaxPacket+1+datachannel.Slack)}
}

// receive waits for a datagram and gives it if it counts.
func (r *receiver) receive() ([][]byte, error) {
	if m := r.u.shared.Load(); m != nil {
		return r.receiveShare(m)
	}
	r.u.receiving.Lock()
	defer r.u.receiving.Unlock()
	if r.u.shared.Load() != nil {
		return nil, nil
	}
	n, from, err := r.u.conn.ReadFromUDPAddrPort(r.buf)
	switch {
	case errors.Is(err, net.ErrClosed):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.u.woken()
		return nil, nil
	case errors.Is(err, errTooLong): // Windows; other systems cut silently
		n = len(r.buf)
	case err != nil:
		// What ICMP said of a datagram that was sent: the socket is as good as
		// before, and the error is taken off it.
		if r.errors++; r.errors > maxErrors {
			return nil, err
		}
		r.u.tellError(err)
		return nil, nil
	}
	r.errors = 0
	return r.take(r.buf[:n], from), nil
}

// tellError logs what the network says of a datagram that was sent to nobody knows
// whom.
func (u *UDP) tellError(err error) {
	u.reporting.Lock()
	n := u.reports.Due(time.Now())
	u.reporting.Unlock()
	if n > 0 {
		u.config.Log.Warn("the network reports", "err", err, "times", n)
	}
}

// take gives a datagram if it counts.
func (r *receiver) take(data []byte, from netip.AddrPort) [][]byte {
	drops := &r.u.config.Counters.Read
	if len(data) == 0 {
		drops.Add(ethernet.Runt, 1)
		return nil
	}
	if from != r.last {
		if !r.u.admits(from, data, len(data)) {
			return nil
		}
		r.last = from
	}
	if len(data) > r.u.config.MaxPacket {
		r.u.dropOversize(len(data), r.u.config.MaxPacket)
		return nil
	}
	r.packets[0] = data
	return r.packets[:]
}

// CountDropped does nothing: these systems do not tell what a socket has lost.
func (u *UDP) CountDropped() {}

type sender struct{ u *UDP }

func (s *sender) init(u *UDP) { s.u = u }

// send sends the packets, all but empty ones, and says how many of them went and
// which the kernel refused; err is the socket's end.
func (s *sender) send(packets [][]byte, peer *udpPeer) (sent int, refused refusal, err error) {
	for _, p := range packets {
		if len(p) == 0 {
			continue
		}
		e := s.u.writeTo(p, peer.addr)
		switch {
		case errors.Is(e, net.ErrClosed):
			return sent, refused, e
		case e != nil:
			refused.note(s.u.config.Discovery, e, 1, len(p))
		default:
			sent++
		}
	}
	return sent, refused, nil
}
