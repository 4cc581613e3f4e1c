package unixsock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/ethernet"
	"tmelink/internal/mmsg"
)

// Theory of operation: batches go by recvmmsg(2) and sendmmsg(2), as streams go
// by their calls (see stream_linux.go). A socket that is not connected names its
// peer with each datagram, so that the peer may end and begin again.
//
// The queue of a peer that is not connected to us holds net.unix.max_dgram_qlen
// datagrams, 10 unless the host raises it, and the readiness of our socket to
// write says nothing of that queue. Only for a socket that is connected to the
// peer the kernel tells when there is room again; ours cannot be connected for
// that long, because connecting it anew empties its receive queue. So a second
// socket, the waiter, is connected while we wait.

type datagramIO struct {
	raw       syscall.RawConn
	connected bool                 // to the peer
	peerAt    atomic.Pointer[peer] // else; nil: nobody was heard

	tryReceive func(fd uintptr) bool // the reader's
	in         *inbox                // nil: nothing has come
	got        int
	readErr    syscall.Errno

	to      *peer                 // the writer's, while it sends a batch; nil: it is connected
	trySend func(fd uintptr) bool // likewise
	out     *outbox               // nil between batches
	sendErr syscall.Errno
	refused time.Time // when a refusal was last logged

	mu     sync.Mutex // held while the waiter is made or closed
	waiter *waiter    // nil: the peer's queue was never full
}

// peer is to whom datagrams go.
type peer struct {
	path string
	addr unix.RawSockaddrUnix
	len  uint32
}

func (d *Datagrams) init() (err error) {
	d.raw, err = d.conn.SyscallConn()
	d.tryReceive, d.trySend = d.receiveOnce, d.sendAll
	if d.connected = !d.config.Hears; d.config.Remote != "" {
		d.setPeer(d.config.Remote)
		d.connected = false
	}
	return err
}

func (d *Datagrams) setPeer(path string) {
	p := &peer{path: path}
	p.addr.Family = unix.AF_UNIX
	n := min(len(path), MaxPath)
	for i := range n {
		p.addr.Path[i] = int8(path[i])
	}
	p.len = uint32(unsafe.Offsetof(p.addr.Path)) + uint32(n)
	if n > 0 && path[0] != 0 { // an abstract name has no end but its length
		p.len++
	}
	d.peerAt.Store(p)
}

// Connect gives the socket its peer for good: from then on the kernel lets in
// nobody else. It is called before frames flow.
func (d *Datagrams) Connect(remote string) error {
	var err error
	if e := d.raw.Control(func(fd uintptr) {
		err = unix.Connect(int(fd), &unix.SockaddrUnix{Name: remote})
	}); e != nil {
		return closed(e)
	}
	if err != nil {
		return fmt.Errorf("connect to %s: %w", remote, err)
	}
	d.senders.peer, d.connected = remote, true
	return nil
}

// receive takes what waits.
func (d *Datagrams) receive() ([]ethernet.Frame, error) {
	if err := d.raw.Read(d.tryReceive); err != nil {
		if d.in != nil {
			d.in.release()
			d.in = nil
		}
		return nil, err
	}
	switch d.readErr {
	case 0:
	case unix.ECONNRESET, unix.ECONNREFUSED, unix.ENOBUFS, unix.ENOMEM:
		return nil, nil // of the peer's end, or a short memory: the socket is as good as before
	default:
		return nil, fmt.Errorf("read %s: %w", d.config.Local, d.readErr)
	}
	frames, ended := d.in.frames[:0], false
	for i := range d.got {
		if ended = d.ended(i); ended {
			break
		}
		m := &d.in.msgs[i]
		length := int(m.Len)
		if m.Flags&unix.MSG_TRUNC != 0 {
			length = ethernet.MaxFrameLen + 1
		}
		data := d.in.slot(i)[:min(length, d.in.class.slot)]
		if (d.packets || d.admits(d.in.sender(i))) && d.takes(data, length) {
			frames = append(frames, ethernet.Frame{Data: data[:length:length]})
		}
	}
	if ended && len(frames) == 0 {
		d.in.release()
		d.in = nil
		return nil, ErrGone
	}
	return frames, nil
}

// receiveOnce makes one call. It returns false when there is nothing, for the
// poller to wait; what came before is given back by then.
func (d *Datagrams) receiveOnce(fd uintptr) bool {
	if d.in == nil {
		d.in = takeInbox(d.config.MaxFrame)
	}
	d.in.reset()
	d.got, d.readErr = mmsg.Receive(fd, d.in.msgs, 0)
	d.in.used = d.got
	if d.readErr == unix.EAGAIN {
		d.in.release()
		d.in = nil
		return false
	}
	return true
}

