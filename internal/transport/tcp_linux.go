package transport

import (
	"encoding/binary"
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tmelink/internal/spare"
)

// unsent is how much of a stream may wait in the kernel before it is sent, in
// bytes: enough to be refilled in time, and so little that it does not grow cold in
// the processor's cache until it is copied on.
const unsent = 512 << 10

// tune asks for what makes the connection fast, without which it works too.
func (t *TCP) tune() {
	t.raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	})
}

// tcpReader reads a connection through Go's poller, which calls the function kept
// in try; the stream's buffer is taken when there is something to read.
type tcpReader struct {
	t     *TCP
	try   func(fd uintptr) bool
	n     int
	errno syscall.Errno
}

func (r *tcpReader) init(t *TCP) {
	r.t = t
	r.try = r.call
}

func (r *tcpReader) call(fd uintptr) bool {
	space := r.t.stream.Space()
	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&space[0])), uintptr(len(space)))
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			r.t.stream.Rest()
			return false
		}
		r.n, r.errno = int(n), errno
		return true
	}
}

// read reads some of the stream into its Space, and gives io.EOF at its end.
func (r *tcpReader) read() (int, error) {
	err := r.t.raw.Read(r.try)
	switch {
	case err != nil:
		return 0, err
	case r.errno != 0:
		return 0, r.errno
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}

// tcpPackets is how many packets one call writes: of the 1024 pieces of memory
// that the kernel takes (UIO_MAXIOV) each takes two, its length and itself.
const tcpPackets = 512

// tcpBatch is the memory for one writev(2).
type tcpBatch struct {
	iovs    [2 * tcpPackets]unix.Iovec
	lengths [tcpPackets][2]byte
}

var tcpBatches = spare.New(func() *tcpBatch { return new(tcpBatch) })

// tcpWriter writes packets from where they lie. While it has the connection's
// lock, nothing gets between the pieces of a packet.
type tcpWriter struct {
	t     *TCP
	try   func(fd uintptr) bool
	iovs  []unix.Iovec // what has still to be written
	errno syscall.Errno
}

func (w *tcpWriter) init(t *TCP) {
	w.t = t
	w.try = w.call
}

func (w *tcpWriter) call(fd uintptr) bool {
	for len(w.iovs) > 0 {
		n, _, errno := syscall.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.iovs[0])), uintptr(len(w.iovs)))
		switch errno {
		case 0:
			w.iovs = advance(w.iovs, int(n))
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			w.errno = errno
			return true
		}
	}
	return true
}

// advance leaves out the first n bytes.
func advance(iovs []unix.Iovec, n int) []unix.Iovec {
	for len(iovs) > 0 && n >= int(iovs[0].Len) {
		n -= int(iovs[0].Len)
		iovs = iovs[1:]
	}
	if n > 0 {
		iovs[0].Base = (*byte)(unsafe.Add(unsafe.Pointer(iovs[0].Base), n))
		iovs[0].SetLen(int(iovs[0].Len) - n)
	}
	return iovs
}

// write writes packets, each behind its length.
func (w *tcpWriter) write(packets [][]byte) error {
	b := tcpBatches.Take()
	defer tcpBatches.Give(b)
	for len(packets) > 0 {
		n := min(len(packets), tcpPackets)
		for i, p := range packets[:n] {
			binary.BigEndian.PutUint16(b.lengths[i][:], uint16(len(p)))
			b.iovs[2*i].Base = &b.lengths[i][0]
			b.iovs[2*i].SetLen(2)
			b.iovs[2*i+1].Base = unsafe.SliceData(p)
			b.iovs[2*i+1].SetLen(len(p))
		}
		w.iovs, w.errno = b.iovs[:2*n], 0
		err := w.t.raw.Write(w.try)
		w.iovs = nil
		clear(b.iovs[:2*n]) // the packets are the caller's again
		if err != nil {
			return err
		}
		if w.errno != 0 {
			return w.errno
		}
		packets = packets[n:]
	}
	return nil
}
