package unixsock

import (
	"encoding/binary"

	"tmelink/internal/ethernet"
)

// Prefix is the length before each frame of a stream.
type Prefix uint8

const (
	Big32    Prefix = iota // 32 bits, big-endian: QEMU's (net_fill_rstate in its net/net.c)
	Big16                  // 16 bits, big-endian: vde_plug's on its standard input and output (vdestream_send in libvdeplug of vde-2)
	Little16               // 16 bits, little-endian: gvproxy's on a pipe (pkg/tap/protocols.go of gvisor-tap-vsock)
)

// mostPrefix is the longest prefix, in bytes.
const mostPrefix = 4

// len is the number of its bytes.
func (p Prefix) len() int {
	if p == Big32 {
		return 4
	}
	return 2
}

// MaxFrame is the longest frame that it can announce, of those that there are.
func (p Prefix) MaxFrame() int {
	if p == Big32 {
		return ethernet.MaxFrameLen
	}
	return 1<<16 - 1
}

// put writes a length into as many bytes as the prefix has.
func (p Prefix) put(b []byte, length int) {
	switch p {
	case Big16:
		binary.BigEndian.PutUint16(b, uint16(length))
	case Little16:
		binary.LittleEndian.PutUint16(b, uint16(length))
	default:
		binary.BigEndian.PutUint32(b, uint32(length))
	}
}

// get reads one.
func (p Prefix) get(b []byte) uint32 {
	switch p {
	case Big16:
		return uint32(binary.BigEndian.Uint16(b))
	case Little16:
		return uint32(binary.LittleEndian.Uint16(b))
	}
	return binary.BigEndian.Uint32(b)
}

// String names it: "32-bit big-endian length".
func (p Prefix) String() string {
	return [...]string{"32-bit big-endian length", "16-bit big-endian length", "16-bit little-endian length"}[p]
}
