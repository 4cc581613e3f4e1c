// Package frametest gives tests the frames of UDP flows and TCP connections, as a
// wire carries them and as super-frames.
package frametest

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"tmelink/internal/ethernet"
)

// Flow is a UDP flow, or one direction of a TCP connection.
type Flow struct {
	Dst, Src ethernet.Addr
	To, From netip.AddrPort // both of IPv4, or both of IPv6
	TCP      bool
	VLAN     uint16 // the tag's 16 bits; 0: none
}

// Super is a frame of the flow whose payload is still to be cut into pieces of
// size bytes (RFC 791, 8200, 768, 9293). The TCP segment begins at number 1.
func (f Flow) Super(payload []byte, size int) ethernet.Frame {
	data := append(append([]byte{}, f.Dst[:]...), f.Src[:]...)
	if f.VLAN != 0 {
		data = uint16s(data, ethernet.TypeVLAN, f.VLAN)
	}
	src, dst := f.From.Addr().AsSlice(), f.To.Addr().AsSlice()
	protocol, header, field, needs := uint8(17), 8, 6, ethernet.USO
	if f.TCP {
		protocol, header, field, needs = 6, 20, 16, ethernet.TSO4
		if len(src) == 16 {
			needs = ethernet.TSO6
		}
	}
	length := header + len(payload)
	if len(src) == 4 {
		data = uint16s(data, ethernet.TypeIPv4)
		ip := len(data)
		data = uint16s(data, 0x4500, uint16(20+length), 0x1234, 0x4000)
		data = append(data, 64, protocol, 0, 0)
		data = append(append(data, src...), dst...)
		binary.BigEndian.PutUint16(data[ip+10:], ^ethernet.InternetSum(data[ip:], 0))
	} else {
		data = uint16s(data, ethernet.TypeIPv6, 0x6000, 0, uint16(length))
		data = append(append(append(data, protocol, 64), src...), dst...)
	}
	start := len(data)
	data = uint16s(data, f.From.Port(), f.To.Port())
	if f.TCP { // numbers 1 and 1, five words of header, ACK, a window
		data = uint16s(data, 0, 1, 0, 1, 0x5010, 0x2000, 0, 0)
	} else {
		data = uint16s(data, uint16(length), 0)
	}
	binary.BigEndian.PutUint16(data[start+field:], ethernet.PseudoSum(src, dst, protocol, length))
	return ethernet.Frame{
		Data: append(data, payload...), Needs: ethernet.Checksum | needs, SegmentSize: uint16(size),
		ChecksumStart: uint16(start), ChecksumOffset: uint16(field),
	}
}

func uint16s(b []byte, numbers ...uint16) []byte {
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

// Frames are those of the flow that carry a payload in pieces of size bytes, each
// in memory of its own.
func (f Flow) Frames(payload []byte, size int) (all []ethernet.Frame) {
	var s ethernet.Segmenter
	var drops ethernet.Drops
	for _, one := range s.Finish([]ethernet.Frame{f.Super(payload, size)}, 0, ethernet.MaxFrameLen, &drops) {
		all = append(all, ethernet.Frame{Data: bytes.Clone(one.Data)})
	}
	return all
}

// Pattern is n bytes that show where they stand.
func Pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8*31)
	}
	return b
}
