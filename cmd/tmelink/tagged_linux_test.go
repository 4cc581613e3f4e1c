package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"tmelink/internal/nstest"
)

// A small sender and receiver of super-frames, with and without VLAN tags, by
// packet sockets (PACKET_VNET_HDR). It knows nothing of package ethernet: what it
// expects it reckons by itself.

// superFrame is a TCP or UDP frame that is to be cut into segments.
type superFrame struct {
	data    []byte // its checksum is that of the pseudo header
	network int    // where the IP header begins
	tcp     bool
	size    int // payload of a segment
}

// Offsets in the headers.
func (f *superFrame) v6() bool { return f.data[f.network]>>4 == 6 }

func (f *superFrame) transport() int {
	if f.v6() {
		return f.network + 40
	}
	return f.network + 20
}

func (f *superFrame) payload() int {
	if f.tcp {
		return f.transport() + int(f.data[f.transport()+12]>>4)*4
	}
	return f.transport() + 8
}

func (f *superFrame) checksum() (offset int) {
	if f.tcp {
		return 16
	}
	return 6
}

// Flags of TCP (RFC 9293, 3.1; RFC 3168).
const (
	tcpFIN, tcpPSH, tcpACK, tcpECE, tcpCWR = 0x01, 0x08, 0x10, 0x40, 0x80
)

// place is where in a flow a super-frame begins.
type place struct {
	id  uint16 // of IPv4
	seq uint32 // of TCP
}

// buildSuper makes a super-frame of two hosts that do not exist.
func buildSuper(e ends, tags []uint16, tcp bool, size, length int, at place, flags byte, random *rand.ChaCha8) superFrame {
	f := superFrame{tcp: tcp, size: size}
	src, dst := e.a.As16(), e.b.As16()
	d := append([]byte(nil), strangerMAC+"?"+strangerMAC+"?"...)
	d[5], d[11] = dst[15], src[15]
	for i, tpid := range tags {
		d = binary.BigEndian.AppendUint16(d, tpid)
		d = binary.BigEndian.AppendUint16(d, uint16(0x6005+i))
	}
	protocol, header := byte(17), 8
	if tcp {
		protocol, header = 6, 32
	}
	if e.a.Is4() {
		d = binary.BigEndian.AppendUint16(d, 0x0800)
		f.network = len(d)
		d = append(d, 0x45, 0, 0, 0, byte(at.id>>8), byte(at.id), 0x40, 0, 64, protocol, 0, 0)
		binary.BigEndian.PutUint16(d[f.network+2:], uint16(20+header+length))
	} else {
		d = binary.BigEndian.AppendUint16(d, 0x86dd)
		f.network = len(d)
		d = append(d, 0x60, 0, 0, 0, 0, 0, protocol, 64)
		binary.BigEndian.PutUint16(d[f.network+4:], uint16(header+length))
	}
	d = append(append(d, e.a.AsSlice()...), e.b.AsSlice()...)
	if e.a.Is4() {
		binary.BigEndian.PutUint16(d[f.network+10:], ^onesSum(d[f.network:], 0))
	}
	d = append(d, 0x12, 0x34, 0x56, 0x78) // ports
	if tcp {
		d = binary.BigEndian.AppendUint32(d, at.seq)
		d = append(d, 1, 2, 3, 4, 0x80, flags, 0xff, 0xff, 0, 0, 0, 0)
		d = append(d, 1, 1, 8, 10, 5, 5, 5, 5, 6, 6, 6, 6) // timestamps
	} else {
		d = binary.BigEndian.AppendUint16(d, uint16(8+length))
		d = append(d, 0, 0)
	}
	d = append(d, make([]byte, length)...)
	random.Read(d[len(d)-length:])
	f.data = d
	binary.BigEndian.PutUint16(d[f.transport()+f.checksum():], f.pseudoSum(header+length))
	return f
}

// sumToZero changes the payload so that the checksum of the first segment is zero,
// for which there is another word.
func (f *superFrame) sumToZero() {
	p := f.data[f.payload():]
	p[0], p[1] = 0, 0
	copy(p, f.segments()[0][f.transport()+f.checksum():][:2])
}

// pseudoSum is the sum of the pseudo header of length bytes of TCP or UDP.
func (f *superFrame) pseudoSum(length int) uint16 {
	at, n, protocol := f.network+12, 8, f.data[f.network+9]
	if f.v6() {
		at, n, protocol = f.network+8, 32, f.data[f.network+6]
	}
	return onesSum(f.data[at:at+n], uint32(protocol)+uint32(length))
}

