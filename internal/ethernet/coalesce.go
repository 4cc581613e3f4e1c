package ethernet

import (
	"bytes"
	"encoding/binary"
)

// Bounds of what is joined to one super-frame.
const (
	// maxJoined is how many frames become one: the kernel's bound on the
	// datagrams of a UDP super-frame since Linux 6.9 (UDP_MAX_SEGMENTS) is 128,
	// and before it 64. Of TCP 45 full segments fill 64 KiB.
	maxJoined = 64
	// maxHeaders is how long the headers of joined frames may be. Two tags and
	// the longest IPv4 and TCP headers come to 142; the rest is for IPv6
	// extension headers.
	maxHeaders = 256
	// maxPacket is the longest IPv4 packet, and the longest IPv6 payload.
	maxPacket = 65535
)

// Coalescer joins consecutive frames of a flow to super-frames: what generic
// receive offload does in a kernel. It joins only what Segmenter, or a kernel,
// cuts into the same frames again. The one difference that it allows is the
// identification of IPv4 packets that must not be fragmented, which means nothing
// (RFC 6864): where all of them have the same, the cut ones count up.
//
// The zero Coalescer is ready and allocates nothing once it is warm; one
// goroutine uses it.
type Coalescer struct {
	headers [maxHeaders]byte
	payload [][]byte
}

// Join takes frames off the front of a batch that is not empty: as many as can
// go on as one super-frame of a kind that takes allows, or else one. n is their
// number. Where n is 1, f is that frame as it is, and payload is nil. Otherwise
// f describes the super-frame: f.Data is its headers alone, and payload what
// follows behind them, in pieces that are the frames' own bytes. They are valid
// until the next Join. The frames themselves are not changed.
func (c *Coalescer) Join(batch []Frame, takes Offloads) (f Frame, payload [][]byte, n int) {
	if len(batch) < 2 || takes&Checksum == 0 {
		return batch[0], nil, 1
	}
	r, ok := parseRun(&batch[0])
	if !ok || takes&r.kind == 0 {
		return batch[0], nil, 1
	}
	n = 1
	for n < len(batch) && r.follows(&batch[n]) && r.sound(&batch[n]) {
		if n == 1 && !r.sound(&batch[0]) {
			break
		}
		r.add(&batch[n])
		n++
	}
	if n == 1 {
		return batch[0], nil, 1
	}
	c.payload = c.payload[:0]
	for i := range n {
		c.payload = append(c.payload, batch[i].Data[r.payload:])
	}
	return r.superFrame(&c.headers, batch[n-1].Data), c.payload, n
}

// run is a row of frames that become one.
type run struct {
	layout
	kind     Offloads // TSO4, TSO6 or USO
	first    []byte   // the first frame
	needs    Offloads // of each of the frames: Checksum or nothing
	checksum uint16   // offset of the checksum field
	size     int      // payload of each frame but the last
	frames   int
	bytes    int  // of payload
	ended    bool // the last frame allows none behind it
	sameID   bool // all IPv4 identifications are the same
}

// parseRun begins a run with a frame, which must be whole and finished but for
// its checksum, and carry something.
func parseRun(f *Frame) (r run, ok bool) {
	data := f.Data
	if f.Needs&^Checksum != 0 || len(data) < HeaderLen+ipv4HeaderLen+udpHeaderLen {
		return r, false
	}
	kind := binary.BigEndian.Uint16(data[12:])
	r.network = HeaderLen
	if kind == TypeVLAN || kind == TypeQinQ {
		h, err := ParseHeader(data)
		if err != nil {
			return r, false
		}
		kind, r.network = h.Type, h.Len
	}
	switch kind {
	case TypeIPv4:
		ok, r.kind = r.parseIPv4(data), TSO4
	case TypeIPv6:
		ok, r.kind = r.parseIPv6(data), TSO6
	}
	if !ok {
		return r, false
	}
	if r.checksum, ok = r.parseTransport(data); !ok || r.payload > maxHeaders {
		return r, false
	}
	if r.protocol == protoUDP {
		r.kind = USO
	}
	r.first, r.needs = data, f.Needs
	r.size, r.frames, r.bytes = len(data)-r.payload, 1, len(data)-r.payload
	r.ended = r.last(data)
	return r, r.size > 0 && r.fit(data) && (f.Needs == 0 ||
		int(f.ChecksumStart) == r.transport && f.ChecksumOffset == r.checksum)
}

// fit says whether a frame's transport header allows it in a run at all: TCP
// that carries data and nothing else, UDP that has a checksum. The second way to
// write a TCP checksum of zero would not come back from segmentation.
func (r *run) fit(data []byte) bool {
	t := data[r.transport:]
	if r.protocol == protoTCP {
		return t[tcpFlags]&^(flagPSH|flagFIN|flagECE) == flagACK && binary.BigEndian.Uint16(t[tcpChecksum:]) != 0xffff
	}
	return int(binary.BigEndian.Uint16(t[4:])) == len(t) && binary.BigEndian.Uint16(t[udpChecksum:]) != 0
}

