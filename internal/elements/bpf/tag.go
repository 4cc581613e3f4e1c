package bpf

import (
	"encoding/binary"

	"tmelink/internal/ethernet"
)

// restore puts back the VLAN tag that the kernel has taken out of a frame (0:
// none). The frame stands in buf behind VLANLen bytes of room, and has at least
// HeaderLen bytes. shift is by how much the header's numbers are too small then.
func restore(tag uint32, buf []byte) (data []byte, shift int) {
	if tag == 0 {
		return buf[ethernet.VLANLen:], 0
	}
	copy(buf, buf[ethernet.VLANLen:ethernet.VLANLen+12])
	binary.BigEndian.PutUint32(buf[12:], tag)
	return buf, ethernet.VLANLen
}
