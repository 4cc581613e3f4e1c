package netstack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// MaxEcho is the most payload of an echo request: the longest IPv4 packet less
// its header and that of ICMP.
const MaxEcho = 65535 - header.IPv4MinimumSize - header.ICMPv4MinimumSize

// echoHeaderLen is the length of an echo message's header in either ICMP.
const echoHeaderLen = 8

// Echo asks one address for echoes, as ping does. Requests are told apart by
// their sequence number.
type Echo struct {
	stack   *stack.Stack
	route   *stack.Route
	answers chan Answer

	// The stack looks for who asked by these: the identifier of an echo is the
	// local port of a reply, and the remote port of a request that failed.
	replies, failures stack.TransportEndpointID

	mu   sync.Mutex
	sent map[uint16]time.Time // when each request without an answer was sent
}

// Answer is what came of a request.
type Answer struct {
	Seq  uint16
	From netip.Addr
	Size int // bytes of the ICMP message, header included
	TTL  uint8
	RTT  time.Duration // 0 of a duplicate
	Dup  bool          // an answer to this request came before
	Err  error         // the request could not be delivered; the rest is unknown
}

// Reasons for which a request is not delivered.
var (
	ErrHostUnreachable = errors.New("destination host unreachable")
	ErrNetUnreachable  = errors.New("destination net unreachable")
	ErrTooBig          = errors.New("packet too big")
)

// answersWaiting is how many answers wait for their reader; more are lost.
const answersWaiting = 256

// OpenEcho prepares to ask an address for echoes. It sends nothing yet. Its
// error is ErrNetUnreachable where there is no route.
func (h *Host) OpenEcho(to netip.Addr) (*Echo, error) {
	s, err := h.running()
	if err != nil {
		return nil, err
	}
	proto := protocolOf(to)
	route, terr := s.FindRoute(nicID, tcpip.Address{}, toAddress(to), proto, false)
	if terr != nil {
		switch terr.(type) {
		case *tcpip.ErrHostUnreachable, *tcpip.ErrNetworkUnreachable:
			return nil, ErrNetUnreachable
		}
		return nil, fmt.Errorf("find a route to %s: %s", to, terr)
	}
	e := &Echo{stack: s, route: route, answers: make(chan Answer, answersWaiting), sent: map[uint16]time.Time{}}
	_, terr = s.PickEphemeralPort(s.SecureRNG(), func(ident uint16) (bool, tcpip.Error) {
		e.replies = stack.TransportEndpointID{LocalPort: ident}
		e.failures = stack.TransportEndpointID{LocalAddress: route.LocalAddress(), RemotePort: ident, RemoteAddress: route.RemoteAddress()}
		err := e.register(e.replies)
		if err == nil {
			if err = e.register(e.failures); err != nil {
				e.unregister(e.replies)
			}
		}
		if _, taken := err.(*tcpip.ErrPortInUse); taken {
			return false, nil
		}
		return err == nil, err
	})
	if terr != nil {
		route.Release()
		return nil, fmt.Errorf("find an identifier for echo requests: %s", terr)
	}
	return e, nil
}

// Close ends the asking; answers that still come are lost.
func (e *Echo) Close() {
	e.unregister(e.replies)
	e.unregister(e.failures)
	e.route.Release()
}

func (e *Echo) register(id stack.TransportEndpointID) tcpip.Error {
	return e.stack.RegisterTransportEndpoint([]tcpip.NetworkProtocolNumber{e.route.NetProto()}, e.protocol(), id, e, ports.Flags{}, 0)
}

func (e *Echo) unregister(id stack.TransportEndpointID) {
	e.stack.UnregisterTransportEndpoint([]tcpip.NetworkProtocolNumber{e.route.NetProto()}, e.protocol(), id, e, ports.Flags{}, 0)
}

// Answers is where answers and failures arrive, in their order.
func (e *Echo) Answers() <-chan Answer { return e.answers }

// Local is the address that the requests come from.
func (e *Echo) Local() netip.Addr { return fromAddress(e.route.LocalAddress()) }

