package ethernet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"tmelink/internal/nstest"
)

// The tests here compare with what the kernel itself makes of the same frames.
//
//	Segmenter   packet socket ── super-frame ─▶ kernel0 ── segments ─▶ owner of the TAP
//	Coalescer   packet socket ◀─ super-frame ── kernel0 ◀── frames ─── owner of the TAP
//
// The TAP takes no offloads, so that the kernel has to segment what is sent on
// it. The other way the kernel joins what its owner writes (generic receive
// offload, GRO) and a packet socket sees that as soon as it is done.

const (
	kernelMTU = 9000
	// localType is the EtherType of the frames by which a test tells where a
	// round ends (IEEE 802 Local Experimental EtherType 1).
	localType = 0x88b5
)

// kernelTAP is a TAP of the test's own. Nothing is on it but what the test sends.
type kernelTAP struct {
	name   string
	owner  int // reads what is sent on the interface, writes what it receives
	socket int // sends on the interface and receives from it, with virtio headers
	buf    []byte
	round  uint32
}

func openKernelTAP(t *testing.T, flags uint16) *kernelTAP {
	t.Helper()
	nstest.InNamespace(t)
	k := &kernelTAP{name: "kernel0", buf: make([]byte, VirtioLen+MaxFrameLen)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if k.owner, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
		t.Skip("skipped: needs /dev/net/tun:", err)
	}
	t.Cleanup(func() { unix.Close(k.owner) })
	req, err := unix.NewIfreq(k.name)
	must(err)
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | flags)
	must(unix.IoctlIfreq(k.owner, unix.TUNSETIFF, req))
	must(unix.IoctlSetInt(k.owner, unix.TUNSETOFFLOAD, 0))
	// Keep the host's IPv6 from sending on it.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+k.name+"/disable_ipv6", []byte("1"), 0); !os.IsNotExist(err) {
		must(err)
	}
	if out, err := exec.Command("ip", "link", "set", k.name, "mtu", fmt.Sprint(kernelMTU), "up").CombinedOutput(); err != nil {
		t.Fatalf("ip link set %s: %v: %s", k.name, err, out)
	}
	ifi, err := net.InterfaceByName(k.name)
	must(err)
	k.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(err)
	t.Cleanup(func() { unix.Close(k.socket) })
	must(unix.SetsockoptInt(k.socket, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
	must(unix.SetsockoptInt(k.socket, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
	must(unix.SetsockoptInt(k.socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	must(unix.Bind(k.socket, &unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: all}))
	return k
}

// await waits until a descriptor has something to read.
func await(t *testing.T, fd int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		switch {
		case n > 0:
			return
		case err != nil && !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		case time.Now().After(end):
			t.Fatal("nothing came within 10s")
		}
	}
}

// send sends a frame on the interface.
func (k *kernelTAP) send(t *testing.T, f Frame) {
	t.Helper()
	var virtio [VirtioLen]byte
	f.PutVirtio(virtio[:])
	if _, err := unix.SendmsgBuffers(k.socket, [][]byte{virtio[:], f.Data}, nil, nil, 0); err != nil {
		t.Fatalf("the kernel does not take %d bytes with the header %x: %v", len(f.Data), virtio, err)
	}
}

// cut gives what the kernel makes of a frame.
func (k *kernelTAP) cut(t *testing.T, f Frame) (segments [][]byte) {
	t.Helper()
	k.round++
	end := make([]byte, MinFrame)
	binary.BigEndian.PutUint16(end[12:], localType)
	binary.BigEndian.PutUint32(end[HeaderLen:], k.round)
	k.send(t, f)
	k.send(t, Frame{Data: end})
	for {
		await(t, k.owner)
		n, err := unix.Read(k.owner, k.buf)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(k.buf[:n], end) {
			return segments
		}
		segments = append(segments, bytes.Clone(k.buf[:n]))
	}
}

// agree compares segments with the kernel's.
func agree(t *testing.T, got []Frame, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d segments, the kernel makes %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i].Data, want[i]) {
			t.Fatalf("segment %d of %d is\n%x, the kernel's\n%x", i, len(got), got[i].Data, want[i])
		}
	}
}