func onesSum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// segments are the frames that a wire carries in its place.
func (f *superFrame) segments() (all [][]byte) {
	head, body := f.data[:f.payload()], f.data[f.payload():]
	ip, t := f.network, f.transport()
	for i, piece := range slices.Collect(slices.Chunk(body, f.size)) {
		s := append(slices.Clone(head), piece...)
		if f.v6() {
			binary.BigEndian.PutUint16(s[ip+4:], uint16(len(s)-ip-40))
		} else {
			binary.BigEndian.PutUint16(s[ip+2:], uint16(len(s)-ip))
			binary.BigEndian.PutUint16(s[ip+4:], binary.BigEndian.Uint16(head[ip+4:])+uint16(i))
			s[ip+10], s[ip+11] = 0, 0
			binary.BigEndian.PutUint16(s[ip+10:], ^onesSum(s[ip:t], 0))
		}
		if f.tcp {
			binary.BigEndian.PutUint32(s[t+4:], binary.BigEndian.Uint32(head[t+4:])+uint32(i*f.size))
			if i > 0 {
				s[t+13] &^= tcpCWR
			}
			if (i+1)*f.size < len(body) {
				s[t+13] &^= tcpPSH | tcpFIN
			}
		} else {
			binary.BigEndian.PutUint16(s[t+4:], uint16(len(s)-t))
		}
		all = append(all, f.summed(s))
	}
	return all
}

// summed puts the checksum into a segment. Zero stands as all ones: in UDP it is
// for none (RFC 768), and in TCP the two are the same, of which a kernel writes the
// one where it cuts and the other where it has only the checksum to add
// (skb_checksum_help).
func (f *superFrame) summed(s []byte) []byte {
	t := f.transport()
	field := s[t+f.checksum():]
	field[0], field[1] = 0, 0
	sum := ^onesSum(s[t:], uint32(f.pseudoSum(len(s)-t)))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(field, sum)
	return s
}

// struct virtio_net_hdr (linux/virtio_net.h): flags, type of super-frame, length
// of the headers, segment size, checksum's start and offset.
const (
	virtioLen      = 10
	virtioUnsummed = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

	virtioSingle = 0
	virtioTCP4   = 1
	virtioTCP6   = 4
	virtioUDP    = 5
	virtioECN    = 0x80
)

// virtio is the header with which the kernel takes a super-frame.
func (f *superFrame) virtio() []byte {
	h := make([]byte, virtioLen)
	h[0], h[1] = virtioUnsummed, virtioUDP
	switch {
	case len(f.data)-f.payload() <= f.size: // the kernel does not take it for a super-frame
		h[1] = virtioSingle
	case f.tcp && f.v6():
		h[1] = virtioTCP6
	case f.tcp:
		h[1] = virtioTCP4
	}
	if f.tcp && h[1] != virtioSingle && f.data[f.transport()+13]&tcpCWR != 0 {
		h[1] |= virtioECN
	}
	for i, n := range []int{f.payload(), f.size, f.transport(), f.checksum()} {
		binary.NativeEndian.PutUint16(h[2+2*i:], uint16(n))
	}
	return h
}

// parseSuper finds the headers of a frame of buildSuper, or of a part of it.
func parseSuper(data []byte, size int) (f superFrame, ok bool) {
	f = superFrame{data: data, size: size, network: 14}
	for f.network+28 <= len(data) { // IPv4 and UDP
		switch binary.BigEndian.Uint16(data[f.network-2:]) {
		case 0x8100, 0x88a8:
			f.network += 4
		case 0x0800:
			f.tcp = data[f.network+9] == 6
			return f, f.tcp || data[f.network+9] == 17
		case 0x86dd:
			f.tcp = data[f.network+6] == 6
			return f, f.tcp || data[f.network+6] == 17
		default:
			return f, false
		}
	}
	return f, false
}

// packetSocket opens a packet socket on an interface of a host that reads and
// writes virtio headers; protocol 0 receives nothing.
func packetSocket(t *testing.T, h *nstest.Host, device string, protocol uint16) *os.File {
	t.Helper()
	var file *os.File
	inside(t, h, func() error {
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		file = os.NewFile(uintptr(fd), "packet socket")
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: protocol<<8 | protocol>>8}))
	})
	return file
}

