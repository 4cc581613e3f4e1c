package netstack

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"tmelink/internal/ethernet"
)

// Forwarding has a host take what is for any address, as the gateway of a network
// does, and answer in the name of any address. What one of the host's own sockets
// is there for goes there; all else comes to these functions.
//
// Frame, Datagram and Echo are called by the port's writer, which waits for them;
// Connect is called in a goroutine of its own.
type Forwarding struct {
	// Frame is shown each frame that is for the host or for a group that it
	// listens to, whatever its EtherType, and says whether it is done with.
	Frame func(*ethernet.Frame) bool
	// Connect takes each attempt to connect. It must end it by one of the
	// attempt's methods.
	Connect func(*Attempt)
	// Attempts bounds how many attempts there are at one time; Overflow is
	// told of each one that is ignored because of that.
	Attempts int
	Overflow func()
	// Datagram takes a UDP datagram, or says no: then it is answered as one to
	// a closed port is. The payload is borrowed.
	Datagram func(Datagram) bool
	// Echo takes an echo request, or says no: then the host answers it if it
	// is for its own address. The payload is borrowed.
	Echo func(EchoRequest) bool
}

// Datagram is a UDP datagram.
type Datagram struct {
	From, To     netip.AddrPort
	Payload      []byte
	DontFragment bool // IPv4's DF; in IPv6 whatever came whole
}

// EchoRequest is what ping sends.
type EchoRequest struct {
	From, To   netip.Addr
	Ident, Seq uint16
	Payload    []byte
}

// forwarder is the forwarding of a running stack.
type forwarder struct {
	Forwarding
	tcp *tcp.Forwarder
	mtu int

	mu       sync.Mutex
	attempts map[stack.TransportEndpointID]uint32 // with their sequence number
}

// timeWait is how long the stack remembers a connection that has ended, or whose
// station does not end it. The usual minute would let a station that connects all
// the time fill the memory; on one wire no segment is late for so long.
const timeWait = 5 * time.Second

// forward sets a fresh stack up for forwarding.
func forward(s *stack.Stack, f Forwarding, mtu int) error {
	if err := s.SetPromiscuousMode(nicID, true); err != nil {
		return fmt.Errorf("take what is for any address: %s", err)
	}
	if err := s.SetSpoofing(nicID, true); err != nil {
		return fmt.Errorf("answer in the name of any address: %s", err)
	}
	fw := &forwarder{Forwarding: f, mtu: mtu, attempts: map[stack.TransportEndpointID]uint32{}}
	wait, linger := tcpip.TCPTimeWaitTimeoutOption(timeWait), tcpip.TCPLingerTimeoutOption(timeWait)
	for _, opt := range []tcpip.SettableTransportProtocolOption{&wait, &linger} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, opt); err != nil {
			return fmt.Errorf("set TCP option %T: %s", opt, err)
		}
	}
	fw.tcp = tcp.NewForwarder(s, 0, f.Attempts, fw.connect)
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, fw.segment)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, fw.datagram)
	s.SetTransportProtocolHandler(icmp.ProtocolNumber4, fw.echo4)
	s.SetTransportProtocolHandler(icmp.ProtocolNumber6, fw.echo6)
	return nil
}

// segment takes a TCP segment that belongs to no connection: the stack answers it
// with a reset unless it asks for a connection.
func (f *forwarder) segment(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	h := header.TCP(p.TransportHeader().Slice())
	if len(h) < header.TCPMinimumSize || h.Flags()&(header.TCPFlagSyn|header.TCPFlagAck) != header.TCPFlagSyn {
		return false
	}
	f.mu.Lock()
	_, known := f.attempts[id]
	full := !known && len(f.attempts) >= f.Attempts
	if !known && !full {
		f.attempts[id] = h.SequenceNumber()
	}
	f.mu.Unlock()
	if full {
		f.Overflow()
		return true
	}
	taken := f.tcp.HandlePacket(id, p)
	if !taken && !known {
		f.forget(id)
	}
	return taken
}

func (f *forwarder) forget(id stack.TransportEndpointID) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	seq := f.attempts[id]
	delete(f.attempts, id)
	return seq
}

func (f *forwarder) connect(r *tcp.ForwarderRequest) {
	f.Connect(&Attempt{of: f, request: r, id: r.ID()})
}

func (f *forwarder) datagram(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	payload, ok := p.Data().PullUp(p.Data().Size())
	if !ok {
		return true
	}
	d := Datagram{From: from(id), To: to(id), Payload: payload}
	// A longer one was fragmented by its sender.
	d.DontFragment = header.IPv6MinimumSize+header.UDPMinimumSize+len(payload) <= f.mtu
	if p.NetworkProtocolNumber == header.IPv4ProtocolNumber {
		d.DontFragment = header.IPv4(p.NetworkHeader().Slice()).Flags()&header.IPv4FlagDontFragment != 0
	}
	if !udpSumIsRight(id, p) {
		return true
	}
	return f.Datagram(d)
}