// Where the kernel refuses there is nothing to compare. It drops a TCP
// super-frame without need, of which the payload fits one segment, if payload and
// TCP options do not (tcp_gso_segment, and virtio_net_hdr_to_skb, which takes the
// options for payload); Segmenter makes one frame of it. And it takes at most 128
// datagrams at once, before Linux 6.9 at most 64 (UDP_MAX_SEGMENTS).
func TestSegmentsAreTheKernels(t *testing.T) {
	k := openKernelTAP(t, 0)
	const every = header.TCPFlagAck | header.TCPFlagFin | header.TCPFlagPsh | flagCWR
	type shape struct{ payload, size int }
	shapes := []shape{{4000, 1460}, {4380, 1460}, {1461, 1460}, {1500, 1460}, {1460, 1460}, {100, 1460},
		{65000, 1440}, {60000, 8800}, {5001, 1000}, {64, 1}}
	for _, c := range []struct {
		name string
		superFrame
		shapes []shape
		change func([]byte) // of the frame behind the Ethernet header
	}{
		{"tcp4", superFrame{flags: every}, shapes, nil},
		{"tcp4 with CWR", superFrame{flags: header.TCPFlagAck | flagCWR}, shapes[:4], nil},
		{"tcp4 with PSH and ECE", superFrame{flags: header.TCPFlagAck | header.TCPFlagPsh | flagECE}, shapes[:4], nil},
		{"tcp4 with URG", superFrame{flags: header.TCPFlagAck | header.TCPFlagUrg}, shapes[:4], nil},
		{"tcp4 with SYN and RST", superFrame{flags: header.TCPFlagSyn | header.TCPFlagRst}, shapes[:4], nil},
		{"tcp4 without a flag", superFrame{}, shapes[:4], nil},
		{"tcp4 with options", superFrame{flags: every, tcpOptions: 12}, shapes[:3], nil},
		{"tcp4 with all options", superFrame{flags: every, ipOptions: 40, tcpOptions: 40}, shapes[:3], nil},
		{"tcp4 to be fragmented", superFrame{flags: every}, shapes[:3], func(ip []byte) { ip[6] = 0 }},
		{"tcp4 with the reserved bit", superFrame{flags: every}, shapes[:3], func(ip []byte) { ip[6] |= 0x80 }},
		{"tcp4 with type of service", superFrame{flags: every}, shapes[:3], func(ip []byte) { ip[1] = 0xff }},
		{"tcp6", superFrame{v6: true, flags: every}, shapes, nil},
		{"tcp6 with options", superFrame{v6: true, flags: every, tcpOptions: 40}, shapes[:3], nil},
		{"tcp6 with class and label", superFrame{v6: true, flags: every}, shapes[:3], func(ip []byte) { copy(ip, "\x6a\xbc\xde\xf0") }},
		{"tcp6 with destination options", superFrame{v6: true, flags: every, ipOptions: 24}, shapes[:3], nil},
		{"tcp6 with hop-by-hop options", superFrame{v6: true, flags: every, ipOptions: 8}, shapes[:3], func(ip []byte) { ip[6] = hopByHop }},
		{"tcp6 with a used routing header", superFrame{v6: true, flags: every, ipOptions: 8}, shapes[:3],
			func(ip []byte) { ip[6] = routing; copy(ip[42:], "\x04\x00\x00\x00\x00\x00") }},
		{"tcp6 with three extension headers", superFrame{v6: true, flags: every, ipOptions: 24}, shapes[:3], func(ip []byte) {
			ip[6] = hopByHop
			copy(ip[40:], []byte{routing, 0, 1, 4, 0, 0, 0, 0, destinationOptions, 0, 4, 0, 0, 0, 0, 0, protoTCP, 0, 1, 4, 0, 0, 0, 0})
		}},
		{"udp4", superFrame{udp: true}, shapes, nil},
		{"udp4 with options", superFrame{udp: true, ipOptions: 40}, shapes[:3], nil},
		{"udp4 to be fragmented", superFrame{udp: true}, shapes[:3], func(ip []byte) { ip[6] = 0 }},
		{"udp6", superFrame{v6: true, udp: true}, shapes, nil},
		{"udp6 with destination options", superFrame{v6: true, udp: true, ipOptions: 8}, shapes[:3], nil},
	} {
		for vlans := range 3 {
			for _, shape := range c.shapes {
				t.Run(fmt.Sprintf("%s, %d tags, %d by %d", c.name, vlans, shape.payload, shape.size), func(t *testing.T) {
					c.vlans, c.payload, c.size = vlans, shape.payload, uint16(shape.size)
					f := c.build()
					if c.change != nil {
						c.change(f.Data[HeaderLen+VLANLen*vlans:])
					}
					agree(t, finished(f), k.cut(t, f))
				})
			}
		}
	}
}

