package ethernet

import "encoding/binary"

// VirtioLen is the length of struct virtio_net_hdr (linux/virtio_net.h), which
// Linux puts before each frame of a TAP device with IFF_VNET_HDR and of a packet
// socket with PACKET_VNET_HDR, and wants before those written to one. Its
// numbers are in the byte order of the host:
//
//	0 flags, 1 gso_type, 2 hdr_len, 4 gso_size, 6 csum_start, 8 csum_offset
const VirtioLen = 10

const (
	virtioNeedsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

	virtioSingle = 0    // VIRTIO_NET_HDR_GSO_NONE
	virtioTCP4   = 1    // VIRTIO_NET_HDR_GSO_TCPV4
	virtioTCP6   = 4    // VIRTIO_NET_HDR_GSO_TCPV6
	virtioUDP    = 5    // VIRTIO_NET_HDR_GSO_UDP_L4
	virtioECN    = 0x80 // VIRTIO_NET_HDR_GSO_ECN
)

// ParseVirtio makes a Frame of what the kernel gave: its header of VirtioLen
// bytes, and the frame, into which the caller has put shift bytes before its
// EtherType that the header does not count: a VLAN tag that the kernel had taken
// out. It is false where the header contradicts the frame. Of the header's
// lengths none is believed that the frame does not bear out: hdr_len, which is
// wrong on forwarded packets, is not even read.
func ParseVirtio(header, data []byte, shift int) (Frame, bool) {
	f := Frame{Data: data}
	kind := header[1] &^ virtioECN
	if header[0]&virtioNeedsChecksum != 0 {
		start := int(binary.NativeEndian.Uint16(header[6:])) + shift
		offset := int(binary.NativeEndian.Uint16(header[8:]))
		if start < HeaderLen+shift || start+offset+2 > len(data) {
			return f, false
		}
		f.Needs = Checksum
		f.ChecksumStart, f.ChecksumOffset = uint16(start), uint16(offset)
	} else if kind != virtioSingle {
		return f, false // a super-frame's checksum is never finished
	}
	switch kind {
	case virtioSingle:
		return f, true
	case virtioTCP4:
		f.Needs |= TSO4
	case virtioTCP6:
		f.Needs |= TSO6
	case virtioUDP:
		f.Needs |= USO
	default:
		return f, false
	}
	f.SegmentSize = binary.NativeEndian.Uint16(header[4:])
	return f, f.SegmentSize != 0
}

// PutVirtio writes the header of VirtioLen bytes that goes before a frame. Of a
// frame in pieces Data needs to hold its headers only.
func (f *Frame) PutVirtio(header []byte) {
	clear(header[:VirtioLen])
	if f.Needs&Checksum == 0 {
		return
	}
	header[0] = virtioNeedsChecksum
	binary.NativeEndian.PutUint16(header[6:], f.ChecksumStart)
	binary.NativeEndian.PutUint16(header[8:], f.ChecksumOffset)
	length := int(f.ChecksumStart) + udpHeaderLen
	switch f.Needs & Segmentation {
	case TSO4:
		header[1] = virtioTCP4
	case TSO6:
		header[1] = virtioTCP6
	case USO:
		header[1] = virtioUDP
	default:
		return
	}
	if tcp := int(f.ChecksumStart); header[1] != virtioUDP && tcp+tcpFlags < len(f.Data) {
		length = tcp + int(f.Data[tcp+12]>>4)*4
		if f.Data[tcp+tcpFlags]&flagCWR != 0 {
			header[1] |= virtioECN
		}
	}
	binary.NativeEndian.PutUint16(header[2:], uint16(length))
	binary.NativeEndian.PutUint16(header[4:], f.SegmentSize)
}
