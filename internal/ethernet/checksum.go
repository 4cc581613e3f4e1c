package ethernet

import (
	"encoding/binary"
	"math/bits"
)

// InternetSum adds bytes to a one's complement sum of 16-bit words and returns
// it folded and not inverted (RFC 1071). An odd last byte counts as if a zero
// followed it, so only the last of several pieces may have an odd length.
func InternetSum(b []byte, initial uint16) uint16 {
	// The sum of little-endian words is the byte-swapped sum of big-endian
	// ones (RFC 1071, 2 B), and 64 bits at a time carry four words.
	sum, carry := uint64(bits.ReverseBytes16(initial)), uint64(0)
	for len(b) >= 64 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[0:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[24:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[32:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[40:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[48:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[56:]), carry)
		b = b[64:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var rest [8]byte
		copy(rest[:], b)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(rest[:]), carry)
	}
	sum = sum>>32 + sum&0xffffffff + carry
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return bits.ReverseBytes16(uint16(sum))
}

// PseudoSum is the sum of the pseudo header that a TCP or UDP checksum covers
// (RFC 9293, 3.1; RFC 8200, 8.1). The addresses have 4 or 16 bytes each; length
// is that of the transport header and its payload, at most 65535.
func PseudoSum(src, dst []byte, protocol uint8, length int) uint16 {
	var rest [4]byte
	binary.BigEndian.PutUint16(rest[0:], uint16(length))
	rest[3] = protocol
	return InternetSum(rest[:], InternetSum(dst, InternetSum(src, 0)))
}

// finishChecksum inverts a sum for a checksum field. Zero, which in UDP means
// that there is no checksum, is sent as its equal, all ones (RFC 768).
func finishChecksum(sum uint16) uint16 {
	if sum == 0xffff {
		return sum
	}
	return ^sum
}