// finished is what Segmenter makes of a frame, which keeps its bytes.
func finished(f Frame) []Frame {
	f.Data = bytes.Clone(f.Data)
	var s Segmenter
	var drops Drops
	return s.Finish([]Frame{f}, 0, FrameLen(kernelMTU), &drops)
}

// A checksum that comes out as zero is sent as all ones in UDP, where zero means
// that there is none. In TCP the kernel leaves it where it segments, and sends all
// ones where it only completes the checksum (skb_checksum_help).
func TestZeroChecksumsAreTheKernels(t *testing.T) {
	k := openKernelTAP(t, 0)
	const payload = 300
	for _, c := range []superFrame{tcp4, tcp6, udp4, udp6} {
		for _, super := range []bool{false, true} {
			t.Run(fmt.Sprintf("udp %v, v6 %v, super-frame %v", c.udp, c.v6, super), func(t *testing.T) {
				c.payload, c.size = payload, payload/3
				f := c.build()
				if !super {
					f.Needs, f.SegmentSize = Checksum, 0
				}
				field := f.ChecksumStart + f.ChecksumOffset
				checksum := binary.BigEndian.Uint16(finished(f)[0].Data[field:])
				word := f.Data[len(f.Data)-payload:]
				binary.BigEndian.PutUint16(word, InternetSum(word[:2], checksum))
				got := finished(f)
				if n := binary.BigEndian.Uint16(got[0].Data[field:]); n != 0 && n != 0xffff {
					t.Fatalf("the checksum is %#x, want none", n)
				}
				agree(t, got, k.cut(t, f))
			})
		}
	}
}

// received is a frame that GRO made, or left as it was, with the places of those
// that went into it.
type received struct {
	Frame
	from, n int
}

// receiveJoined has the kernel receive frames and gives what a packet socket then
// sees of them, in the order of what went in: GRO lets others pass a frame that
// it holds back.
func (k *kernelTAP) receiveJoined(t *testing.T, frames []Frame, headers int) (all []received) {
	t.Helper()
	for _, f := range frames {
		if _, err := unix.Write(k.owner, f.Data); err != nil {
			t.Fatal(err)
		}
	}
	for left := len(frames); left > 0; left -= all[len(all)-1].n {
		r := received{Frame: k.receive(t), n: 1}
		if r.SegmentSize != 0 {
			r.n = (len(r.Data) - headers + int(r.SegmentSize) - 1) / int(r.SegmentSize)
		}
		for !r.isOf(frames, headers) {
			if r.from++; r.from+r.n > len(frames) {
				t.Fatalf("the kernel made a frame that is none of these or several: %x", r.Data)
			}
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b received) int { return a.from - b.from })
	return all
}

// isOf says whether the kernel made it of r.n frames from r.from on.
func (r *received) isOf(frames []Frame, headers int) bool {
	if r.n == 1 {
		return bytes.Equal(r.Data, frames[r.from].Data)
	}
	payload := r.Data[headers:]
	for _, f := range frames[r.from:min(r.from+r.n, len(frames))] {
		var ok bool
		if payload, ok = bytes.CutPrefix(payload, f.Data[headers:]); !ok {
			return false
		}
	}
	return len(payload) == 0
}

