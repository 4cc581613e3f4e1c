// Package openvpn is the OpenVPN protocol as bytes: what a packet on the wire
// means, what has to be said to the peer and when, and how a TCP stream is cut
// into packets.
//
// Packets of the one peer flow in and come out as Ethernet frames (Decode),
// frames flow in and come out as packets (Encode); the messages that OpenVPN
// sends beside the frames (pings, answers to its configuration checks) come out
// of Message when their time has come. The package opens no socket and no file,
// starts no goroutine and reads no clock: every call is told the time. Without keys a
// packet is one bare frame; with them datachannel seals it, under one static key or
// under keys that controlchannel agrees on by TLS. With --fragment what is too long for
// a packet goes in several.
//
// The sources are those of OpenVPN 2.6 (ping.c, occ.c, options.c, mtu.c,
// fragment.c, socket.c) and its manual, openvpn(8).
package openvpn

import (
	"bytes"
	"encoding/binary"
)

// pingMessage is a whole ping packet (OpenVPN's ping.c).
var pingMessage = []byte{
	0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb,
	0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48,
}

// occMagic begins every message of the configuration check, OCC (occ.c); an
// opcode follows.
var occMagic = []byte{
	0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81,
	0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c,
}

// The opcodes of OCC (occ.h).
const (
	occRequest        = 0 // asks for the peer's option string
	occReply          = 1 // brings it, with a NUL behind
	occMTULoadRequest = 2 // asks for one packet of the size that follows in 16 bits
	occMTULoad        = 3 // is that packet
	occMTURequest     = 4 // asks how large the packets were that came through
	occMTUReply       = 5 // tells the largest received and the largest sent, 16 bits each
	occExit           = 6 // the sender ends; anyone can forge it without keys
)

// isPing says whether a packet is a ping.
func isPing(packet []byte) bool { return bytes.Equal(packet, pingMessage) }

// isOCC says whether a packet is an OCC message of any kind.
func isOCC(packet []byte) bool { return bytes.HasPrefix(packet, occMagic) }

// isExit says whether an OCC message is the peer's goodbye.
func isExit(message []byte) bool {
	return len(message) > len(occMagic) && message[len(occMagic)] == occExit
}

// request is a message that is to be sent, such as an answer that the peer waits for:
// its opcode and a packet size, packed into one word so that it can be handed over atomically.
// Zero is none.
type request uint32

func newRequest(opcode byte, size int) request {
	return 1<<31 | request(opcode)<<16 | request(uint16(size))
}

func (r request) opcode() byte { return byte(r >> 16 & 0x7f) }
func (r request) size() int    { return int(r & 0xffff) }

// asks gives the answer that an OCC message demands, 0 for one that demands none.
func asks(message []byte) request {
	body := message[len(occMagic):]
	if len(body) == 0 {
		return 0
	}
	switch body[0] {
	case occRequest:
		return newRequest(occReply, 0)
	case occMTURequest:
		return newRequest(occMTUReply, 0)
	case occMTULoadRequest:
		if len(body) >= 3 {
			return newRequest(occMTULoad, int(binary.BigEndian.Uint16(body[1:])))
		}
	}
	return 0
}
