package bpf

import (
	"encoding/binary"

	"tmelink/internal/ethernet"
)

// The header that PACKET_VNET_HDR puts before a packet: struct virtio_net_hdr
// of linux/virtio_net.h, in the byte order of the host.
//
//	0 flags, 1 gso_type, 2 hdr_len, 4 gso_size, 6 csum_start, 8 csum_offset
const (
	vnetLen = 10

	vnetNeedsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

	vnetSingle = 0    // VIRTIO_NET_HDR_GSO_NONE
	vnetTCP4   = 1    // VIRTIO_NET_HDR_GSO_TCPV4
	vnetTCP6   = 4    // VIRTIO_NET_HDR_GSO_TCPV6
	vnetUDP    = 5    // VIRTIO_NET_HDR_GSO_UDP_L4
	vnetECN    = 0x80 // VIRTIO_NET_HDR_GSO_ECN
)

// finish makes a frame of what the kernel gave: its header, the VLAN tag that
// it took out of the frame (0: none), and the frame behind VLANLen bytes of
// room. It is false where the header contradicts the frame. buf has at least
// VLANLen+HeaderLen bytes.
func finish(vnet [vnetLen]byte, tag uint32, buf []byte) (ethernet.Frame, bool) {
	f := ethernet.Frame{Data: buf[ethernet.VLANLen:]}
	shift := 0
	if tag != 0 {
		f.Data, shift = buf, ethernet.VLANLen
		copy(buf, buf[ethernet.VLANLen:ethernet.VLANLen+12])
		binary.BigEndian.PutUint32(buf[12:], tag)
	}
	kind := vnet[1] &^ vnetECN
	if vnet[0]&vnetNeedsChecksum != 0 {
		start := int(binary.NativeEndian.Uint16(vnet[6:])) + shift
		offset := int(binary.NativeEndian.Uint16(vnet[8:]))
		if start < ethernet.HeaderLen+shift || start+offset+2 > len(f.Data) {
			return f, false
		}
		f.Needs = ethernet.Checksum
		f.ChecksumStart, f.ChecksumOffset = uint16(start), uint16(offset)
	} else if kind != vnetSingle {
		return f, false // a super-frame's checksum is never finished
	}
	switch kind {
	case vnetSingle:
		return f, true
	case vnetTCP4:
		f.Needs |= ethernet.TSO4
	case vnetTCP6:
		f.Needs |= ethernet.TSO6
	case vnetUDP:
		f.Needs |= ethernet.USO
	default:
		return f, false
	}
	f.SegmentSize = binary.NativeEndian.Uint16(vnet[4:])
	return f, f.SegmentSize != 0
}