// last says whether a frame of TCP can only be the last of a run: segmentation
// gives these flags to the last segment.
func (r *run) last(data []byte) bool {
	return r.protocol == protoTCP && data[r.transport+tcpFlags]&(flagPSH|flagFIN) != 0
}

// follows says whether a frame continues the run: the same headers, but for what
// segmentation counts up.
func (r *run) follows(f *Frame) bool {
	data, a := f.Data, r.first
	length := len(data) - r.payload
	if r.ended || length <= 0 || length > r.size || f.Needs != r.needs || r.frames == maxJoined ||
		r.payload-r.network+r.bytes+length > maxPacket {
		return false
	}
	if f.Needs != 0 && (int(f.ChecksumStart) != r.transport || f.ChecksumOffset != r.checksum) {
		return false
	}
	if !bytes.Equal(data[:r.network], a[:r.network]) || !r.followsIP(data) {
		return false
	}
	t, u := data[r.transport:r.payload], a[r.transport:r.payload]
	if binary.BigEndian.Uint32(t) != binary.BigEndian.Uint32(u) { // ports
		return false
	}
	if !r.fit(data) {
		return false
	}
	if r.protocol == protoUDP {
		return true
	}
	const ackToFlags, window = 8, 14 // offsets of the acknowledgment number and the window
	return binary.BigEndian.Uint32(t[4:]) == binary.BigEndian.Uint32(u[4:])+uint32(r.bytes) &&
		bytes.Equal(t[ackToFlags:tcpFlags], u[ackToFlags:tcpFlags]) &&
		(t[tcpFlags]^u[tcpFlags])&^(flagPSH|flagFIN) == 0 &&
		bytes.Equal(t[window:tcpChecksum], u[window:tcpChecksum]) &&
		bytes.Equal(t[tcpChecksum+2:], u[tcpChecksum+2:])
}

// followsIP compares the IP headers.
func (r *run) followsIP(data []byte) bool {
	ip, a := data[r.network:r.transport], r.first[r.network:r.transport]
	total := len(data) - r.network
	if len(r.src) != 4 { // all but the payload length
		return bytes.Equal(ip[:4], a[:4]) && bytes.Equal(ip[6:], a[6:]) &&
			int(binary.BigEndian.Uint16(ip[4:])) == total-ipv6HeaderLen
	}
	const flags, checksum = 6, 10
	if !bytes.Equal(ip[:2], a[:2]) || int(binary.BigEndian.Uint16(ip[2:])) != total ||
		!bytes.Equal(ip[flags:checksum], a[flags:checksum]) || !bytes.Equal(ip[checksum+2:], a[checksum+2:]) {
		return false
	}
	const dontFragment = 0x40
	id := binary.BigEndian.Uint16(ip[4:]) - binary.BigEndian.Uint16(a[4:])
	if r.frames == 1 {
		r.sameID = id == 0 && ip[flags]&dontFragment != 0
	}
	if r.sameID {
		return id == 0
	}
	return id == uint16(r.frames)
}

// sound verifies a frame's checksums.
func (r *run) sound(f *Frame) bool {
	data := f.Data
	if len(r.src) == 4 && (InternetSum(data[r.network:r.transport], 0) != 0xffff ||
		binary.BigEndian.Uint16(data[r.network+10:]) == 0xffff) {
		return false
	}
	if f.Needs&Checksum != 0 {
		return true // it never left its host
	}
	t := data[r.transport:]
	return InternetSum(t, PseudoSum(r.src, r.dst, r.protocol, len(t))) == 0xffff
}

func (r *run) add(f *Frame) {
	length := len(f.Data) - r.payload
	r.frames++
	r.bytes += length
	r.ended = length < r.size || r.last(f.Data)
}

// superFrame writes the headers of the whole run.
func (r *run) superFrame(space *[maxHeaders]byte, last []byte) Frame {
	h := space[:r.payload]
	copy(h, r.first)
	ip, t := h[r.network:], h[r.transport:]
	length := len(t) + r.bytes
	if len(r.src) == 4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(r.transport-r.network+length))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^InternetSum(h[r.network:r.transport], 0))
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(r.transport-r.network-ipv6HeaderLen+length))
	}
	if r.protocol == protoTCP {
		t[tcpFlags] |= last[r.transport+tcpFlags]
	} else {
		binary.BigEndian.PutUint16(t[4:], uint16(length))
	}
	binary.BigEndian.PutUint16(t[r.checksum:], PseudoSum(r.src, r.dst, r.protocol, length))
	return Frame{
		Data: h, Needs: Checksum | r.kind, SegmentSize: uint16(r.size),
		ChecksumStart: uint16(r.transport), ChecksumOffset: r.checksum,
	}
}