// udpSumIsRight verifies a datagram's checksum, which the stack does only for
// sockets of its own.
func udpSumIsRight(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	h := header.UDP(p.TransportHeader().Slice())
	if p.RXChecksumValidated || h.Checksum() == 0 && p.NetworkProtocolNumber == header.IPv4ProtocolNumber {
		return true
	}
	return h.IsChecksumValid(id.RemoteAddress, id.LocalAddress, p.Data().Checksum())
}

func (f *forwarder) echo4(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	return f.echo(id, p, byte(header.ICMPv4Echo))
}

func (f *forwarder) echo6(id stack.TransportEndpointID, p *stack.PacketBuffer) bool {
	return f.echo(id, p, byte(header.ICMPv6EchoRequest))
}

func (f *forwarder) echo(id stack.TransportEndpointID, p *stack.PacketBuffer, request byte) bool {
	message := p.TransportHeader().Slice()
	if len(message) < echoHeaderLen || message[0] != request {
		return false
	}
	payload, ok := p.Data().PullUp(p.Data().Size())
	if !ok {
		return true
	}
	return f.Echo(EchoRequest{
		From: fromAddress(id.RemoteAddress), To: fromAddress(id.LocalAddress),
		Ident: binary.BigEndian.Uint16(message[4:]), Seq: binary.BigEndian.Uint16(message[6:]),
		Payload: payload,
	})
}

func from(id stack.TransportEndpointID) netip.AddrPort {
	return netip.AddrPortFrom(fromAddress(id.RemoteAddress), id.RemotePort)
}

func to(id stack.TransportEndpointID) netip.AddrPort {
	return netip.AddrPortFrom(fromAddress(id.LocalAddress), id.LocalPort)
}

// Attempt is a station's attempt to connect. One of Accept, Refuse and Ignore ends
// it; until then further segments that ask for the same are swallowed.
type Attempt struct {
	of      *forwarder
	request *tcp.ForwarderRequest
	id      stack.TransportEndpointID
}

// From and To are the two ends as the station has them.
func (a *Attempt) From() netip.AddrPort { return from(a.id) }
func (a *Attempt) To() netip.AddrPort   { return to(a.id) }

// Accept completes the connection, which takes a round trip, and gives it.
func (a *Attempt) Accept() (*Stream, error) {
	queue := &waiter.Queue{}
	ep, err := a.request.CreateEndpoint(queue)
	a.end(false)
	if err != nil {
		return nil, fmt.Errorf("complete a connection of %s to %s: %s", a.From(), a.To(), err)
	}
	return newStream(queue, ep), nil
}

// Refuse answers as a closed port does.
func (a *Attempt) Refuse() { a.end(true) }

// Ignore answers nothing.
func (a *Attempt) Ignore() { a.end(false) }

// Quote is what an ICMP message says of the attempt. It is known until its end.
func (a *Attempt) Quote() Quote {
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	q := Quote{Protocol: uint8(header.TCPProtocolNumber), From: a.From().Addr(), To: a.To().Addr(), Length: header.TCPMinimumSize}
	binary.BigEndian.PutUint16(q.First[:], a.id.RemotePort)
	binary.BigEndian.PutUint16(q.First[2:], a.id.LocalPort)
	binary.BigEndian.PutUint32(q.First[4:], a.of.attempts[a.id])
	return q
}

func (a *Attempt) end(reset bool) {
	a.of.forget(a.id)
	a.request.Complete(reset)
}

// Stream is a TCP connection of the host.
type Stream struct {
	*gonet.TCPConn
	queue *waiter.Queue
	ep    tcpip.Endpoint
}

func newStream(queue *waiter.Queue, ep tcpip.Endpoint) *Stream {
	return &Stream{TCPConn: gonet.NewTCPConn(queue, ep), queue: queue, ep: ep}
}

// AwaitRead waits until Read has something to say at once, without a buffer
// being held for it.
func (s *Stream) AwaitRead() {
	if s.ep.Readiness(waiter.ReadableEvents) != 0 {
		return
	}
	entry, woken := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	if s.ep.Readiness(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr) != 0 {
		return
	}
	<-woken
}

// SetBuffers bounds what the connection holds in each direction, in bytes.
func (s *Stream) SetBuffers(size int) {
	s.ep.SocketOptions().SetReceiveBufferSize(int64(size), true)
	s.ep.SocketOptions().SetSendBufferSize(int64(size), true)
}

// Finish sends what has been written and the end, and waits until the station has
// acknowledged all of it. It says whether that is so before ctx has ended.
func (s *Stream) Finish(ctx context.Context) bool {
	s.ep.Shutdown(tcpip.ShutdownWrite) // its error is that the end was sent before
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		switch tcp.EndpointState(s.ep.State()) {
		case tcp.StateFinWait2, tcp.StateTimeWait, tcp.StateClose, tcp.StateError:
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// Abort ends the connection with a reset.
func (s *Stream) Abort() { s.ep.Abort() }
