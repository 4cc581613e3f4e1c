package netstack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"tmelink/internal/ethernet"
)

// link is the port as the stack sees it: a network card with segmentation
// offload.
type link port

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

// WritePackets queues what the stack sends. What does not fit is lost without an
// error, as on a wire: the port has counted it.
func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	p := (*port)(l)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isShut {
		return 0, &tcpip.ErrClosedForSend{}
	}
	for _, packet := range packets.AsSlice() {
		p.send(packet)
	}
	p.wake.Signal()
	return packets.Len(), nil
}

// Capabilities are asked for on every delivered packet, which is how a single
// packet's checksum can be vouched for: only the goroutine that delivers looks at
// the receive side's bit, and it has just set trusted.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	c := stack.CapabilityResolutionRequired
	if l.trusted.Load() {
		c |= stack.CapabilityRXChecksumOffload
	}
	return c
}

func (l *link) AddHeader(packet *stack.PacketBuffer) {
	header.Ethernet(packet.LinkHeader().Push(ethernet.HeaderLen)).Encode(&header.EthernetFields{
		SrcAddr: packet.EgressRoute.LocalLinkAddress,
		DstAddr: packet.EgressRoute.RemoteLinkAddress,
		Type:    packet.NetworkProtocolNumber,
	})
}

func (l *link) ParseHeader(packet *stack.PacketBuffer) bool {
	_, ok := packet.LinkHeader().Consume(ethernet.HeaderLen)
	return ok
}

func (l *link) Attach(up stack.NetworkDispatcher) {
	if up == nil {
		l.up.Store(nil)
		return
	}
	l.up.Store(&up)
}

// GSOMaxSize is the longest packet, so that its length fits the IP header.
func (l *link) GSOMaxSize() uint32               { return MaxMTU }
func (l *link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

func (l *link) MTU() uint32                             { return l.sends.Load() }
func (l *link) SetMTU(mtu uint32)                       { l.sends.Store(mtu) }
func (l *link) MaxHeaderLength() uint16                 { return ethernet.HeaderLen }
func (l *link) LinkAddress() tcpip.LinkAddress          { return tcpip.LinkAddress(l.addr[:]) }
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (l *link) IsAttached() bool                        { return l.up.Load() != nil }

// The card's address is that of its Config for life, it has no goroutine to wait
// for, and the Host closes its port itself.
func (l *link) SetLinkAddress(tcpip.LinkAddress)    {}
func (l *link) Wait()                               {}
func (l *link) Close()                              {}
func (l *link) SetOnCloseAction(destroyLink func()) {}
