package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The load of small datagrams: flood sends as many as it can, sink counts what
// arrives. iperf3 takes a system call for every datagram, so that with it a fast
// tunnel is measured less than iperf3 is. Each datagram is a packet of its own
// from the sender's socket on (no UDP_SEGMENT), and so goes through a tunnel as
// a frame of its own.
//
// The calls are made here and not by internal/mmsg, because what measures is not
// to change with what is measured.
const (
	datagramSize = 64
	floodBatch   = 64  // datagrams of one sendmmsg(2)
	sinkBatch    = 256 // and of one recvmmsg(2)

	// floodWarmUp passes before the sink counts: neighbours are found, queues
	// are full and caches warm by then.
	floodWarmUp = 500 * time.Millisecond
	// floodExtra is sent on behind the sink's time, so that all of it is under load.
	floodExtra = 300 * time.Millisecond
)

// counted is what the sink says.
type counted struct {
	Received uint64  `json:"received"`
	Lost     uint64  `json:"lost"` // numbers between the first and the last that did not come
	Late     uint64  `json:"late"` // came behind a higher number
	Seconds  float64 `json:"seconds"`
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// batch is buffers for many datagrams and the headers that name them.
type batch struct {
	bufs    [][datagramSize]byte
	iovecs  []unix.Iovec
	headers []mmsghdr
}

func newBatch(n int) *batch {
	b := &batch{make([][datagramSize]byte, n), make([]unix.Iovec, n), make([]mmsghdr, n)}
	for i := range n {
		b.iovecs[i].Base = &b.bufs[i][0]
		b.iovecs[i].SetLen(datagramSize)
		b.headers[i].Iov = &b.iovecs[i]
		b.headers[i].SetIovlen(1)
	}
	return b
}

// call is sendmmsg(2) or recvmmsg(2), and gives the number of datagrams.
func (b *batch) call(trap uintptr, fd int, flags uintptr) (int, error) {
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])), uintptr(len(b.headers)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func newFlood() *cobra.Command {
	var seconds float64
	cmd := &cobra.Command{
		Use: "flood ADDR:PORT", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := netip.ParseAddrPort(args[0])
			if err != nil {
				return err
			}
			sent, err := flood(to, time.Duration(seconds*float64(time.Second)))
			if err != nil {
				return fmt.Errorf("flood %s: %w", to, err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), float64(sent)/seconds)
			return nil
		},
	}
	cmd.Flags().Float64Var(&seconds, "seconds", 1, "how long")
	return cmd
}

func newSink() *cobra.Command {
	var seconds float64
	cmd := &cobra.Command{
		Use: "sink ADDR:PORT", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := netip.ParseAddrPort(args[0])
			if err != nil {
				return err
			}
			got, err := sink(cmd.OutOrStdout(), at, time.Duration(seconds*float64(time.Second)))
			if err != nil {
				return fmt.Errorf("sink %s: %w", at, err)
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(got)
		},
	}
	cmd.Flags().Float64Var(&seconds, "seconds", 1, "how long it counts, after the warm-up")
	return cmd
}

// flood sends numbered datagrams as fast as it goes, and gives how many the
// kernel took.
func flood(to netip.AddrPort, d time.Duration) (uint64, error) {
	fd, err := socket()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	b := newBatch(floodBatch)
	var sent uint64
	for end := time.Now().Add(d); time.Now().Before(end); {
		for i := range b.bufs {
			binary.BigEndian.PutUint64(b.bufs[i][:], sent+uint64(i))
		}
		n, err := b.call(unix.SYS_SENDMMSG, fd, 0)
		switch {
		case err == nil:
			sent += uint64(n)
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ECONNREFUSED):
			// ECONNREFUSED is an ICMP message of before: the sink may be gone already.
		default:
			return sent, fmt.Errorf("sendmmsg: %w", err)
		}
	}
	return sent, nil
}

// sink says when it is ready, and then counts for d what arrives, from the end
// of the warm-up on, which the first datagram begins.
func sink(out io.Writer, at netip.AddrPort, d time.Duration) (counted, error) {
	fd, err := socket()
	if err != nil {
		return counted{}, err
	}
	defer unix.Close(fd)
	// A receive buffer that no scheduling delay fills: what the sink itself
	// dropped would be counted as the tunnel's loss.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		return counted{}, fmt.Errorf("set the receive buffer: %w", err)
	}
	patience := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return counted{}, fmt.Errorf("set the timeout: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
		return counted{}, fmt.Errorf("bind: %w", err)
	}
	fmt.Fprintln(out, "ready")

	b := newBatch(sinkBatch)
	var begin time.Time // of counting
	var c counter
	for {
		n, err := b.call(unix.SYS_RECVMMSG, fd, unix.MSG_WAITFORONE)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return counted{}, fmt.Errorf("nothing arrived for %d s", patience.Sec)
		case err != nil:
			return counted{}, fmt.Errorf("recvmmsg: %w", err)
		}
		now := time.Now()
		if begin.IsZero() {
			begin = now.Add(floodWarmUp)
		}
		if now.Before(begin) {
			continue
		}
		for i := range n {
			c.add(binary.BigEndian.Uint64(b.bufs[i][:]))
		}
		if passed := now.Sub(begin); passed >= d {
			return c.counted(passed), nil
		}
	}
}

func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a UDP socket: %w", err)
	}
	return fd, nil
}

// counter finds out from the numbers of datagrams what was lost and what came late.
type counter struct {
	received, late uint64
	first, highest uint64
}

func (c *counter) add(number uint64) {
	switch {
	case c.received == 0:
		c.first, c.highest = number, number
	case number > c.highest:
		c.highest = number
	default:
		c.late++
	}
	c.received++
}

func (c *counter) counted(d time.Duration) counted {
	got := counted{Received: c.received, Late: c.late, Seconds: d.Seconds()}
	// What is late may be from before the first one, so that there may be more
	// than the numbers in between.
	if span := c.highest - c.first + 1; c.received > 0 && span > c.received {
		got.Lost = span - c.received
	}
	return got
}
