package ethernet

import "encoding/binary"

// What an 802.1Q tag holds (IEEE 802.1Q-2022, 9.6): the number of a VLAN, or 0
// where the tag gives a priority only.
const (
	MaxVLAN  = 4094 // 4095 is reserved
	vlanMask = 0x0fff
)

// A tag stands between the addresses and the EtherType.
const tagAt = 12

// IsTagged says whether a frame of at least HeaderLen bytes begins with an
// 802.1Q tag. A tag of 802.1ad before it makes it one without.
func IsTagged(frame []byte) bool { return binary.BigEndian.Uint16(frame[tagAt:]) == TypeVLAN }

// VLAN is the number in a tagged frame's first tag; ErrShort where the frame
// ends inside it.
func VLAN(frame []byte) (uint16, error) {
	if len(frame) < HeaderLen+VLANLen {
		return 0, ErrShort
	}
	return binary.BigEndian.Uint16(frame[tagAt+2:]) & vlanMask, nil
}

// SetVLAN writes a number into the first tag of a frame whose tag is whole, and
// leaves its priority.
func SetVLAN(frame []byte, vlan uint16) {
	tag := frame[tagAt+2:]
	binary.BigEndian.PutUint16(tag, binary.BigEndian.Uint16(tag)&^vlanMask|vlan)
}

// AppendTagged appends a frame of at least HeaderLen bytes to data, with a tag of
// the VLAN and priority 0, and gives what else of the frame changes by that.
func AppendTagged(data []byte, f *Frame, vlan uint16) ([]byte, Frame) {
	data = append(data, f.Data[:tagAt]...)
	data = append(data, TypeVLAN>>8, TypeVLAN&0xff, byte(vlan>>8), byte(vlan))
	return append(data, f.Data[tagAt:]...), f.shifted(VLANLen)
}

// AppendUntagged appends a frame whose first tag is whole to data, without that
// tag. A finished frame that was long enough for a wire is so afterwards.
func AppendUntagged(data []byte, f *Frame) ([]byte, Frame) {
	from := len(data)
	data = append(data, f.Data[:tagAt]...)
	data = append(data, f.Data[tagAt+VLANLen:]...)
	if len(f.Data) >= MinFrame && f.Needs&Segmentation == 0 {
		for len(data)-from < MinFrame {
			data = append(data, 0)
		}
	}
	return data, f.shifted(-VLANLen)
}

// shifted is the frame without its bytes, its transport header elsewhere. One that
// would stand before the frame's own header contradicts it, and still does.
func (f *Frame) shifted(by int) Frame {
	moved := *f
	moved.Data = nil
	if f.Needs != 0 {
		moved.ChecksumStart = uint16(max(0, int(f.ChecksumStart)+by))
	}
	return moved
}