func (d *Datagrams) send(frames []ethernet.Frame) error {
	drops := &d.config.Counters.Write
	if d.to = d.peerAt.Load(); d.connected {
		d.to = nil
	} else if d.to == nil {
		drops.Add(ethernet.NoPeer, len(frames))
		return nil
	}
	o := outboxes.Take()
	d.out = o
	defer o.release()
	for len(frames) > 0 {
		o.set(frames[:min(len(frames), sendBatch)], d.config.MinFrame, d.to)
		frames = frames[o.n:]
		for o.next < o.n {
			d.sendErr = 0
			err := d.raw.Write(d.trySend)
			if err == nil && d.sendErr == unix.EAGAIN {
				d.sendErr, err = d.await()
			}
			left := o.n - o.next + len(frames)
			switch {
			case errors.Is(err, net.ErrClosed):
				drops.Add(ethernet.Disconnected, left)
				return err
			case err != nil: // there is no descriptor to wait with
				drops.Add(ethernet.QueueFull, left)
				d.complain(err)
				return nil
			}
			switch d.sendErr {
			case 0:
			case unix.EMSGSIZE:
				drops.Add(ethernet.Oversize, 1)
				o.next++
			case unix.ENOBUFS, unix.ENOMEM:
				drops.Add(ethernet.SendFailed, 1)
				o.next++
			case unix.ECONNREFUSED, unix.ENOENT, unix.ENOTCONN, unix.ECONNRESET, unix.EPIPE:
				drops.Add(ethernet.Disconnected, left)
				return nil
			default:
				drops.Add(ethernet.SendFailed, left)
				if d.packets {
					return d.sendErr
				}
				d.complain(d.sendErr)
				return nil
			}
		}
	}
	return nil
}

// complain tells of a peer that is there and cannot be sent to, once a minute.
func (d *Datagrams) complain(err error) {
	if now := time.Now(); now.Sub(d.refused) > time.Minute {
		d.refused = now
		d.config.Log.Warn("cannot send", "peer", d.to.path, "err", err)
	}
}

// sendAll sends what is left of d.out. It returns false when the poller knows
// when there is room, and true with EAGAIN when only a waiter does.
func (d *Datagrams) sendAll(fd uintptr) bool {
	o := d.out
	for o.next < o.n {
		n, errno := mmsg.Send(fd, o.msgs[o.next:o.n], unix.MSG_NOSIGNAL)
		o.next += n
		if errno == unix.EAGAIN && (d.to == nil || pollNow(fd, unix.POLLOUT)&unix.POLLOUT == 0) {
			return false
		}
		if d.sendErr = errno; errno != 0 {
			return true
		}
	}
	return true
}

// waiter is a socket that waits for room in a peer's queue, and carries nothing.
type waiter struct {
	file  *os.File
	raw   syscall.RawConn
	of    *datagramIO
	ready func(fd uintptr) bool
	join  func(fd uintptr)
	errno syscall.Errno
}

// await waits until the peer's queue has room, or the peer is not there (errno).
func (d *Datagrams) await() (syscall.Errno, error) {
	w, err := d.makeWaiter()
	if err != nil {
		return 0, err
	}
	if err = w.raw.Control(w.join); err == nil && w.errno == 0 {
		err = w.raw.Write(w.ready)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over.Load() { // which os.File says by an error that cannot be told from others
		err = net.ErrClosed
	}
	return w.errno, err
}

func (d *Datagrams) makeWaiter() (*waiter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.over.Load():
		return nil, net.ErrClosed
	case d.waiter != nil:
		return d.waiter, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket to wait for %s: %w", d.to.path, err)
	}
	w := &waiter{file: os.NewFile(uintptr(fd), "unixgram"), of: &d.datagramIO}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, err
	}
	w.join = w.connect
	// Asking poll(2) also has the kernel wake whoever polls the socket when the
	// queue has room (unix_dgram_peer_wake_me in net/unix/af_unix.c).
	w.ready = func(fd uintptr) bool { return pollNow(fd, unix.POLLOUT) != 0 }
	d.waiter = w
	return w, nil
}

// connect connects to who is at the peer's path now.
func (w *waiter) connect(fd uintptr) {
	_, _, w.errno = unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&w.of.to.addr)), uintptr(w.of.to.len))
}

func (d *Datagrams) closeMore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiter != nil {
		d.waiter.file.Close()
	}
}
