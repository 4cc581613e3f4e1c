package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
)

// DatagramConfig is what Datagrams are made of.
type DatagramConfig struct {
	Config
	Local string      // the path at which the socket is
	Mode  fs.FileMode // who may send to it
	// Remote is the path to which frames go, and from which they come; ""
	// where Connect says it, or where the peer is heard.
	Remote string
	// Hears lets whoever sends first be the peer, until that one is gone.
	Hears bool
	// Greeting is a datagram that is no frame and says nothing but that its
	// sender is there; "" for none.
	Greeting string
	// MinFrame is what the peer takes at the least: a shorter frame is filled
	// up with zeros.
	MinFrame int
	Log      *slog.Logger
}

// Datagrams is a socket over which each frame goes in a datagram. One goroutine
// reads it and another writes it; Close may be called by any.
//
// Each platform has its own
//
//	datagramIO   what it needs for its system calls
//	init         prepares it
//	Connect      (below)
//	setPeer      sends to a path from now on; the reader may call it at any time
//	receive      waits for datagrams, and gives those that are frames, perhaps none
//	send         sends a batch, and says how many frames went and why not all
//	closeMore    closes what init and send have opened
type Datagrams struct {
	config DatagramConfig
	conn   *net.UnixConn
	file   *file // nil: none
	heard  atomic.Pointer[string]
	over   atomic.Bool // Close was called
	// packets: it is a connection, and empty datagrams may be its end.
	packets bool
	senders
	datagramIO
}

// OpenDatagrams makes a socket whose file has the permissions of c.Mode. A dead
// socket at its path is replaced; the error for a living one is ErrInUse.
func OpenDatagrams(c DatagramConfig) (*Datagrams, error) {
	if errNoDatagrams != nil {
		return nil, errNoDatagrams
	}
	var conn *net.UnixConn
	lc := net.ListenConfig{Control: restrict(c.Mode)}
	f, err := makeFile("unixgram", c.Local, c.Mode, func() error {
		got, err := lc.ListenPacket(context.Background(), "unixgram", c.Local)
		if err == nil {
			conn = got.(*net.UnixConn)
		}
		return err
	})
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, fmt.Errorf("make the socket %s: %w", c.Local, err)
	}
	d, err := newDatagrams(conn, c)
	if err != nil {
		f.remove()
		return nil, err
	}
	d.file = f
	return d, nil
}

func newDatagrams(conn *net.UnixConn, c DatagramConfig) (*Datagrams, error) {
	d := &Datagrams{config: c, conn: conn, senders: senders{peer: c.Remote}}
	if err := d.init(); err != nil {
		conn.Close()
		return nil, err
	}
	return d, nil
}

// ReadFrames waits until at least one frame is there, and gives those that came
// with it. They are borrowed until the next ReadFrames. Its error is
// net.ErrClosed after Close; any other means that the socket is of no more use.
func (d *Datagrams) ReadFrames() ([]ethernet.Frame, error) {
	for {
		frames, err := d.receive()
		if err != nil || len(frames) > 0 {
			return frames, closed(err)
		}
	}
}

// takes says whether a datagram of a length is a frame, and counts it if not.
// Of a longer one than there is room for, data is the beginning.
func (d *Datagrams) takes(data []byte, length int) bool {
	drops := &d.config.Counters.Read
	switch {
	case length > 0 && string(data) == d.config.Greeting:
		return false
	case length < ethernet.HeaderLen: // also an empty one, which says nothing
		drops.Add(ethernet.Runt, 1)
	case length > d.config.MaxFrame:
		drops.Add(ethernet.Oversize, 1)
	default:
		return true
	}
	return false
}

// WriteFrames sends a batch and keeps nothing of it. It waits while the peer's
// queue is full. What is not sent, because there is no peer or for another
// reason, is counted. Errors are those of ReadFrames.
func (d *Datagrams) WriteFrames(frames []ethernet.Frame) error {
	if err := d.send(frames); err != nil || !d.over.Load() {
		return closed(err)
	}
	return net.ErrClosed
}

// Close ends both directions, wakes who waits in them, and removes the socket's
// file.
func (d *Datagrams) Close() error {
	d.over.Store(true)
	var err error
	if d.file != nil {
		err = d.file.remove()
	}
	err = errors.Join(err, closeOnce(d.conn))
	d.closeMore()
	return err
}

// Peer is the path of who was heard, "" while nobody was, or the peer is given.
func (d *Datagrams) Peer() string {
	if p := d.heard.Load(); p != nil {
		return *p
	}
	return ""
}

// senders decides whose datagrams are let in. It is the reader's.
//
// A sender is known by the path that its socket was bound to, as it was written
// there: the peer's may be relative, or lead there by another way. What was
// decided last is kept, so that only a sender that is new costs more than a
// comparison. One without a path is let in: the socket's permissions say who may
// send to it, and programs that send from a second socket do not name it.
type senders struct {
	peer     string
	known    string // another way to write peer
	stranger string
	told     time.Time // when a stranger was last logged
	asked    time.Time // when it was last looked whether the peer heard is gone
}

func (d *Datagrams) admits(path []byte) bool {
	s := &d.senders
	switch {
	case len(path) == 0 || string(path) == s.peer || string(path) == s.known:
		return true
	case d.config.Hears && d.hear(string(path)):
		return true
	case string(path) != s.stranger:
		if !d.config.Hears && samePath(string(path), s.peer) {
			s.known = string(path)
			return true
		}
		s.stranger = string(path)
	}
	d.config.Counters.Read.Add(ethernet.Stranger, 1)
	if now := time.Now(); now.Sub(s.told) > time.Minute {
		s.told = now
		if s.peer == "" {
			d.config.Log.Warn("dropped what cannot be answered: the sender's path is relative", "from", s.stranger)
		} else {
			d.config.Log.Warn("dropped what another than the peer sent", "peer", s.peer, "from", s.stranger)
		}
	}
	return false
}

// hear makes a sender the peer if there is none, or the one that there was is gone.
func (d *Datagrams) hear(path string) bool {
	s := &d.senders
	if !filepath.IsAbs(path) && path[0] != 0 { // it counts from a folder that only the sender knows
		return false
	}
	if s.peer != "" {
		now := time.Now()
		if now.Sub(s.asked) < askEvery {
			return false
		}
		s.asked = now
		if alive("unixgram", s.peer) {
			return false
		}
		d.config.Log.Info("peer has gone", "peer", s.peer)
	}
	s.peer, s.asked, s.told = path, time.Time{}, time.Time{}
	d.heard.Store(&path)
	d.setPeer(path)
	d.config.Log.Info("peer heard", "peer", path)
	return true
}

// askEvery is how often it is looked whether a peer is gone, while another sends.
const askEvery = 200 * time.Millisecond

// samePath says whether a sender's path is that of the peer. A relative one
// counts from a folder that only the sender knows, so that its last element has
// to do.
func samePath(sender, peer string) bool {
	if !filepath.IsAbs(sender) {
		return filepath.Base(sender) == filepath.Base(peer)
	}
	a, errA := os.Stat(sender)
	b, errB := os.Stat(peer)
	return errA == nil && errB == nil && os.SameFile(a, b)
}
