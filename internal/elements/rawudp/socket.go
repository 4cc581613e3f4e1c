package rawudp

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/occasion"
	"tmelink/internal/transport"
)

// receiveBuffer holds a burst of frames, as far as the host allows.
const receiveBuffer = 1 << 20

// receiver takes frames out of a socket. One goroutine uses it.
type receiver struct {
	conn     *net.UDPConn
	maxFrame int
	drops    *ethernet.Drops
	log      *slog.Logger
	buf      []byte
	failures occasion.Occasion
	odd      bool // that datagrams are no frames was told
}

func newReceiver(conn *net.UDPConn, maxFrame int, drops *ethernet.Drops, log *slog.Logger) *receiver {
	conn.SetReadBuffer(receiveBuffer)
	return &receiver{conn: conn, maxFrame: maxFrame, drops: drops, log: log, buf: make([]byte, maxFrame+1), failures: occasion.New(1, time.Minute)}
}

// receive waits for a datagram that is a frame, which is borrowed until the next.
// Its error is net.ErrClosed, once the socket is closed.
func (r *receiver) receive() ([]byte, netip.AddrPort, error) {
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(r.buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, from, net.ErrClosed
		case err != nil && !transport.IsTooLong(err): // Windows tells of a datagram that does not fit, and of ICMP's errors
			if times := r.failures.Due(time.Now()); times > 0 {
				r.log.Warn("a datagram could not be received", "err", err, "times", times)
			}
			time.Sleep(time.Millisecond)
			continue
		case n < ethernet.HeaderLen && err == nil:
			r.refuse(ethernet.Runt, n, from)
			continue
		case n > r.maxFrame || err != nil:
			r.refuse(ethernet.Oversize, n, from)
			continue
		}
		return r.buf[:n:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), nil
	}
}

// refuse counts a datagram that is no frame, and tells of the first.
func (r *receiver) refuse(why ethernet.Reason, length int, from netip.AddrPort) {
	r.drops.Add(why, 1)
	if !r.odd {
		r.odd = true
		r.log.Warn("dropped a datagram that is no frame; others are counted", "peer", from, "bytes", length, "reason", why)
	}
}

// sender sends frames by a socket. One goroutine uses it.
type sender struct {
	conn     *net.UDPConn
	drops    *ethernet.Drops
	log      *slog.Logger
	padded   [ethernet.MinFrame]byte
	failures occasion.Occasion
}

func newSender(conn *net.UDPConn, drops *ethernet.Drops, log *slog.Logger) *sender {
	return &sender{conn: conn, drops: drops, log: log, failures: occasion.New(1, time.Minute)}
}

// send sends a frame, filled up to what a wire carries. What the kernel refuses is
// counted; the only error is net.ErrClosed.
func (s *sender) send(frame []byte, to netip.AddrPort) error {
	if len(frame) < ethernet.MinFrame {
		clear(s.padded[copy(s.padded[:], frame):])
		frame = s.padded[:]
	}
	_, err := s.conn.WriteToUDPAddrPort(frame, to)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, net.ErrClosed):
		s.drops.Add(ethernet.Disconnected, 1)
		return net.ErrClosed
	case transport.IsTooLong(err):
		s.drops.Add(ethernet.TooLong, 1)
	default:
		s.drops.Add(ethernet.SendFailed, 1)
	}
	if times := s.failures.Due(time.Now()); times > 0 {
		s.log.Warn("the kernel refuses to send", "peer", to, "err", err, "times", times)
	}
	return nil
}
