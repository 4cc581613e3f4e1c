package openvpn

import "encoding/binary"

// HeadLen is how many bytes of a TCP connection always suffice to judge it.
const HeadLen = 3

// Verdict is what the first bytes of a TCP connection say of it.
type Verdict int

const (
	Undecided Verdict = iota // more bytes are needed
	Own                      // it is an OpenVPN's
	Foreign                  // it is another protocol's
)

// Beginning is what is known beforehand of how a peer's TCP connection begins.
// At most one of ByClient and ByServer is set: without TLS the first packet may be
// any.
type Beginning struct {
	ByClient  bool // the peer is a TLS client
	ByServer  bool // the peer is a TLS server
	MaxPacket int  // bytes: the longest first packet without TLS
}

// first is the first packet of a negotiation: its length, from least to most bytes,
// and its first byte.
type first struct {
	least, most int
	opcode      byte
}

// A client's and a server's first packets (is_openvpn_protocol in OpenVPN's ps.c,
// which knows of clients only). The lengths leave room for every way to guard
// the control channel, the larger for the key that tls-crypt-v2 puts behind.
var (
	firstByClient = []first{{14, 255, 0x38}, {336, 1278, 0x50}} // P_CONTROL_HARD_RESET_CLIENT_V2, V3
	firstByServer = []first{{14, 255, 0x40}}                    // P_CONTROL_HARD_RESET_SERVER_V2
)

// Silent says whether the peer may wait for this end to speak first. An OpenVPN
// that is a TLS client never does.
func (b Beginning) Silent() bool { return !b.ByClient }

// Judge judges a connection by its first bytes, as soon as they suffice: by
// HeadLen of them at the latest.
func (b Beginning) Judge(head []byte) Verdict {
	switch {
	case b.ByClient:
		return judge(head, firstByClient)
	case b.ByServer:
		return judge(head, firstByServer)
	}
	low, high, known := lengths(head)
	switch {
	case high < 1 || low > b.MaxPacket:
		return Foreign
	case known:
		return Own
	}
	return Undecided
}

func judge(head []byte, packets []first) Verdict {
	low, high, _ := lengths(head)
	for _, p := range packets {
		switch {
		case high < p.least || low > p.most:
		case len(head) < HeadLen:
			return Undecided
		case head[LengthLen] == p.opcode:
			return Own
		}
	}
	return Foreign
}

// lengths are the least and the greatest length that the first packet can have, and
// whether it is known: then they are one.
func lengths(head []byte) (low, high int, known bool) {
	switch len(head) {
	case 0:
		return 0, 65535, false
	case 1:
		return int(head[0]) << 8, int(head[0])<<8 | 0xff, false
	}
	n := int(binary.BigEndian.Uint16(head))
	return n, n, true
}
