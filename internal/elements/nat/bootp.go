package nat

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"tmelink/internal/ethernet"
)

// Ports of BOOTP and DHCP (RFC 951, 3).
const (
	dhcpServerPort = 67
	dhcpClientPort = 68
)

// A message is a header of 236 bytes (RFC 951, 3; RFC 2131, 2) with options behind
// four bytes that say so (RFC 2132, 2). A client's BOOTP may have none.
const (
	bootpHeaderLen = 236
	bootpMinLen    = 300 // RFC 1542, 2.1
	bootRequest    = 1
	bootReply      = 2
	hardwareType   = 1 // Ethernet
	broadcastFlag  = 0x8000
)

var magicCookie = [4]byte{99, 130, 83, 99}

// Options (RFC 2132, by section 3 and on).
const (
	optPad         = 0
	optSubnetMask  = 1
	optRouter      = 3
	optDNS         = 6
	optHostName    = 12
	optDomain      = 15
	optMTU         = 26
	optRequestedIP = 50
	optLeaseTime   = 51
	optMessageType = 53
	optServerID    = 54
	optMessage     = 56
	optRenewal     = 58
	optRebinding   = 59
	optTFTPServer  = 66
	optBootFile    = 67
	optEnd         = 255
)

// messageType is option 53; 0 is BOOTP, which has none.
type messageType byte

const (
	discover messageType = 1
	offer    messageType = 2
	request  messageType = 3
	decline  messageType = 4
	ack      messageType = 5
	nak      messageType = 6
	release  messageType = 7
	inform   messageType = 8
)

// bootp is what a client says.
type bootp struct {
	kind      messageType
	xid       [4]byte
	secs      uint16
	flags     uint16
	client    netip.Addr // ciaddr: the address that it uses; 0.0.0.0: none
	relay     [4]byte    // giaddr
	hwaddr    ethernet.Addr
	requested netip.Addr // option 50; not valid: none
	server    netip.Addr // option 54; not valid: none
	name      []byte     // option 12, borrowed
}

var errNotBOOTP = errors.New("not a BOOTP request of an Ethernet station")

// parseBOOTP reads a client's message.
func parseBOOTP(b []byte) (m bootp, err error) {
	if len(b) < bootpHeaderLen || b[0] != bootRequest || b[1] != hardwareType || b[2] != 6 {
		return m, errNotBOOTP
	}
	m.xid, m.relay = [4]byte(b[4:]), [4]byte(b[24:])
	m.secs, m.flags = binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
	m.client = netip.AddrFrom4([4]byte(b[12:]))
	m.hwaddr = ethernet.Addr(b[28:34])
	if m.hwaddr.IsGroup() || m.hwaddr == (ethernet.Addr{}) {
		return m, errNotBOOTP
	}
	options := b[bootpHeaderLen:]
	if len(options) < len(magicCookie) || [4]byte(options) != magicCookie {
		return m, nil
	}
	for options = options[len(magicCookie):]; len(options) > 0 && options[0] != optEnd; {
		if options[0] == optPad {
			options = options[1:]
			continue
		}
		if len(options) < 2 || len(options) < 2+int(options[1]) {
			return m, errors.New("an option of a DHCP message ends outside it")
		}
		code, value := options[0], options[2:2+int(options[1])]
		options = options[2+len(value):]
		switch {
		case code == optMessageType && len(value) == 1:
			m.kind = messageType(value[0])
		case code == optRequestedIP && len(value) == 4:
			m.requested = netip.AddrFrom4([4]byte(value))
		case code == optServerID && len(value) == 4:
			m.server = netip.AddrFrom4([4]byte(value))
		case code == optHostName:
			m.name = value
		}
	}
	return m, nil
}

// reply is an answer, whose options are appended.
type reply struct{ b []byte }

// replyTo begins an answer that gives the client an address, or none.
func replyTo(m bootp, yours netip.Addr) *reply {
	b := make([]byte, bootpHeaderLen, 2*bootpMinLen)
	b[0], b[1], b[2] = bootReply, hardwareType, 6
	copy(b[4:], m.xid[:])
	binary.BigEndian.PutUint16(b[10:], m.flags)
	if m.kind != discover && m.client.IsValid() {
		copy(b[12:16], m.client.AsSlice())
	}
	if yours.IsValid() {
		copy(b[16:], yours.AsSlice())
	}
	copy(b[24:], m.relay[:])
	copy(b[28:], m.hwaddr[:])
	return &reply{append(b, magicCookie[:]...)}
}

// boot says where the client's boot file is (siaddr, file), cut at the field's length.
func (r *reply) boot(server netip.Addr, file string) {
	copy(r.b[20:24], server.AsSlice())
	copy(r.b[108:108+127], file)
}

// option appends one, of at most 255 bytes.
func (r *reply) option(code byte, value ...byte) {
	if len(value) > 0 && len(value) <= 255 {
		r.b = append(append(r.b, code, byte(len(value))), value...)
	}
}

// bytes ends the options and gives the whole message.
func (r *reply) bytes() []byte {
	b := append(r.b, optEnd)
	for len(b) < bootpMinLen {
		b = append(b, optPad)
	}
	return b
}
