package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// This file measures how long two ends take to agree on keys. On each host a
// packet socket, an ear, hears everything that passes, with the time at which the
// kernel had it, and sends a frame of our own, a knock, into the tunnel every
// millisecond. That needs no clock but the kernel's, which all hosts share, and no
// log of the programs.

const (
	handshakes      = 5
	handshakeWithin = 20 * time.Second
	knockEvery      = time.Millisecond
	// linkPort is OpenVPN's port, at both ends.
	linkPort = 1194
	// knockType is the first EtherType for local experiments (IEEE 802).
	knockType = 0x88b5
	knockSize = 60 // the shortest frame
)

// handshakes measures the handshake several times, of a tunnel whose ends have one.
func (s *site) handshakes(n *network, got reading) error {
	if n.again == nil {
		return nil
	}
	var times []float64
	for range handshakes {
		d, err := s.handshake(n)
		if err != nil {
			return err
		}
		times = append(times, d.Seconds()*1e3)
	}
	got[handshake] = median(times)
	return nil
}

// handshake starts both ends anew and gives the time from the first packet of the
// second one until a frame has come through in each direction.
func (s *site) handshake(n *network) (time.Duration, error) {
	for _, p := range n.ends {
		p.stop()
	}
	waiting, err := n.again[0]()
	if err != nil {
		return 0, err
	}
	n.ends[0] = waiting
	if err := s.until(waiting, 5*time.Second, func() error { return s.bound(n.client) }); err != nil {
		return 0, err
	}
	// It binds its socket before it has begun to wait.
	if err := pause(s.ctx, 200*time.Millisecond); err != nil {
		return 0, err
	}
	var ears [2]*ear
	for i, h := range []host{n.client, n.server} {
		if ears[i], err = listen(h, byte(i)); err != nil {
			return 0, fmt.Errorf("listen on host %s: %w", h, err)
		}
		defer ears[i].close()
	}
	if n.ends[1], err = n.again[1](); err != nil {
		return 0, err
	}
	for end := time.Now().Add(handshakeWithin); ; {
		if err := hear(ears[:]); err != nil {
			return 0, err
		}
		first := ears[1].sent
		if last := later(ears[0].knocked, ears[1].knocked); !first.IsZero() && !last.IsZero() {
			return last.Sub(first), nil
		}
		for _, p := range n.ends {
			if err := p.ended(); err != nil {
				return 0, err
			}
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("no frame has come through in both directions within %v", handshakeWithin)
		}
		if s.ctx.Err() != nil {
			return 0, s.ctx.Err()
		}
	}
}

// later is the later of two times, zero unless both are known.
func later(a, b time.Time) time.Time {
	switch {
	case a.IsZero() || b.IsZero():
		return time.Time{}
	case a.After(b):
		return a
	default:
		return b
	}
}

// bound is an error until a program on the host has bound the link's port.
func (s *site) bound(h host) error {
	out, err := s.run(h, 5*time.Second, "ss", "-Hantu", "sport", "=", fmt.Sprintf(":%d", linkPort))
	if err == nil && strings.TrimSpace(out) == "" {
		err = fmt.Errorf("nobody has bound port %d", linkPort)
	}
	return err
}

// ear is a packet socket for all interfaces of a host, those that are still to be
// made too.
type ear struct {
	fd      int
	name    byte      // which its knocks bear
	index   int       // of tap0, 0 while there is none
	sent    time.Time // the first packet of the tunnel that the host has sent
	knocked time.Time // the first knock that has come from the other host
	next    time.Time // to knock
}

func listen(h host, name byte) (*ear, error) {
	fd, err := socketIn(h)
	if err != nil {
		return nil, err
	}
	e := &ear{fd: fd, name: name}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		e.close()
		return nil, fmt.Errorf("ask for times: %w", err)
	}
	return e, nil
}

func (e *ear) close() { unix.Close(e.fd) }

