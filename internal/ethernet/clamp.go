package ethernet

import "encoding/binary"

const (
	flagSYN = 0x02

	optionEnd = 0 // TCP options (RFC 9293, 3.2)
	optionNop = 1
	optionMSS = 2
)

// ClampMSS lowers the maximum segment size that a TCP SYN announces so far that
// the frames of the connection, in the shape of this one, become at most
// maxFrame bytes long; other frames, and lower sizes, are left as they are. Like
// OpenVPN's mssfix it reckons with headers without options, and goes by whole
// packets and first fragments of IPv4 and IPv6, behind up to two VLAN tags.
func ClampMSS(f *Frame, maxFrame int) {
	data := f.Data
	h, err := ParseHeader(data)
	if err != nil {
		return
	}
	ip, tcp := data[h.Len:], 0
	switch {
	case h.Type == TypeIPv4 && len(ip) >= ipv4HeaderLen && ip[9] == protoTCP:
		const offset = 0x1fff
		if tcp = int(ip[0]&0x0f) * 4; tcp < ipv4HeaderLen || binary.BigEndian.Uint16(ip[6:])&offset != 0 {
			return
		}
		maxFrame -= ipv4HeaderLen
	case h.Type == TypeIPv6 && len(ip) >= ipv6HeaderLen:
		var next uint8
		if next, tcp = skipExtensions(ip); next != protoTCP {
			return
		}
		maxFrame -= ipv6HeaderLen
	default:
		return
	}
	if len(ip) < tcp+tcpHeaderLen || ip[tcp+tcpFlags]&flagSYN == 0 {
		return
	}
	most := min(max(maxFrame-h.Len-tcpHeaderLen, 1), 0xffff)
	clampOption(f, ip[tcp:], h.Len+tcp, uint16(most))
}

// MayOpenTCP says whether a frame may be one for ClampMSS: most are not, as is
// soon seen, namely those of IPv4 without tag and options.
func MayOpenTCP(data []byte) bool {
	const tcp = HeaderLen + ipv4HeaderLen
	return len(data) < tcp+tcpHeaderLen || data[12] != TypeIPv4>>8 || data[13] != TypeIPv4&0xff || data[14] != 0x45 ||
		data[23] == protoTCP && data[tcp+tcpFlags]&flagSYN != 0
}

// clampOption lowers the MSS among the options of a TCP header, which begins at
// byte start of the frame.
func clampOption(f *Frame, t []byte, start int, most uint16) {
	length := int(t[12]>>4) * 4
	if length > len(t) {
		return
	}
	for at := tcpHeaderLen; at < length; {
		switch t[at] {
		case optionEnd:
			return
		case optionNop:
			at++
			continue
		}
		if at+1 >= length || t[at+1] < 2 || at+int(t[at+1]) > length {
			return
		}
		if t[at] == optionMSS && t[at+1] == 4 {
			if mss := t[at+2 : at+4]; binary.BigEndian.Uint16(mss) > most {
				f.replace16(t, start, at+2, most)
			}
		}
		at += int(t[at+1])
	}
}

// replace16 writes a number into a TCP header and corrects the checksum for it
// (RFC 1624, equation 3), unless that has still to be reckoned. A number at an
// odd place counts with its bytes swapped.
func (f *Frame) replace16(t []byte, start, at int, value uint16) {
	old := binary.BigEndian.Uint16(t[at:])
	binary.BigEndian.PutUint16(t[at:], value)
	if f.Needs&Checksum != 0 && int(f.ChecksumStart) == start {
		return
	}
	if at%2 != 0 {
		old, value = old<<8|old>>8, value<<8|value>>8
	}
	sum := uint32(^binary.BigEndian.Uint16(t[tcpChecksum:])) + uint32(^old) + uint32(value)
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(t[tcpChecksum:], ^uint16(sum))
}
