package openvpn

import (
	"encoding/binary"
	"fmt"

	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/spare"
)

// LengthLen is the size of the big-endian length before each packet of a TCP
// stream (packet_size_type in OpenVPN's socket.h).
const LengthLen = 2

// streamBuffer is how much of a TCP stream is read at once.
const streamBuffer = 256 << 10

// Stream cuts what comes out of a TCP connection into packets, whatever way the
// stream was cut before. Space and Cut are called in turn by one goroutine:
//
//	n, err := conn.Read(stream.Space())
//	packets, err = stream.Cut(n, packets[:0])
//
// It holds a buffer from Space until Rest, and allocates nothing once buffers
// have been used.
type Stream struct {
	buf        *[]byte // nil at rest
	start, end int     // of what has not been cut yet
	max        int
}

// streamBuffers are those that no Stream holds.
var streamBuffers = spare.New(func() *[]byte {
	b := make([]byte, streamBuffer+LengthLen+65535+datachannel.Slack)
	return &b
})

// NewStream makes a Stream that takes packets of 1 to max bytes, which is at most
// 65535.
func NewStream(max int) *Stream { return &Stream{max: max} }

// Begin puts in what has been read of the stream already; what it completes is cut
// together with what comes next. It is called before the first Space.
func (s *Stream) Begin(head []byte) { s.end += copy(s.Space(), head) }

// Space is where the next bytes of the stream are to be put: never empty. The
// packets that Cut gave before are lost with it.
func (s *Stream) Space() []byte {
	if s.buf == nil {
		s.buf = streamBuffers.Take()
	}
	b := *s.buf
	copy(b, b[s.start:s.end])
	s.start, s.end = 0, s.end-s.start
	return b[s.end : streamBuffer+LengthLen+s.max]
}

// Rest may be called in place of Cut when nothing came: the buffer goes to other
// streams, unless a packet has begun in it.
func (s *Stream) Rest() {
	if s.buf != nil && s.start == s.end {
		s.start, s.end = 0, 0
		streamBuffers.Give(s.buf)
		s.buf = nil
	}
}

// Cut takes up the first n bytes of the last Space and appends every packet
// that is complete now. The packets are borrowed until the next Space. An error
// means that the stream does not carry packets of this kind: the connection is
// of no more use.
func (s *Stream) Cut(n int, packets [][]byte) ([][]byte, error) {
	s.end += n
	buf := *s.buf
	for s.end-s.start >= LengthLen {
		length := int(binary.BigEndian.Uint16(buf[s.start:]))
		if length < 1 || length > s.max {
			return packets, fmt.Errorf("packet length %d in the TCP stream is not from 1 to %d: "+
				"the peer speaks no OpenVPN, or its --tun-mtu is larger", length, s.max)
		}
		next := s.start + LengthLen + length
		if next > s.end {
			break
		}
		packets = append(packets, buf[s.start+LengthLen:next:next+datachannel.Slack])
		s.start = next
	}
	return packets, nil
}

// AppendStream appends the packets to dst as they go over a TCP connection.
// Each packet is of 1 to 65535 bytes.
func AppendStream(dst []byte, packets [][]byte) []byte {
	for _, p := range packets {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(p)))
		dst = append(dst, p...)
	}
	return dst
}
