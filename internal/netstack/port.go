package netstack

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"tmelink/internal/ethernet"
)

// What the queue between the stack and the port's reader holds at the most: as
// many frames as a host's interface queue, which may be super-frames.
const (
	queueFrames = 1024
	queueBytes  = 2 << 20
)

// port is the host's Ethernet port. The stack's side of it is link.
//
// What the stack sends is copied into one of two stores; the reader takes a
// store as a whole and gives the other one back. So a frame costs one copy and
// no allocation, and the lock is taken once for a batch.
type port struct {
	addr     ethernet.Addr
	mtu      int           // what the port takes, and the most that the host sends
	sends    atomic.Uint32 // the MTU that the stack goes by
	filter   ethernet.Filter
	counters ethernet.Counters

	// trusted is set around the delivery of a frame whose transport checksum
	// was never computed, because it has not left this machine yet.
	trusted atomic.Bool
	// up is where frames go in the stack; nil while there is none.
	up atomic.Pointer[stack.NetworkDispatcher]
	// gateway is nil of a host that does not forward. It is set before up.
	gateway *gateway

	mu     sync.Mutex
	wake   sync.Cond // the queue is not empty any more, or the port is closed
	queue  store     // what the stack has sent since the last ReadFrames
	lent   store     // what the last ReadFrames gave away
	isShut bool
}

// store is a run of frames in one piece of memory.
type store struct {
	frames []ethernet.Frame
	bytes  []byte
}

func newPort(addr ethernet.Addr, mtu int) *port {
	p := &port{addr: addr, mtu: mtu}
	p.wake.L = &p.mu
	p.sends.Store(uint32(mtu))
	p.filter.Add(addr)
	return p
}

func (p *port) Filter() *ethernet.Filter     { return &p.filter }
func (p *port) Counters() *ethernet.Counters { return &p.counters }
func (p *port) MaxFrame() int                { return ethernet.FrameLen(p.mtu) }

// Offloads: the stack takes TCP super-frames whole. One of UDP it would take
// for a single datagram.
func (p *port) Offloads() ethernet.Offloads {
	return ethernet.Checksum | ethernet.TSO4 | ethernet.TSO6
}

func (p *port) ReadFrames() ([]ethernet.Frame, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue.frames) == 0 && !p.isShut {
		p.wake.Wait()
	}
	if p.isShut {
		return nil, net.ErrClosed
	}
	p.queue, p.lent = p.lent, p.queue
	p.queue.frames, p.queue.bytes = p.queue.frames[:0], p.queue.bytes[:0]
	return p.lent.frames, nil
}

func (p *port) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isShut = true
	p.wake.Broadcast()
	return nil
}

func (p *port) closed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isShut
}

func (p *port) WriteFrames(frames []ethernet.Frame) error {
	if p.closed() {
		return net.ErrClosed
	}
	up := p.up.Load()
	if up == nil {
		p.counters.Write.Add(ethernet.Disconnected, len(frames))
		return nil
	}
	for i := range frames {
		if reason, ok := p.deliver(*up, &frames[i]); !ok {
			p.counters.Write.Add(reason, 1)
		}
	}
	return nil
}

// deliver hands a frame to the stack, or says why not.
func (p *port) deliver(up stack.NetworkDispatcher, f *ethernet.Frame) (ethernet.Reason, bool) {
	if len(f.Data) < ethernet.HeaderLen {
		return ethernet.Runt, false
	}
	dst, src := ethernet.Dst(f.Data), ethernet.Src(f.Data)
	switch {
	case src == p.addr:
		return ethernet.Reflected, false
	case src.IsGroup():
		return ethernet.Malformed, false
	case dst != p.addr && !(dst.IsGroup() && p.filter.Wants(f.Data)):
		// Even a promiscuous interface's own stack minds what is for others.
		return ethernet.FilteredOut, false
	}
	if p.gateway != nil {
		switch reason, fate := p.gateway.judge(f); fate {
		case taken:
			return 0, true
		case dropped:
			return reason, false
		}
	}
	kind := tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(f.Data[12:]))
	if kind != header.ARPProtocolNumber && kind != header.IPv4ProtocolNumber && kind != header.IPv6ProtocolNumber {
		return ethernet.FilteredOut, false
	}
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(f.Data)})
	defer packet.DecRef()
	packet.LinkHeader().Consume(ethernet.HeaderLen)
	packet.NetworkProtocolNumber = kind
	packet.PktType = packetType(dst)
	p.trusted.Store(f.Needs&ethernet.Checksum != 0)
	up.DeliverNetworkPacket(kind, packet)
	return 0, true
}