// receive takes a frame from the packet socket.
func (k *kernelTAP) receive(t *testing.T) Frame {
	t.Helper()
	await(t, k.socket)
	control := make([]byte, 64)
	n, controlLen, flags, _, err := unix.Recvmsg(k.socket, k.buf, control, 0)
	if err != nil || n < VirtioLen+HeaderLen || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		t.Fatalf("%d bytes, flags %#x: %v", n, flags, err)
	}
	data, shift := bytes.Clone(k.buf[VirtioLen:n]), 0
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages: %v", len(messages), err)
	}
	// The kernel takes the outer VLAN tag out of the frame.
	aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&messages[0].Data[0]))
	if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 {
		tag := binary.BigEndian.AppendUint16(nil, aux.Vlan_tpid)
		data, shift = slices.Insert(data, 12, binary.BigEndian.AppendUint16(tag, aux.Vlan_tci)...), VLANLen
	}
	f, ok := ParseVirtio(k.buf[:VirtioLen], data, shift)
	if !ok {
		t.Fatalf("virtio header %x contradicts %x", k.buf[:VirtioLen], data)
	}
	return f
}

// flow is a row of frames as a host sends them, with each change that the test
// makes of them.
type flow struct {
	name string
	superFrame
	sizes   []int           // the frames' payloads
	edits   []edit          // before the checksums are made
	spoil   []edit          // afterwards
	id      func(i int) int // IPv4 identification; counting up if nil
	ours    []int           // how many frames Coalescer joins at a time
	differs string          // why the kernel joins others
}

// edit changes a byte of a frame, or of every one (frame -1).
type edit struct {
	frame int
	in    byte // 'e', 'n', 't': where to count from, the Ethernet, network or transport header
	at    int
	xor   byte
}

// frames makes the flow. headers is the length of every frame's headers.
func (c flow) frames() (frames []Frame, headers int) {
	sent := 0
	for i, size := range c.sizes {
		c.payload = size
		f := c.build()
		network, transport := HeaderLen+VLANLen*c.vlans, int(f.ChecksumStart)
		headers = len(f.Data) - size
		if size > 0 {
			f.Data[headers] = byte(i) // no two frames are the same
		}
		if !c.v6 {
			id := firstID + i
			if c.id != nil {
				id = c.id(i)
			}
			binary.BigEndian.PutUint16(f.Data[network+4:], uint16(id))
		}
		if !c.udp {
			binary.BigEndian.PutUint32(f.Data[transport+4:], firstSeq+uint32(sent))
		}
		sent += size
		change := func(edits []edit) {
			for _, e := range edits {
				if e.frame == i || e.frame == -1 {
					f.Data[map[byte]int{'e': 0, 'n': network, 't': transport}[e.in]+e.at] ^= e.xor
				}
			}
		}
		change(c.edits)
		if !c.v6 {
			binary.BigEndian.PutUint16(f.Data[network+10:], 0)
			binary.BigEndian.PutUint16(f.Data[network+10:], ^InternetSum(f.Data[network:transport], 0))
		}
		completeChecksum(&f)
		f.Needs, f.SegmentSize, f.ChecksumStart, f.ChecksumOffset = 0, 0, 0, 0
		change(c.spoil)
		frames = append(frames, f)
	}
	return frames, headers
}

// join is what Coalescer makes of frames: super-frames in one piece.
func join(t *testing.T, frames []Frame) (all []received) {
	t.Helper()
	var c Coalescer
	for from := 0; from < len(frames); {
		f, payload, n := c.Join(frames[from:], Checksum|Segmentation)
		f.Data = append(bytes.Clone(f.Data), bytes.Join(payload, nil)...)
		all = append(all, received{f, from, n})
		from += n
	}
	return all
}

func groups(all []received) (n []int) {
	for _, r := range all {
		n = append(n, r.n)
	}
	return n
}

func repeat(n, size int, last ...int) (sizes []int) {
	return append(slices.Repeat([]int{size}, n), last...)
}

var (
	tcp4 = superFrame{flags: header.TCPFlagAck}
	tcp6 = superFrame{flags: header.TCPFlagAck, v6: true}
	udp4 = superFrame{udp: true}
	udp6 = superFrame{udp: true, v6: true}
)

const (
	others   = "the kernel lets frames pass one of another flow that it holds"
	noVLAN   = "a kernel without CONFIG_VLAN_8021Q joins no tagged frames"
	optional = "the kernel joins no IPv4 packets with options"
)

