package nat

import (
	"bytes"

	"tmelink/internal/ethernet"
)

// RARP (RFC 903) has ARP's format: hardware and protocol type, their addresses'
// lengths and the operation, then sender and target.
const (
	rarpLen     = 28
	rarpRequest = 3
	rarpReply   = 4
)

var rarpHead = []byte{0, 1, 8, 0, 6, 4, 0}

// answerRARP gives the frame that answers a station's question for its own address,
// which is one of lease, or nil.
func (n *NAT) answerRARP(frame []byte) []byte {
	q := frame[ethernet.HeaderLen:]
	if n.dhcp == nil || len(q) < rarpLen || !bytes.HasPrefix(q, rarpHead) || q[7] != rarpRequest {
		return nil
	}
	asks, target := ethernet.Src(frame), ethernet.Addr(q[18:24])
	addr, ok := n.dhcp.fixed[target]
	if !ok || asks.IsGroup() {
		return nil
	}
	f := append(append(asks[:], n.config.hwaddr[:]...), byte(ethernet.TypeRARP>>8), byte(ethernet.TypeRARP&0xff))
	f = append(append(f, rarpHead...), rarpReply)
	f = append(append(f, n.config.hwaddr[:]...), n.config.net4.Addr().AsSlice()...)
	f = append(append(f, target[:]...), addr.AsSlice()...)
	return append(f, make([]byte, ethernet.MinFrame-len(f))...)
}
