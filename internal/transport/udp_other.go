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

type udpPeer struct{ addr netip.AddrPort }

// tune does nothing: these systems have neither super-datagrams nor an error
// queue that Go's packages reach.
func (u *UDP) tune() {}

// settle does nothing: the sender's address is looked at with each datagram.
func (u *UDP) settle(*udpPeer) {}

func (u *UDP) newPeer(addr netip.AddrPort) *udpPeer { return &udpPeer{addr} }

// receiver reads one datagram a call: these systems have no recvmmsg that Go's
// packages reach.
type receiver struct {
	u       *UDP
	buf     []byte
	packets [1][]byte
	last    netip.AddrPort // whose datagrams were let in last
	errors  int            // in a row
}

// maxErrors is how many errors in a row a socket may give before it counts as
// lost.
const maxErrors = 100

func (r *receiver) init(u *UDP) {
	// One byte more than a packet may have shows a datagram that was cut.
	*r = receiver{u: u, buf: make([]byte, u.config.MaxPacket+1, u.config.MaxPacket+1+datachannel.Slack)}
}

func (r *receiver) receive() ([][]byte, error) {
	n, from, err := r.u.conn.ReadFromUDPAddrPort(r.buf)
	switch {
	case errors.Is(err, net.ErrClosed):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.u.conn.SetReadDeadline(time.Time{})
		return nil, ErrInterrupted
	case errors.Is(err, errTooLong): // Windows; other systems cut silently
		n = len(r.buf)
	case err != nil:
		// What ICMP said of a datagram that was sent: the socket is as good as
		// before, and the error is taken off it.
		if r.errors++; r.errors > maxErrors {
			return nil, err
		}
		if n := r.u.reports.Due(time.Now()); n > 0 {
			r.u.config.Log.Warn("the network reports", "err", err, "times", n)
		}
		return nil, nil
	}
	r.errors = 0
	drops := &r.u.config.Counters.Read
	if n == 0 {
		drops.Add(ethernet.Runt, 1)
		return nil, nil
	}
	if from != r.last {
		if !r.u.admits(from, r.buf[:n], n) {
			return nil, nil
		}
		r.last = from
	}
	if n > r.u.config.MaxPacket {
		r.u.dropOversize(n, r.u.config.MaxPacket)
		return nil, nil
	}
	r.packets[0] = r.buf[:n]
	return r.packets[:], nil
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
		_, e := s.u.conn.WriteToUDPAddrPort(p, peer.addr)
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
