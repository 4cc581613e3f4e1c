package netstack

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"tmelink/internal/ethernet"
)

// Path sends packets from one address, which with Forwarding may be anybody's, to
// a station. Its methods may be called by any goroutine until Close.
type Path struct {
	route *stack.Route
}

// OpenPath finds the way to a station. It sends nothing.
func (h *Host) OpenPath(from, to netip.Addr) (*Path, error) {
	s, err := h.running()
	if err != nil {
		return nil, err
	}
	route, terr := s.FindRoute(nicID, toAddress(from), toAddress(to), protocolOf(to), false)
	if terr != nil {
		return nil, fmt.Errorf("find a route from %s to %s: %s", from, to, terr)
	}
	return &Path{route}, nil
}

// Close gives the path up.
func (p *Path) Close() { p.route.Release() }

// SendUDP sends a datagram. What does not fit the MTU is fragmented.
func (p *Path) SendUDP(fromPort, toPort uint16, payload []byte) error {
	if len(payload) > MaxMTU-header.IPv4MinimumSize-header.UDPMinimumSize {
		return fmt.Errorf("send %d bytes of UDP: %w", len(payload), ErrTooBig)
	}
	packet := p.packet(header.UDPMinimumSize, payload, header.UDPProtocolNumber)
	defer packet.DecRef()
	h := header.UDP(packet.TransportHeader().Push(header.UDPMinimumSize))
	length := uint16(header.UDPMinimumSize + len(payload))
	h.Encode(&header.UDPFields{SrcPort: fromPort, DstPort: toPort, Length: length})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, p.route.LocalAddress(), p.route.RemoteAddress(), length)
	if sum = ^h.CalculateChecksum(checksum.Combine(sum, checksum.Checksum(payload, 0))); sum == 0 {
		sum = 0xffff // 0 means that there is none (RFC 768)
	}
	h.SetChecksum(sum)
	return p.write(packet)
}

// SendEchoReply answers an echo request.
func (p *Path) SendEchoReply(ident, seq uint16, payload []byte) error {
	message := [echoHeaderLen]byte{byte(header.ICMPv4EchoReply)}
	if p.is6() {
		message[0] = byte(header.ICMPv6EchoReply)
	}
	binary.BigEndian.PutUint16(message[4:], ident)
	binary.BigEndian.PutUint16(message[6:], seq)
	return p.sendICMP(message, payload)
}

// Unreachable says why a packet could not be delivered.
type Unreachable uint8

const (
	NetUnreachable Unreachable = iota
	HostUnreachable
	PortUnreachable
	Prohibited
	TooBig
)

// unreachableCodes are the types and codes of RFC 792, RFC 1812 (5.2.7.1) and
// RFC 4443 (3.1, 3.2).
var unreachableCodes = [...]struct{ v4, v6 [2]byte }{
	NetUnreachable:  {[2]byte{3, 0}, [2]byte{1, 0}},
	HostUnreachable: {[2]byte{3, 1}, [2]byte{1, 3}},
	PortUnreachable: {[2]byte{3, 3}, [2]byte{1, 4}},
	Prohibited:      {[2]byte{3, 13}, [2]byte{1, 1}},
	TooBig:          {[2]byte{3, 4}, [2]byte{2, 0}},
}

// Quote is what an ICMP message tells of the packet that it is about: as much as
// its sender needs to know which of its sockets sent it.
type Quote struct {
	Protocol uint8 // of IP's header
	From, To netip.Addr
	First    [8]byte // what comes behind IP's header
	Length   int     // bytes behind IP's header
}

// QuoteUDP is the quote of a datagram with so many bytes of payload.
func QuoteUDP(from, to netip.AddrPort, size int) Quote {
	q := Quote{Protocol: uint8(header.UDPProtocolNumber), From: from.Addr(), To: to.Addr(), Length: header.UDPMinimumSize + size}
	binary.BigEndian.PutUint16(q.First[:], from.Port())
	binary.BigEndian.PutUint16(q.First[2:], to.Port())
	binary.BigEndian.PutUint16(q.First[4:], uint16(q.Length))
	return q
}

