package openvpn

import (
	"encoding/binary"
	"fmt"
)

// lengthLen is the size of the big-endian length before each packet of a TCP
// stream (packet_size_type in OpenVPN's socket.h).
const lengthLen = 2

// streamBuffer is how much of a TCP stream is read at once.
const streamBuffer = 256 << 10

// Stream cuts what comes out of a TCP connection into packets, whatever way the
// stream was cut before. Space and Cut are called in turn by one goroutine:
//
//	n, err := conn.Read(stream.Space())
//	packets, err = stream.Cut(n, packets[:0])
//
// It allocates nothing after NewStream.
type Stream struct {
	buf        []byte
	start, end int // of what has not been cut yet
	max        int
}

// NewStream makes a Stream that takes packets of 1 to max bytes.
func NewStream(max int) *Stream {
	return &Stream{buf: make([]byte, streamBuffer+lengthLen+max), max: max}
}

// Space is where the next bytes of the stream are to be put: never empty. The
// packets that Cut gave before are lost with it.
func (s *Stream) Space() []byte {
	copy(s.buf, s.buf[s.start:s.end])
	s.start, s.end = 0, s.end-s.start
	return s.buf[s.end:]
}

// Cut takes up the first n bytes of the last Space and appends every packet
// that is complete now. The packets are borrowed until the next Space. An error
// means that the stream does not carry packets of this kind: the connection is
// of no more use.
func (s *Stream) Cut(n int, packets [][]byte) ([][]byte, error) {
	s.end += n
	for s.end-s.start >= lengthLen {
		length := int(binary.BigEndian.Uint16(s.buf[s.start:]))
		if length < 1 || length > s.max {
			return packets, fmt.Errorf("packet length %d in the TCP stream is not from 1 to %d: "+
				"the peer speaks no OpenVPN without keys, or its --tun-mtu is larger", length, s.max)
		}
		next := s.start + lengthLen + length
		if next > s.end {
			break
		}
		packets = append(packets, s.buf[s.start+lengthLen:next:next])
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