// receiveTagged hands the segments of what buildSuper has made to take, until the socket is closed.
func receiveTagged(socket *os.File, take func([]byte)) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	buf, control := make([]byte, virtioLen+1<<17), make([]byte, 256)
	for {
		var n, controlLen int
		var from unix.Sockaddr
		var failed error
		if err := raw.Read(func(fd uintptr) bool {
			n, controlLen, _, from, failed = unix.Recvmsg(int(fd), buf, control, 0)
			return failed != unix.EAGAIN
		}); err != nil {
			return
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); failed != nil || !ok || ll.Pkttype == unix.PACKET_OUTGOING || n < virtioLen+14 {
			continue
		}
		data := slices.Clone(buf[virtioLen:n])
		if string(data[:5]) != strangerMAC {
			continue
		}
		if tag := tagIn(control[:controlLen]); tag != nil {
			data = slices.Insert(data, 12, tag...)
		}
		f, ok := parseSuper(data, int(binary.NativeEndian.Uint16(buf[4:])))
		switch {
		case !ok || buf[0]&virtioUnsummed == 0:
			if field := f.transport() + f.checksum(); ok && f.tcp && data[field] == 0 && data[field+1] == 0 {
				data[field], data[field+1] = 0xff, 0xff // see summed
			}
			take(data)
		case buf[1] == virtioSingle:
			take(f.summed(data))
		default:
			for _, s := range f.segments() {
				take(s)
			}
		}
	}
}

// tagIn is the tag that the kernel has taken out of a frame.
func tagIn(control []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		// struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		if status := binary.NativeEndian.Uint32(m.Data); status&unix.TP_STATUS_VLAN_VALID != 0 {
			tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(m.Data[18:]))
			return binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(m.Data[16:]))
		}
	}
	return nil
}

// strangerMAC is how the hardware addresses of strangers begin.
const strangerMAC = "\x02\x00\x00\x00\x55"

// strangers are the addresses of hosts that do not exist: their frames pass the
// TAPs' hosts by.
var strangers = [2]ends{
	{netip.MustParseAddr("10.5.0.1"), netip.MustParseAddr("10.5.0.2")},
	{netip.MustParseAddr("fd05::1"), netip.MustParseAddr("fd05::2")},
}

// superSizes are super-frames of one flow, each the continuation of the one before
// it, as far as their flags, and gaps behind them in the identifications of IPv4,
// allow what comes in segments to be joined anew.
var superSizes = []struct {
	size, length int
	flags        byte
	gap          uint16
}{
	{1400, 40000, tcpACK, 0}, {1400, 1400 * 2, tcpACK | tcpPSH, 0}, {1400, 1400 * 3, tcpACK, 5}, {1400, 1399, tcpACK | tcpPSH, 0},
	{100, 5050, tcpACK, 0}, {100, 12800 - 5050, tcpACK | tcpCWR, 0}, {1428, 2 * 1428, tcpACK | tcpECE, 0},
	{536, 20000, tcpACK | tcpCWR | tcpPSH, 0}, {1, 20, tcpACK, 1}, {1, 60, tcpACK, 0}, {1, 60, tcpACK | tcpFIN | tcpPSH, 0},
}

// tagged sends super-frames of TCP and UDP, without VLAN tags and with one and two,
// by a's interface, and compares the frames that come out of b's, byte by byte.
func (r reach) tagged(t *testing.T, peace bool) {
	t.Helper()
	out := packetSocket(t, r.a, r.deviceA, 0)
	defer out.Close()
	in := packetSocket(t, r.b, r.deviceB, unix.ETH_P_ALL)
	d := newDelivery()
	done := make(chan struct{})
	go func() {
		defer close(done)
		receiveTagged(in, d.arrive)
	}()
	random := rand.NewChaCha8([32]byte{transferSeed})
	at := place{id: 1, seq: 0xfffff000}
	for _, tags := range [][]uint16{nil, {0x8100}, {0x88a8, 0x8100}}[:r.tags+1] {
		for _, e := range strangers {
			for _, tcp := range []bool{true, false} {
				e := r.from(e)
				var frames []superFrame
				var want [][]byte
				for _, s := range superSizes {
					f := buildSuper(e, tags, tcp, s.size, s.length, at, s.flags, random)
					if s.size > 1 {
						f.sumToZero()
					}
					segments := f.segments()
					at.id += uint16(len(segments)) + s.gap
					at.seq += uint32(s.length)
					frames = append(frames, f)
					want = append(want, segments...)
				}
				err := d.deliver(want, peace, func() error {
					for _, f := range frames {
						if _, err := out.Write(append(f.virtio(), f.data...)); err != nil && peace {
							return fmt.Errorf("send %d bytes in segments of %d: %w", len(f.data), f.size, err)
						}
					}
					return nil
				})
				if err != nil {
					t.Fatalf("super-frames over %v, tags %04x, TCP %v: %v", e, tags, tcp, err)
				}
			}
		}
	}
	in.Close()
	<-done
	if err := d.end(); err != nil {
		t.Fatalf("super-frames by packet sockets: %v", err)
	}
}
