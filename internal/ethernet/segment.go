package ethernet

import "encoding/binary"

// Bits and offsets of the headers that segmentation rewrites (RFC 791, RFC
// 8200, RFC 9293, RFC 768; CWR: RFC 3168).
const (
	protoTCP = 6
	protoUDP = 17

	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	tcpHeaderLen  = 20
	udpHeaderLen  = 8

	tcpChecksum = 16 // offset of the checksum field in the header
	udpChecksum = 6

	tcpFlags = 13 // offset of the byte with the flags
	flagFIN  = 0x01
	flagPSH  = 0x08
	flagACK  = 0x10
	flagECE  = 0x40
	flagCWR  = 0x80
)

// maxSegments bounds what one super-frame is cut into. 64 KiB at the smallest
// MSS that any host uses are about 1,500; more is an attempt to blow it up.
const maxSegments = 2048

// Segmenter does in software what a frame still needs: it completes checksums
// and cuts super-frames. It keeps its storage, so that a warm one allocates
// nothing. The zero Segmenter is ready; one goroutine uses it.
type Segmenter struct {
	out   []Frame
	bytes []byte
}

// Finish makes a batch into one that a port takes whose Offloads are takes and
// whose MaxFrame is maxFrame. A batch that the port takes as it is comes back as
// it is. Otherwise the frames that come back are valid until the next Finish,
// and the batch's own bytes may have been changed. Frames that the port cannot
// be given are left out, so that the batch may become empty, and counted in
// drops: Runt, Oversize, or Malformed where an unfinished frame contradicts
// itself.
func (s *Segmenter) Finish(batch []Frame, takes Offloads, maxFrame int, drops *Drops) []Frame {
	first := passing(batch, takes, maxFrame)
	if first == len(batch) {
		return batch
	}
	s.out = append(s.out[:0], batch[:first]...)
	s.bytes = s.bytes[:0]
	for i := first; i < len(batch); i++ {
		if reason, ok := s.finish(&batch[i], takes, maxFrame); !ok {
			drops.Add(reason, 1)
		}
	}
	return s.out
}

// Pass says whether a port takes the whole batch as it is, so that there is no
// need for Finish.
func Pass(batch []Frame, takes Offloads, maxFrame int) bool {
	return passing(batch, takes, maxFrame) == len(batch)
}

// passing is how many frames from the first on the port takes as they are.
func passing(batch []Frame, takes Offloads, maxFrame int) int {
	for i := range batch {
		if !passes(&batch[i], takes, maxFrame) {
			return i
		}
	}
	return len(batch)
}

// passes says whether the port takes the frame as it is.
func passes(f *Frame, takes Offloads, maxFrame int) bool {
	if len(f.Data) < HeaderLen || !takes.Takes(f) {
		return false
	}
	if f.Needs&Segmentation == 0 {
		return len(f.Data) <= maxFrame
	}
	l, ok := parseLayout(f)
	return ok && len(f.Data) <= MaxFrameLen && l.longest(f) <= maxFrame
}

// finish appends what becomes of a frame to s.out, or says why it is dropped.
func (s *Segmenter) finish(f *Frame, takes Offloads, maxFrame int) (Reason, bool) {
	switch {
	case passes(f, takes, maxFrame):
		s.out = append(s.out, *f)
		return 0, true
	case len(f.Data) < HeaderLen:
		return Runt, false
	case f.Needs&Segmentation == 0 && len(f.Data) > maxFrame, len(f.Data) > MaxFrameLen:
		return Oversize, false
	case f.Needs&Segmentation == 0:
		if !completeChecksum(f) {
			return Malformed, false
		}
		s.out = append(s.out, Frame{Data: f.Data})
		return 0, true
	}
	l, ok := parseLayout(f)
	if !ok {
		return Malformed, false
	}
	if l.longest(f) > maxFrame {
		return Oversize, false
	}
	s.cut(f, l)
	return 0, true
}

// Longest is the length of a batch's longest frame; of a super-frame that of its longest
// segment counts.
func Longest(batch []Frame) (longest int) {
	for i := range batch {
		n := len(batch[i].Data)
		if batch[i].Needs&Segmentation != 0 {
			if l, ok := parseLayout(&batch[i]); ok {
				n = l.longest(&batch[i])
			}
		}
		longest = max(longest, n)
	}
	return longest
}

// completeChecksum puts the checksum of everything from ChecksumStart into its
// field, which holds the sum of the pseudo header.
func completeChecksum(f *Frame) bool {
	start, field := int(f.ChecksumStart), int(f.ChecksumStart)+int(f.ChecksumOffset)
	if start < HeaderLen || field+2 > len(f.Data) {
		return false
	}
	binary.BigEndian.PutUint16(f.Data[field:], finishChecksum(InternetSum(f.Data[start:], 0)))
	return true
}

// layout says where a super-frame's headers begin.
type layout struct {
	network   int // the IP header
	transport int // the TCP or UDP header
	payload   int
	src, dst  []byte // IP addresses
	protocol  uint8
}

// longest is the length of the super-frame's longest segment.
func (l *layout) longest(f *Frame) int {
	return min(len(f.Data), l.payload+int(f.SegmentSize))
}