var flows = []flow{
	{name: "tcp4", superFrame: tcp4, sizes: repeat(4, 1000, 400), ours: []int{5}},
	{name: "tcp6", superFrame: tcp6, sizes: repeat(4, 1000, 400), ours: []int{5}},
	{name: "udp4", superFrame: udp4, sizes: repeat(4, 1000, 400), ours: []int{5}},
	{name: "udp6", superFrame: udp6, sizes: repeat(4, 1000, 400), ours: []int{5}},
	{name: "all full", superFrame: tcp4, sizes: repeat(4, 1460), ours: []int{4}},
	{name: "udp4, all full", superFrame: udp4, sizes: repeat(4, 1472), ours: []int{4}},
	{name: "one byte each", superFrame: tcp4, sizes: repeat(20, 1), ours: []int{20}},
	{name: "udp4, one byte each", superFrame: udp4, sizes: repeat(20, 1), ours: []int{20}},
	{name: "no data", superFrame: tcp4, sizes: repeat(3, 0), ours: []int{1, 1, 1}},
	{name: "udp4 without data", superFrame: udp4, sizes: repeat(3, 0), ours: []int{1, 1, 1}},
	{name: "a short one", superFrame: tcp4, sizes: []int{900, 900, 899, 900, 900}, ours: []int{3, 2}},
	{name: "udp4, a short one", superFrame: udp4, sizes: []int{900, 900, 899, 900, 900}, ours: []int{3, 2}},
	{name: "a longer one", superFrame: tcp4, sizes: []int{900, 900, 901, 900, 900}, ours: []int{2, 2, 1}},
	{name: "udp4, a longer one", superFrame: udp4, sizes: []int{900, 900, 901, 900, 900}, ours: []int{2, 2, 1}},
	{name: "longer and longer", superFrame: tcp6, sizes: []int{900, 901, 902}, ours: []int{1, 1, 1}},

	{name: "as long as can be", superFrame: tcp4, sizes: repeat(46, 1400, 1095, 1095), ours: []int{47, 1}},
	{name: "a byte too long", superFrame: tcp4, sizes: repeat(46, 1400, 1096), ours: []int{46, 1}},
	{name: "tcp6 as long as can be", superFrame: tcp6, sizes: repeat(46, 1400, 1075), ours: []int{47}},
	{name: "tcp6, a byte too long", superFrame: tcp6, sizes: repeat(46, 1400, 1076), ours: []int{46, 1}},
	{name: "udp4 as long as can be", superFrame: udp4, sizes: repeat(46, 1400, 1107), ours: []int{47}},
	{name: "udp4, a byte too long", superFrame: udp4, sizes: repeat(46, 1400, 1108), ours: []int{46, 1}},
	{name: "udp6 as long as can be", superFrame: udp6, sizes: repeat(46, 1400, 1087), ours: []int{47}},
	{name: "udp6, a byte too long", superFrame: udp6, sizes: repeat(46, 1400, 1088), ours: []int{46, 1}},
	{name: "many datagrams", superFrame: udp4, sizes: repeat(100, 200), ours: []int{64, 36}},
	{name: "many segments", superFrame: tcp4, sizes: repeat(100, 200), ours: []int{64, 36},
		differs: "the kernel goes on as long as they fit a packet"},

	{name: "PSH and FIN at the end", superFrame: tcp4, sizes: repeat(4, 1000), edits: []edit{{3, 't', tcpFlags, flagPSH | flagFIN}}, ours: []int{4}},
	{name: "PSH between", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{1, 't', tcpFlags, flagPSH}}, ours: []int{2, 3}},
	{name: "PSH at the start", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{0, 't', tcpFlags, flagPSH}}, ours: []int{1, 4}},
	{name: "PSH on all", superFrame: tcp6, sizes: repeat(3, 1000), edits: []edit{{-1, 't', tcpFlags, flagPSH}}, ours: []int{1, 1, 1}},
	{name: "CWR at the start", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{0, 't', tcpFlags, flagCWR}}, ours: []int{1, 4}},
	{name: "CWR between", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 't', tcpFlags, flagCWR}}, ours: []int{2, 1, 2}},
	{name: "CWR on all", superFrame: tcp6, sizes: repeat(3, 1000), edits: []edit{{-1, 't', tcpFlags, flagCWR}}, ours: []int{1, 1, 1}},
	{name: "ECE on all", superFrame: tcp4, sizes: repeat(4, 1000), edits: []edit{{-1, 't', tcpFlags, flagECE}}, ours: []int{4}},
	{name: "ECE between", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 't', tcpFlags, flagECE}}, ours: []int{2, 1, 2}},
	{name: "AE on all", superFrame: tcp4, sizes: repeat(4, 1000), edits: []edit{{-1, 't', 12, 1}}, ours: []int{4}},
	{name: "URG on all", superFrame: tcp4, sizes: repeat(3, 1000), edits: []edit{{-1, 't', tcpFlags, 0x20}}, ours: []int{1, 1, 1}},
	{name: "SYN on all", superFrame: tcp4, sizes: repeat(3, 1000), edits: []edit{{-1, 't', tcpFlags, flagSYN}}, ours: []int{1, 1, 1}},
	{name: "RST on all", superFrame: tcp4, sizes: repeat(3, 1000), edits: []edit{{-1, 't', tcpFlags, 4}}, ours: []int{1, 1, 1}},
	{name: "no ACK", superFrame: tcp4, sizes: repeat(3, 1000), edits: []edit{{-1, 't', tcpFlags, flagACK}}, ours: []int{1, 1, 1},
		differs: "the kernel asks no ACK"},
	{name: "another urgent pointer", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 't', 19, 7}}, ours: []int{2, 1, 2},
		differs: "without URG the kernel takes no account of it"},
	{name: "another acknowledgment", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 't', 11, 7}}, ours: []int{2, 1, 2}},
	{name: "another window", superFrame: tcp6, sizes: repeat(5, 1000), edits: []edit{{2, 't', 15, 1}}, ours: []int{2, 1, 2}},
	{name: "another sequence number", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 't', 7, 1}}, ours: []int{2, 1, 2}},
	{name: "a gap", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{3, 't', 6, 0x40}, {4, 't', 6, 0x40}}, ours: []int{3, 2}},
	{name: "another port", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 't', 1, 4}}, ours: []int{2, 1, 2}, differs: others},
	{name: "udp4 from another port", superFrame: udp4, sizes: repeat(5, 1000), edits: []edit{{2, 't', 1, 4}}, ours: []int{2, 1, 2}, differs: others},
	{name: "options", superFrame: superFrame{flags: header.TCPFlagAck, tcpOptions: 12}, sizes: repeat(4, 1000), ours: []int{4}},
	{name: "another option", superFrame: superFrame{flags: header.TCPFlagAck, tcpOptions: 12}, sizes: repeat(5, 1000),
		edits: []edit{{2, 't', 31, 9}}, ours: []int{2, 1, 2}},

	{name: "another time to live", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 'n', 8, 1}}, ours: []int{2, 1, 2}},
	{name: "udp4 with another time to live", superFrame: udp4, sizes: repeat(5, 1000), edits: []edit{{2, 'n', 8, 1}}, ours: []int{2, 1, 2}},
	{name: "congestion experienced", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 'n', 1, 3}}, ours: []int{2, 1, 2}},
	{name: "one to be fragmented", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 'n', 6, 0x40}}, ours: []int{2, 1, 2}},
	{name: "all to be fragmented", superFrame: tcp4, sizes: repeat(4, 1000), edits: []edit{{-1, 'n', 6, 0x40}}, ours: []int{4}},
	{name: "udp4 to be fragmented", superFrame: udp4, sizes: repeat(4, 1000), edits: []edit{{-1, 'n', 6, 0x40}}, ours: []int{4}},
	{name: "fragments", superFrame: udp4, sizes: repeat(3, 1000), edits: []edit{{-1, 'n', 6, 0x60}}, ours: []int{1, 1, 1}},
	{name: "reserved bit", superFrame: tcp4, sizes: repeat(4, 1000), edits: []edit{{-1, 'n', 6, 0x80}}, ours: []int{4},
		differs: "the kernel joins no packets with the reserved bit"},
	{name: "same id", superFrame: tcp4, sizes: repeat(4, 1000), id: func(int) int { return 0 }, ours: []int{4}},
	{name: "udp4, same id", superFrame: udp4, sizes: repeat(4, 1000), id: func(int) int { return 7 }, ours: []int{4}},
	{name: "same id, to be fragmented", superFrame: tcp4, sizes: repeat(3, 1000), edits: []edit{{-1, 'n', 6, 0x40}},
		id: func(int) int { return 7 }, ours: []int{1, 1, 1}, differs: "the kernel joins them (Linux 6.18 does)"},
	{name: "same id, then counting", superFrame: tcp4, sizes: repeat(5, 1000), id: func(i int) int { return max(i, 2) }, ours: []int{3, 2}},
	{name: "counting, then same id", superFrame: tcp4, sizes: repeat(5, 1000), id: func(i int) int { return min(i, 2) }, ours: []int{3, 2}},
	{name: "counting down", superFrame: tcp4, sizes: repeat(3, 1000), id: func(i int) int { return 100 - i }, ours: []int{1, 1, 1}},
	{name: "any id", superFrame: udp4, sizes: repeat(3, 1000), id: func(i int) int { return 4711 * i * i }, ours: []int{1, 1, 1}},
	{name: "ip options", superFrame: superFrame{flags: header.TCPFlagAck, ipOptions: 8}, sizes: repeat(4, 1000), ours: []int{4}, differs: optional},
	{name: "udp4 with options", superFrame: superFrame{udp: true, ipOptions: 8}, sizes: repeat(4, 1000), ours: []int{4}, differs: optional},
	{name: "another traffic class", superFrame: tcp6, sizes: repeat(5, 1000), edits: []edit{{2, 'n', 1, 0x30}}, ours: []int{2, 1, 2}},
	{name: "another flow label", superFrame: tcp6, sizes: repeat(5, 1000), edits: []edit{{2, 'n', 3, 1}}, ours: []int{2, 1, 2}, differs: others},
	{name: "another hop limit", superFrame: udp6, sizes: repeat(5, 1000), edits: []edit{{2, 'n', 7, 1}}, ours: []int{2, 1, 2}},
	{name: "extension header", superFrame: superFrame{flags: header.TCPFlagAck, v6: true, ipOptions: 8}, sizes: repeat(4, 1000), ours: []int{4}},
	{name: "udp6 with an extension header", superFrame: superFrame{udp: true, v6: true, ipOptions: 16}, sizes: repeat(4, 1000), ours: []int{4}},
	{name: "hop-by-hop options", superFrame: superFrame{flags: header.TCPFlagAck, v6: true, ipOptions: 8}, sizes: repeat(4, 1000),
		edits: []edit{{-1, 'n', 6, destinationOptions ^ hopByHop}}, ours: []int{4}},

	{name: "another station", superFrame: tcp4, sizes: repeat(5, 1000), edits: []edit{{2, 'e', 11, 3}}, ours: []int{2, 1, 2}, differs: others},
	{name: "tag", superFrame: superFrame{flags: header.TCPFlagAck, vlans: 1}, sizes: repeat(4, 1000, 1), ours: []int{5}, differs: noVLAN},
	{name: "tcp6 with two tags", superFrame: superFrame{flags: header.TCPFlagAck, v6: true, vlans: 2}, sizes: repeat(4, 1000, 1), ours: []int{5}, differs: noVLAN},
	{name: "udp4 with a tag", superFrame: superFrame{udp: true, vlans: 1}, sizes: repeat(4, 1000, 1), ours: []int{5}, differs: noVLAN},
	{name: "another tag", superFrame: superFrame{flags: header.TCPFlagAck, vlans: 1}, sizes: repeat(5, 1000),
		edits: []edit{{2, 'e', 15, 1}}, ours: []int{2, 1, 2}, differs: noVLAN},

	{name: "wrong checksum", superFrame: tcp4, sizes: repeat(5, 1000), spoil: []edit{{2, 't', tcpChecksum, 1}}, ours: []int{2, 1, 2}, differs: others},
	{name: "wrong checksum at the start", superFrame: tcp6, sizes: repeat(5, 1000), spoil: []edit{{0, 't', tcpChecksum, 1}}, ours: []int{1, 4}},
	{name: "wrong checksums", superFrame: udp6, sizes: repeat(3, 1000), spoil: []edit{{-1, 't', udpChecksum, 1}}, ours: []int{1, 1, 1}},
	{name: "wrong header checksum", superFrame: udp4, sizes: repeat(5, 1000), spoil: []edit{{2, 'n', 10, 1}}, ours: []int{2, 1, 2}, differs: others},
	{name: "wrong length", superFrame: udp4, sizes: repeat(3, 1000), edits: []edit{{-1, 't', 5, 1}}, ours: []int{1, 1, 1}},
}

