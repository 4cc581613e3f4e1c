package ethernet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// Sizes of a frame, in bytes, without frame check sequence (IEEE 802.3-2022, 3.1.1).
const (
	HeaderLen = 14 // destination, source, EtherType
	VLANLen   = 4  // an 802.1Q tag
	MinFrame  = 60 // what a wire carries at the least
	MTU       = 1500
	// MaxFrameLen is the longest frame that any port of tmelink takes or gives,
	// super-frames included: a 64 KiB IP packet with its header and two tags.
	MaxFrameLen = 65535 + HeaderLen + 2*VLANLen
)

// FrameLen is the longest frame that carries an MTU's payload behind up to two
// VLAN tags.
func FrameLen(mtu int) int { return mtu + HeaderLen + 2*VLANLen }

// EtherTypes (IANA, IEEE 802 Numbers).
const (
	TypeIPv4 = 0x0800
	TypeARP  = 0x0806
	TypeRARP = 0x8035
	TypeVLAN = 0x8100 // 802.1Q
	TypeIPv6 = 0x86dd
	TypeQinQ = 0x88a8 // 802.1ad
	TypeLoop = 0x9000 // Configuration Testing Protocol
)

// Addr is a hardware address. It is comparable, so that it can key a map.
type Addr [6]byte

// Broadcast is the address of every station.
var Broadcast = Addr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseAddr reads a 48-bit hardware address in any of the forms that
// net.ParseMAC knows, or with single digits as SunOS writes them (8:0:20:1:2:3).
func ParseAddr(s string) (Addr, error) {
	var a Addr
	if mac, err := net.ParseMAC(s); err == nil && len(mac) == len(a) {
		copy(a[:], mac)
		return a, nil
	}
	var end string
	n, _ := fmt.Sscanf(s+"$", "%x:%x:%x:%x:%x:%x%s", &a[0], &a[1], &a[2], &a[3], &a[4], &a[5], &end)
	if n != 7 || end != "$" {
		return Addr{}, fmt.Errorf("%q is not a hardware address such as 02:00:00:00:00:01", s)
	}
	return a, nil
}

// String gives six hexadecimal bytes with colons.
func (a Addr) String() string { return net.HardwareAddr(a[:]).String() }

// MarshalText gives the same, for logs.
func (a Addr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// IsGroup says whether the address is a multicast or the broadcast address.
func (a Addr) IsGroup() bool { return a[0]&1 != 0 }

// Dst and Src are the addresses of a frame of at least HeaderLen bytes.
func Dst(frame []byte) Addr { return Addr(frame[0:6]) }
func Src(frame []byte) Addr { return Addr(frame[6:12]) }

// Header is a frame's header behind any VLAN tags.
type Header struct {
	Dst, Src Addr
	Type     uint16 // the EtherType, or the length of an 802.3 frame (below 1536)
	Len      int    // bytes before the payload: 14, 18 or 22
}

// ErrShort is the error of a frame that ends inside its header.
var ErrShort = errors.New("frame ends inside its header")

// ParseHeader reads a frame's header, with up to two VLAN tags.
func ParseHeader(frame []byte) (Header, error) {
	if len(frame) < HeaderLen {
		return Header{}, ErrShort
	}
	h := Header{Dst: Dst(frame), Src: Src(frame), Len: HeaderLen}
	for tags := 0; ; tags++ {
		h.Type = binary.BigEndian.Uint16(frame[h.Len-2:])
		if tags == 2 || h.Type != TypeVLAN && h.Type != TypeQinQ {
			return h, nil
		}
		if h.Len += VLANLen; h.Len > len(frame) {
			return Header{}, ErrShort
		}
	}
}