// QuoteEcho is the quote of an echo request with so many bytes of payload.
func QuoteEcho(r EchoRequest, size int) Quote {
	q := Quote{Protocol: uint8(header.ICMPv4ProtocolNumber), From: r.From, To: r.To, Length: echoHeaderLen + size}
	q.First[0] = byte(header.ICMPv4Echo)
	if r.To.Is6() {
		q.Protocol, q.First[0] = uint8(header.ICMPv6ProtocolNumber), byte(header.ICMPv6EchoRequest)
	}
	binary.BigEndian.PutUint16(q.First[4:], r.Ident)
	binary.BigEndian.PutUint16(q.First[6:], r.Seq)
	return q
}

// SendUnreachable tells the path's station why the packet quoted was not
// delivered; mtu is that of the way on, for TooBig.
func (p *Path) SendUnreachable(why Unreachable, q Quote, mtu int) error {
	message := [echoHeaderLen]byte{unreachableCodes[why].v4[0], unreachableCodes[why].v4[1]}
	var quote []byte
	if p.is6() {
		message[0], message[1] = unreachableCodes[why].v6[0], unreachableCodes[why].v6[1]
		binary.BigEndian.PutUint32(message[4:], uint32(mtu))
		quote = make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(q.First))
		header.IPv6(quote).Encode(&header.IPv6Fields{
			PayloadLength: uint16(q.Length), TransportProtocol: tcpip.TransportProtocolNumber(q.Protocol), HopLimit: 64,
			SrcAddr: toAddress(q.From), DstAddr: toAddress(q.To),
		})
	} else {
		binary.BigEndian.PutUint16(message[6:], uint16(mtu)) // RFC 1191, 4
		quote = make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(q.First))
		header.IPv4(quote).Encode(&header.IPv4Fields{
			TotalLength: uint16(header.IPv4MinimumSize + q.Length), TTL: 64, Protocol: q.Protocol,
			SrcAddr: toAddress(q.From), DstAddr: toAddress(q.To),
		})
		if why == TooBig {
			header.IPv4(quote).SetFlagsFragmentOffset(header.IPv4FlagDontFragment, 0)
		}
		header.IPv4(quote).SetChecksum(^header.IPv4(quote).CalculateChecksum())
	}
	return p.sendICMP(message, append(quote, q.First[:]...))
}

func (p *Path) sendICMP(message [echoHeaderLen]byte, payload []byte) error {
	if len(payload) > MaxEcho {
		return fmt.Errorf("send %d bytes of ICMP: %w", len(payload), ErrTooBig)
	}
	proto := header.ICMPv4ProtocolNumber
	if p.is6() {
		proto = header.ICMPv6ProtocolNumber
	}
	packet := p.packet(echoHeaderLen, payload, proto)
	defer packet.DecRef()
	h := packet.TransportHeader().Push(echoHeaderLen)
	copy(h, message[:])
	sum := checksum.Checksum(payload, 0)
	if p.is6() {
		sum = header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: h,
			Src: p.route.LocalAddress(), Dst: p.route.RemoteAddress(), PayloadCsum: sum, PayloadLen: len(payload)})
	} else {
		sum = ^checksum.Checksum(h, sum)
	}
	binary.BigEndian.PutUint16(h[2:], sum)
	return p.write(packet)
}

func (p *Path) is6() bool { return p.route.NetProto() == header.IPv6ProtocolNumber }

func (p *Path) packet(headerLen int, payload []byte, proto tcpip.TransportProtocolNumber) *stack.PacketBuffer {
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(p.route.MaxHeaderLength()) + headerLen,
		Payload:            buffer.MakeWithData(payload),
	})
	packet.TransportProtocolNumber = proto
	return packet
}

func (p *Path) write(packet *stack.PacketBuffer) error {
	err := p.route.WritePacket(stack.NetworkHeaderParams{Protocol: packet.TransportProtocolNumber, TTL: p.route.DefaultTTL()}, packet)
	if err != nil {
		return fmt.Errorf("send to %s: %s", fromAddress(p.route.RemoteAddress()), err)
	}
	return nil
}

// SendFrame queues a frame for the port's reader as it stands.
func (h *Host) SendFrame(data []byte) {
	p := h.port
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isShut {
		return
	}
	if start, ok := p.room(len(data)); ok {
		p.queue.bytes = append(p.queue.bytes, data...)
		p.queue.frames = append(p.queue.frames, ethernet.Frame{Data: p.queue.bytes[start:len(p.queue.bytes):len(p.queue.bytes)]})
		p.wake.Signal()
	}
}