// What GRO joins, Coalescer joins to the same bytes: headers with the checksum of
// the pseudo header, as the kernel leaves it there too (CHECKSUM_PARTIAL), payload,
// segment size, and what a virtio header says. And it joins as many frames at a
// time, except where a flow's differs says why not.
//
// GRO ends a packet also when the time of its first frame is over: when the
// clock's tick (jiffy) has changed, and gro_flush_timeout after the last frame. So
// a round can bring smaller groups than it should, and the test tries again.
func TestJoinedFramesAreTheKernels(t *testing.T) {
	k := openKernelTAP(t, unix.IFF_NAPI)
	k.joinUDP(t)
	k.holdFrames(t, 4*time.Millisecond)
	for _, c := range flows {
		t.Run(c.name, func(t *testing.T) {
			frames, headers := c.frames()
			ours := groups(join(t, frames))
			if !slices.Equal(ours, c.ours) {
				t.Errorf("joins %v frames, want %v", ours, c.ours)
			}
			var seen [][]int
			for range 50 {
				all := k.receiveJoined(t, frames, headers)
				for _, r := range all {
					sameJoined(t, r, frames[r.from:r.from+r.n], c.differs)
				}
				seen = append(seen, groups(all))
				if c.differs != "" || slices.Equal(seen[len(seen)-1], c.ours) {
					return
				}
			}
			t.Errorf("joins %v frames, the kernel %v", ours, seen)
		})
	}
}