// parseLayout finds a super-frame's headers and checks that they agree with each
// other and with what the frame says that it needs.
func parseLayout(f *Frame) (l layout, ok bool) {
	h, err := ParseHeader(f.Data)
	if err != nil || f.SegmentSize == 0 {
		return l, false
	}
	l.network = h.Len
	switch h.Type {
	case TypeIPv4:
		ok = l.parseIPv4(f.Data) && (f.Needs&Segmentation == TSO4 || f.Needs&Segmentation == USO)
	case TypeIPv6:
		ok = l.parseIPv6(f.Data) && (f.Needs&Segmentation == TSO6 || f.Needs&Segmentation == USO)
	}
	if !ok || (l.protocol == protoUDP) != (f.Needs&Segmentation == USO) {
		return l, false
	}
	checksum, ok := l.parseTransport(f.Data)
	if !ok || f.Needs&Checksum != 0 && (int(f.ChecksumStart) != l.transport || f.ChecksumOffset != checksum) {
		return l, false
	}
	return l, (len(f.Data)-l.payload-1)/int(f.SegmentSize) < maxSegments
}

func (l *layout) parseIPv4(data []byte) bool {
	ip := data[l.network:]
	if len(ip) < ipv4HeaderLen || ip[0]>>4 != 4 || int(binary.BigEndian.Uint16(ip[2:])) != len(ip) {
		return false
	}
	length := int(ip[0]&0x0f) * 4
	const fragmented = 0x3fff // more fragments, and the offset
	if length < ipv4HeaderLen || length > len(ip) || binary.BigEndian.Uint16(ip[6:])&fragmented != 0 {
		return false
	}
	l.transport = l.network + length
	l.protocol, l.src, l.dst = ip[9], ip[12:16], ip[16:20]
	return true
}

// Extension headers that may stand before the transport header of a packet that
// is no fragment (RFC 8200, 4).
const (
	hopByHop           = 0
	routing            = 43
	destinationOptions = 60
)

func (l *layout) parseIPv6(data []byte) bool {
	ip := data[l.network:]
	if len(ip) < ipv6HeaderLen || ip[0]>>4 != 6 || int(binary.BigEndian.Uint16(ip[4:])) != len(ip)-ipv6HeaderLen {
		return false
	}
	l.src, l.dst = ip[8:24], ip[24:40]
	var at int
	l.protocol, at = skipExtensions(ip)
	l.transport = l.network + at
	return at <= len(ip)
}

// skipExtensions gives the protocol that follows the extension headers of an
// IPv6 packet, and where it begins; protocol 255, which is reserved, where they
// end beyond the packet or hide the address that a checksum covers: a routing
// header does that which is not used up.
func skipExtensions(ip []byte) (protocol uint8, at int) {
	next, at := ip[6], ipv6HeaderLen
	for next == hopByHop || next == routing || next == destinationOptions {
		if at+8 > len(ip) || next == routing && ip[at+3] != 0 {
			return 255, at
		}
		next, at = ip[at], at+(int(ip[at+1])+1)*8
	}
	return next, at
}

// parseTransport finds the payload, and gives the offset of the checksum field.
func (l *layout) parseTransport(data []byte) (checksum uint16, ok bool) {
	t := data[l.transport:]
	switch l.protocol {
	case protoTCP:
		if len(t) < tcpHeaderLen {
			return 0, false
		}
		length := int(t[12]>>4) * 4
		l.payload = l.transport + length
		return tcpChecksum, length >= tcpHeaderLen && length <= len(t)
	case protoUDP:
		l.payload = l.transport + udpHeaderLen
		return udpChecksum, len(t) >= udpHeaderLen
	}
	return 0, false
}

// cut appends the super-frame's segments to s.out.
func (s *Segmenter) cut(f *Frame, l layout) {
	payload, size := f.Data[l.payload:], int(f.SegmentSize)
	segments := max(1, (len(payload)+size-1)/size)
	if need := segments*l.payload + len(payload); cap(s.bytes)-len(s.bytes) < need {
		// The segments cut before keep the old storage alive as long as they need it.
		s.bytes = make([]byte, 0, max(2*cap(s.bytes), need))
	}
	for i := range segments {
		from, to := i*size, min((i+1)*size, len(payload))
		start := len(s.bytes)
		s.bytes = append(s.bytes, f.Data[:l.payload]...)
		s.bytes = append(s.bytes, payload[from:to]...)
		segment := s.bytes[start:len(s.bytes):len(s.bytes)]
		l.writeHeaders(segment, i, from, i == segments-1)
		s.out = append(s.out, Frame{Data: segment})
	}
}

// writeHeaders makes the super-frame's headers into those of segment i, whose
// payload begins at byte from of the whole.
func (l *layout) writeHeaders(segment []byte, i, from int, last bool) {
	ip, t := segment[l.network:], segment[l.transport:]
	if len(l.src) == 4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(i))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^InternetSum(segment[l.network:l.transport], 0))
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6HeaderLen))
	}
	field := t[udpChecksum:]
	if l.protocol == protoTCP {
		field = t[tcpChecksum:]
		binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(from))
		if i > 0 {
			t[tcpFlags] &^= flagCWR
		}
		if !last {
			t[tcpFlags] &^= flagFIN | flagPSH
		}
	} else {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	}
	binary.BigEndian.PutUint16(field, 0)
	sum := InternetSum(t, PseudoSum(l.src, l.dst, l.protocol, len(t)))
	if l.protocol == protoTCP {
		binary.BigEndian.PutUint16(field, ^sum) // zero means zero
	} else {
		binary.BigEndian.PutUint16(field, finishChecksum(sum))
	}
}
