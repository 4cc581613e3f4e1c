// Package controlchannel is OpenVPN's control channel: how two ends make sure of
// each other by TLS and agree on the keys of the data channel, again and again.
//
// Packets of the peer flow in (Channel.Input), packets for it flow out
// (Channel.Output), each time with the time that it is; what comes of them are keys
// in a datachannel.Slots, log lines, and messages such as a server's PUSH_REPLY. It
// opens no socket and no file, starts nothing that runs by itself and reads no clock.
//
//	Channel      the sessions with the peer, the one in use and one on its way
//	session      one run of the peer: its id, the wrapping of its packets
//	negotiation  one TLS connection in a session, and the key that it makes
//	sendQueue, receiveQueue  the order and repetition of a negotiation's packets
//
// The sources are ssl.c, ssl_pkt.c, reliable.c, tls_crypt.c, ssl_ncp.c and push.c of
// OpenVPN 2.6, and its protocol documentation.
package controlchannel

import (
	"encoding/binary"
	"errors"
	"slices"
)

// The opcodes, in the upper five bits of a packet's first byte (ssl_pkt.h). Those of
// data packets are in package datachannel.
const (
	opSoftReset    = 3 // begins a new negotiation in a session
	opControl      = 4 // carries some of the TLS stream
	opAck          = 5
	opHardClient   = 7  // begins a session
	opHardServer   = 8  // answers it
	opHardClientV3 = 10 // begins a session, with a tls-crypt-v2 key behind it
	opControlKey   = 11 // opControl with such a key behind it
)

// IsControl says whether a packet's first byte is one of the control channel's.
func IsControl(first byte) bool {
	switch first >> 3 {
	case opSoftReset, opControl, opAck, opHardClient, opHardServer, opHardClientV3, opControlKey:
		return true
	}
	return false
}

func isHardReset(op byte) bool {
	return op == opHardClient || op == opHardServer || op == opHardClientV3
}

// sessionID names one run of one end; zero is none.
type sessionID [8]byte

const headerLen = 1 + len(sessionID{}) // of each packet: opcode with key id, sender's session id

// header takes a packet's opcode, key id and sender.
func header(packet []byte) (op, keyID byte, from sessionID, ok bool) {
	if len(packet) < headerLen || !IsControl(packet[0]) {
		return 0, 0, from, false
	}
	copy(from[:], packet[1:])
	return packet[0] >> 3, packet[0] & 7, from, from != sessionID{}
}

// maxAcks is how many packets one packet can acknowledge (RELIABLE_ACK_SIZE), and
// maxAcksBeside how many it does where it carries something else as well
// (CONTROL_SEND_ACK_MAX).
const (
	maxAcks       = 8
	maxAcksBeside = 4
)

// body is what is in a packet once its wrapping is off.
type body struct {
	acks    []uint32
	acked   sessionID // whose packets these are, where there are any
	id      uint32    // of the packet; opAck has none
	payload []byte
}

var errBody = errors.New("a control packet is of no known kind, ends too early, or acknowledges too much")

// parseBody reads what follows the header, or in tls-crypt what was enciphered.
func parseBody(op byte, b []byte) (p body, err error) {
	if len(b) < 1 {
		return p, errBody
	}
	n := int(b[0])
	b = b[1:]
	if n > maxAcks || len(b) < 4*n {
		return p, errBody
	}
	for range n {
		p.acks = append(p.acks, binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if n > 0 {
		if len(b) < len(p.acked) {
			return p, errBody
		}
		b = b[copy(p.acked[:], b):]
	}
	if op == opAck {
		return p, nil
	}
	if len(b) < 4 {
		return p, errBody
	}
	p.id = binary.BigEndian.Uint32(b)
	p.payload = b[4:]
	return p, nil
}

// append writes the body as parseBody reads it.
func (p body) append(b []byte, op byte) []byte {
	b = append(b, byte(len(p.acks)))
	for _, id := range p.acks {
		b = binary.BigEndian.AppendUint32(b, id)
	}
	if len(p.acks) > 0 {
		b = append(b, p.acked[:]...)
	}
	if op == opAck {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, p.id)
	return append(b, p.payload...)
}

// acks are the packets of the peer that have still to be acknowledged, and those
// that were lately: these are named again where there is room, because a packet that
// acknowledges may be lost (copy_acks_to_mru in reliable.c).
type acks struct {
	due, recent []uint32
}

func (a *acks) add(id uint32) {
	if len(a.due) < maxAcks && !slices.Contains(a.due, id) {
		a.due = append(a.due, id)
	}
}

// take gives those that the next packet acknowledges, at most so many.
func (a *acks) take(most int) []uint32 {
	now := a.due[:min(len(a.due), most)]
	a.due = a.due[len(now):]
	for _, id := range a.recent {
		if len(now) < maxAcks && !slices.Contains(now, id) {
			now = append(slices.Clip(now), id)
		}
	}
	a.recent = now
	return now[:min(len(now), most)]
}
