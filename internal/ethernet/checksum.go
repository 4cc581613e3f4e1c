package ethernet

import (
	"encoding/binary"
	"math/bits"
)

// InternetSum adds bytes to a one's complement sum of 16-bit words and returns
// it folded and not inverted (RFC 1071). An odd last byte counts as if a zero
// followed it, so only the last of several pieces may have an odd length.
func InternetSum(b []byte, initial uint16) uint16 {
	if len(b) >= vectorMin { // checksum_amd64.go, checksum_other.go
		b, initial = sumVectors(b, initial)
	}
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
	last := uint64(0)
	if len(b) >= 4 {
		last = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		last += uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		last += uint64(b[0])
	}
	sum, carry = bits.Add64(sum, last, carry)
	return foldWords(sum>>32 + sum&0xffffffff + carry)
}

// foldWords folds a sum of little-endian words to that of big-endian ones.
func foldWords(sum uint64) uint16 {
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
	sum := uint64(protocol) + uint64(length)
	for ; len(src) >= 4 && len(dst) >= 4; src, dst = src[4:], dst[4:] {
		sum += uint64(binary.BigEndian.Uint32(src)) + uint64(binary.BigEndian.Uint32(dst))
	}
	return bits.ReverseBytes16(foldWords(sum)) // these words are big-endian
}

// finishChecksum inverts a sum for a checksum field. Zero, which in UDP means
// that there is no checksum, is sent as its equal, all ones (RFC 768).
func finishChecksum(sum uint16) uint16 {
	if sum == 0xffff {
		return sum
	}
	return ^sum
}
