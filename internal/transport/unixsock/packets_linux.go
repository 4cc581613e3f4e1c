package unixsock

import (
	"net"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
)

var errNoPackets error

// Packets is a connection over which each frame goes in a packet of its own
// (SOCK_SEQPACKET). One goroutine reads it and another writes it; Close may be
// called by any.
//
// What it does between its beginning and its end is that of Datagrams with a
// socket that is connected to its peer.
type Packets struct {
	datagrams *Datagrams
	who       string
}

func newPackets(conn *net.UnixConn, c Config) (Conn, error) {
	d, err := newDatagrams(conn, DatagramConfig{Config: c})
	if err != nil {
		return nil, err
	}
	d.packets = true
	return &Packets{d, ownerOf(d.raw)}, nil
}

// ReadFrames waits until at least one frame is there, and gives those that came
// with it. They are borrowed until the next ReadFrames. Its error is net.ErrClosed
// after Close, or ErrGone when the other end has closed.
func (p *Packets) ReadFrames() ([]ethernet.Frame, error) { return p.datagrams.ReadFrames() }

// WriteFrames sends a batch and keeps nothing of it. It waits while the other end
// does not read. What is not sent is counted. Errors are those of ReadFrames.
func (p *Packets) WriteFrames(frames []ethernet.Frame) error { return p.datagrams.WriteFrames(frames) }

// Vanished says whether the other end has closed the connection.
func (p *Packets) Vanished() bool { return vanished(p.datagrams.raw) }

// Peer says who the other end is.
func (p *Packets) Peer() string { return p.who }

// Close ends both directions and wakes who waits in them.
func (p *Packets) Close() error { return p.datagrams.Close() }

// ended says whether the empty packet that came as number i is the end of the
// connection, and not one that was sent empty: behind the end nothing comes, and
// the kernel gives it as often as it is asked.
func (d *Datagrams) ended(i int) bool {
	if !d.packets || d.in.msgs[i].Len != 0 || d.in.msgs[i].Flags&unix.MSG_TRUNC != 0 || !vanished(d.raw) {
		return false
	}
	for _, m := range d.in.msgs[i+1 : d.got] {
		if m.Len != 0 {
			return false
		}
	}
	return true
}