// socketIn opens the ear's socket on a host.
func socketIn(h host) (fd int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The thread has to come back and live on: with it would end what it has
	// started, see ownGroup.
	own, err := netns.Get()
	if err != nil {
		return -1, err
	}
	defer own.Close()
	there, err := netns.GetFromName(string(h))
	if err != nil {
		return -1, err
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		return -1, err
	}
	defer func() {
		if back := netns.Set(own); back != nil {
			panic(back) // nothing more could be trusted
		}
	}()
	return unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(networkOrder(unix.ETH_P_ALL)))
}

// networkOrder is a number of 16 bits whose bytes lie as on the wire.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// hear has the ears knock where it is time, and takes what they hear until then.
func hear(ears []*ear) error {
	var fds []unix.PollFd
	for _, e := range ears {
		e.knock(time.Now())
		fds = append(fds, unix.PollFd{Fd: int32(e.fd), Events: unix.POLLIN})
	}
	if _, err := unix.Poll(fds, int(knockEvery/time.Millisecond)); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for packets: %w", err)
	}
	for _, e := range ears {
		if err := e.take(); err != nil {
			return err
		}
	}
	return nil
}

// knock sends a frame into the tunnel, if it is time and the host has a TAP.
// What cannot be sent is sent the next time.
func (e *ear) knock(now time.Time) {
	if now.Before(e.next) {
		return
	}
	e.next = now.Add(knockEvery)
	if e.index == 0 {
		request, err := unix.NewIfreq("tap0")
		if err != nil || unix.IoctlIfreq(e.fd, unix.SIOCGIFINDEX, request) != nil {
			return
		}
		e.index = int(request.Uint32())
	}
	unix.Sendto(e.fd, knockOf(e.name), 0, &unix.SockaddrLinklayer{Ifindex: e.index})
}

// knockOf is the frame of a host: to all, from an address of our own.
func knockOf(name byte) []byte {
	frame := make([]byte, knockSize)
	copy(frame, "\xff\xff\xff\xff\xff\xff\x02bench")
	binary.BigEndian.PutUint16(frame[12:], knockType)
	frame[14] = name
	return frame
}

// take takes what the ear has heard.
func (e *ear) take() error {
	frame := make([]byte, 128) // headers are enough
	control := make([]byte, 128)
	for {
		n, controlLen, _, from, err := unix.Recvmsg(e.fd, frame, control, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN): // an interface has gone
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return fmt.Errorf("hear packets: %w", err)
		}
		when, err := timeOf(control[:controlLen])
		if err != nil {
			return err
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		e.heard(frame[:n], link.Pkttype == unix.PACKET_OUTGOING, when)
	}
}

// timeOf is the time at which the kernel had a packet (SO_TIMESTAMPNS, socket(7)).
func timeOf(control []byte) (time.Time, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}, fmt.Errorf("read a packet's time: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))), nil
		}
	}
	return time.Time{}, errors.New("a packet has no time")
}

// heard notes the first packet sent and the first knock of the other host. A host's
// own may come back to it: a tmelink hands what is for all to whoever else is on its
// TAP.
func (e *ear) heard(frame []byte, outgoing bool, when time.Time) {
	switch {
	case outgoing && e.sent.IsZero() && ofTunnel(frame):
		e.sent = when
	case !outgoing && e.knocked.IsZero() && len(frame) > 14 && binary.BigEndian.Uint16(frame[12:]) == knockType && frame[14] != e.name:
		e.knocked = when
	}
}

// ofTunnel says whether a frame is a packet of the tunnel: IPv4, UDP or TCP, to
// the link's port.
func ofTunnel(frame []byte) bool {
	if len(frame) < 14+20+4 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP {
		return false
	}
	ip := frame[14:]
	header := int(ip[0]&15) * 4
	if proto := ip[9]; proto != unix.IPPROTO_UDP && proto != unix.IPPROTO_TCP || len(ip) < header+4 {
		return false
	}
	return binary.BigEndian.Uint16(ip[header+2:]) == linkPort
}