// Send sends a request with at most MaxEcho bytes of payload. It returns before
// the neighbour is known; that there is none comes as an Answer.
func (e *Echo) Send(seq uint16, payload []byte) error {
	if len(payload) > MaxEcho {
		return fmt.Errorf("%d bytes of payload: %w", len(payload), ErrTooBig)
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(e.route.MaxHeaderLength()) + echoHeaderLen,
		Payload:            buffer.MakeWithData(payload),
	})
	defer p.DecRef()
	p.TransportProtocolNumber = e.protocol()
	message := p.TransportHeader().Push(echoHeaderLen)
	if e.is6() {
		message[0] = byte(header.ICMPv6EchoRequest)
	} else {
		message[0] = byte(header.ICMPv4Echo)
	}
	binary.BigEndian.PutUint16(message[4:], e.replies.LocalPort)
	binary.BigEndian.PutUint16(message[6:], seq)
	binary.BigEndian.PutUint16(message[2:], e.checksum(message, p))

	e.mu.Lock()
	e.sent[seq] = time.Now()
	e.mu.Unlock()
	err := e.route.WritePacket(stack.NetworkHeaderParams{Protocol: e.protocol(), TTL: e.route.DefaultTTL()}, p)
	switch err.(type) {
	case nil:
		return nil
	case *tcpip.ErrHostUnreachable:
		return ErrHostUnreachable
	case *tcpip.ErrNetworkUnreachable:
		return ErrNetUnreachable
	case *tcpip.ErrMessageTooLong:
		return ErrTooBig
	}
	return fmt.Errorf("send an echo request to %s: %s", fromAddress(e.route.RemoteAddress()), err)
}

func (e *Echo) checksum(message []byte, p *stack.PacketBuffer) uint16 {
	sum := p.Data().Checksum()
	if e.is6() {
		return header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: message,
			Src: e.route.LocalAddress(), Dst: e.route.RemoteAddress(), PayloadCsum: sum, PayloadLen: p.Data().Size()})
	}
	return ^checksum.Checksum(message, sum)
}

func (e *Echo) is6() bool { return e.route.NetProto() == header.IPv6ProtocolNumber }

func (e *Echo) protocol() tcpip.TransportProtocolNumber {
	if e.is6() {
		return header.ICMPv6ProtocolNumber
	}
	return header.ICMPv4ProtocolNumber
}

// HandlePacket takes an echo reply: the stack calls it with what comes to the
// identifier.
func (e *Echo) HandlePacket(id stack.TransportEndpointID, p *stack.PacketBuffer) {
	message := p.TransportHeader().Slice()
	if len(message) < echoHeaderLen {
		return
	}
	a := Answer{
		Seq:  binary.BigEndian.Uint16(message[6:]),
		From: fromAddress(id.RemoteAddress),
		Size: len(message) + p.Data().Size(),
	}
	if e.is6() {
		if message[0] != byte(header.ICMPv6EchoReply) {
			return
		}
		a.TTL = header.IPv6(p.NetworkHeader().Slice()).HopLimit()
	} else {
		if message[0] != byte(header.ICMPv4EchoReply) {
			return
		}
		a.TTL = header.IPv4(p.NetworkHeader().Slice()).TTL()
	}
	e.answer(a)
}

// HandleError takes the failure of a request: p holds the message that failed.
func (e *Echo) HandleError(err stack.TransportError, p *stack.PacketBuffer) {
	message, ok := p.Data().PullUp(echoHeaderLen)
	if !ok {
		return
	}
	a := Answer{Seq: binary.BigEndian.Uint16(message[6:])}
	switch err.Kind() {
	case stack.DestinationNetworkUnreachableTransportError:
		a.Err = ErrNetUnreachable
	case stack.PacketTooBigTransportError:
		a.Err = ErrTooBig
	default:
		a.Err = ErrHostUnreachable
	}
	e.answer(a)
}

// answer adds when the request was sent. A request that was not sent, or failed
// already, has no answer.
func (e *Echo) answer(a Answer) {
	e.mu.Lock()
	at, known := e.sent[a.Seq]
	if a.Err != nil {
		delete(e.sent, a.Seq)
	} else if known {
		e.sent[a.Seq] = time.Time{}
	}
	e.mu.Unlock()
	if !known {
		return
	}
	if at.IsZero() {
		a.Dup = true
	} else {
		a.RTT = time.Since(at)
	}
	select {
	case e.answers <- a:
	default:
	}
}

// Abort and Wait make an Echo one of the stack's endpoints: it has nothing that
// goes on by itself.
func (e *Echo) Abort() {}
func (e *Echo) Wait()  {}