func packetType(dst ethernet.Addr) tcpip.PacketType {
	switch {
	case dst == ethernet.Broadcast:
		return tcpip.PacketBroadcast
	case dst.IsGroup():
		return tcpip.PacketMulticast
	}
	return tcpip.PacketHost
}

// send queues a packet of the stack for the reader.
func (p *port) send(packet *stack.PacketBuffer) {
	start, ok := p.room(packet.Size())
	if !ok {
		return
	}
	views, offset := packet.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		skip := min(offset, len(b))
		offset -= skip
		p.queue.bytes = append(p.queue.bytes, b[skip:]...)
	}
	f := ethernet.Frame{Data: p.queue.bytes[start:len(p.queue.bytes):len(p.queue.bytes)]}
	if p.gateway != nil {
		p.gateway.ask(f.Data)
	}
	if gso := &packet.GSOOptions; gso.Type != stack.GSONone {
		if gso.NeedsCsum {
			f.Needs = ethernet.Checksum
			f.ChecksumStart = uint16(ethernet.HeaderLen + len(packet.NetworkHeader().Slice()))
			f.ChecksumOffset = gso.CsumOffset
		}
		if packet.Data().Size() > int(gso.MSS) {
			f.SegmentSize = gso.MSS
			f.Needs |= ethernet.TSO4
			if gso.Type == stack.GSOTCPv6 {
				f.Needs ^= ethernet.TSO4 | ethernet.TSO6
			}
		}
	}
	p.queue.frames = append(p.queue.frames, f)
}

// room says where the next frame begins in the queue, or counts that there is no
// room for it.
func (p *port) room(size int) (start int, ok bool) {
	if len(p.queue.frames) >= queueFrames || len(p.queue.bytes)+size > queueBytes {
		p.counters.Read.Add(ethernet.QueueFull, 1)
		return 0, false
	}
	return len(p.queue.bytes), true
}

// listenToGroups lets through the groups that the stack has joined for its
// addresses: all systems, all nodes, and each address's solicited-node group.
func (p *port) listenToGroups(s *stack.Stack, addrs []netip.Prefix) error {
	for _, group := range groupsOf(addrs) {
		joined, err := s.IsInGroup(nicID, group)
		if err != nil {
			return fmt.Errorf("ask whether the host is in the group %s: %s", group, err)
		}
		if joined {
			p.filter.Add(groupAddr(group))
		}
	}
	return nil
}

// groupsOf are the groups that a host with such addresses is in.
func groupsOf(addrs []netip.Prefix) []tcpip.Address {
	groups := []tcpip.Address{header.IPv4AllSystems, header.IPv6AllNodesMulticastAddress}
	for _, prefix := range addrs {
		if prefix.Addr().Is6() {
			groups = append(groups, header.SolicitedNodeAddr(toAddress(prefix.Addr())))
		}
	}
	return groups
}

// allRouters is the group that router solicitations go to (RFC 4861, 6.1.1).
var allRouters = ethernet.Addr{0x33, 0x33, 0, 0, 0, 2}

// groupAddr is the hardware address of an IP group (RFC 1112, 6.4; RFC 2464, 7).
func groupAddr(group tcpip.Address) ethernet.Addr {
	link := header.EthernetAddressFromMulticastIPv4Address
	if group.BitLen() == header.IPv6AddressSizeBits {
		link = header.EthernetAddressFromMulticastIPv6Address
	}
	return ethernet.Addr([]byte(link(group)))
}