// sameJoined compares what the kernel made of frames with what Coalescer does.
func sameJoined(t *testing.T, kernel received, frames []Frame, differs string) {
	t.Helper()
	ours := join(t, frames)
	if len(ours) > 1 && differs != "" {
		return
	}
	got, want := ours[0].Frame, kernel.Frame
	if len(ours) > 1 || !bytes.Equal(got.Data, want.Data) {
		t.Fatalf("of %d frames, %d become\n%x, the kernel makes\n%x", len(frames), ours[0].n, got.Data, want.Data)
	}
	got.Data, want.Data = nil, nil
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Fatalf("%d frames become one with %+v, the kernel's has %+v", len(frames), got, want)
	}
}

// joinUDP has the kernel join UDP. It does that only for a socket that wants it,
// which need not receive anything: no frame here is for this host's address.
func (k *kernelTAP) joinUDP(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	const toPort = 2 // of superFrame
	if err := unix.Bind(fd, &unix.SockaddrInet6{Port: toPort}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
		t.Fatal(err)
	}
}

// holdFrames has GRO wait for further frames, where it would otherwise pass on
// what it has after each frame that the owner writes. Only a sysfs that was
// mounted in the test's network namespace shows its interfaces.
func (k *kernelTAP) holdFrames(t *testing.T, d time.Duration) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `mount -t sysfs sysfs /sys && echo "$0" >"/sys/class/net/$1/gro_flush_timeout"`,
		fmt.Sprint(d.Nanoseconds()), k.name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("set gro_flush_timeout: %v: %s", err, out)
	}
}

// What Coalescer has joined, the kernel cuts into the same frames again, except
// for identifications that were all the same.
func TestKernelCutsWhatWasJoined(t *testing.T) {
	k := openKernelTAP(t, 0)
	for _, c := range flows {
		t.Run(c.name, func(t *testing.T) {
			frames, _ := c.frames()
			for _, r := range join(t, frames) {
				if r.n == 1 {
					continue
				}
				want := frames[r.from : r.from+r.n]
				if c.id != nil && c.id(r.from) == c.id(r.from+1) {
					recount(want, HeaderLen+VLANLen*c.vlans)
				}
				agree(t, want, k.cut(t, r.Frame))
			}
		})
	}
}

// recount makes the identifications of IPv4 packets without options count up.
func recount(frames []Frame, network int) {
	for i, f := range frames {
		ip := f.Data[network : network+ipv4HeaderLen]
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(i))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^InternetSum(ip, 0))
	}
}
