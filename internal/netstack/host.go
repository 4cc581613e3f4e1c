// Package netstack is a host made of software: the user-space IP stack of gVisor
// behind one Ethernet port, with addresses, routes, a neighbour table, TCP, UDP
// and ICMP.
//
// With Forwarding it is the gateway of others besides: it takes what they send to
// any address, and answers in that address's name.
//
// Frames come in by its port's WriteFrames and go out by ReadFrames; inside they
// become connections, datagrams and answers to ping. It opens no descriptor,
// needs no privilege, and knows nothing of element types or descriptions.
package netstack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"tmelink/internal/ethernet"
)

// MinMTU and MaxMTU bound Config.MTU: what IPv6 needs of a link (RFC 8200, 5),
// and the longest IPv4 packet.
const (
	MinMTU = 1280
	MaxMTU = 65535
)

// Config says what a host is. It is not changed by the host.
type Config struct {
	HardwareAddr ethernet.Addr
	MTU          int            // bytes of an IP packet; 0 is ethernet.MTU
	Addrs        []netip.Prefix // the host's own addresses and their networks
	Gateways     []netip.Addr   // at most one IPv4 and one IPv6 address
	Nameservers  []netip.Addr   // asked in this order
	Forwarding   *Forwarding    // nil: the host minds only what is for itself
}

// Host is a host of its own on an Ethernet. Its methods may be called by any
// goroutine; those that need the stack fail before Start and after Close.
type Host struct {
	cfg  Config
	port *port

	mu    sync.Mutex
	stack *stack.Stack     // nil before Start and after Close
	given ethernet.Network // by SetNetwork
}

// nicID is the number of the host's only interface.
const nicID tcpip.NICID = 1

func init() {
	// gVisor tells on standard error of each kind of odd packet that it drops.
	log.SetLevel(log.Warning)
}

// New describes a host. It starts nothing: the port of a host that is not
// started drops what is written to it, and brings nothing.
func New(cfg Config) *Host {
	if cfg.MTU == 0 {
		cfg.MTU = ethernet.MTU
	}
	p := newPort(cfg.HardwareAddr, cfg.MTU)
	if cfg.Forwarding != nil {
		p.gateway = newGateway(cfg)
		p.filter.Add(allRouters)
	}
	return &Host{cfg: cfg, port: p}
}

// Port is where the host's frames go in and out, always the same one. A reader
// that is slow loses frames as a slow wire would: they are counted as QueueFull.
func (h *Host) Port() ethernet.Station { return h.port }

// Start brings the host up: from its return on it answers.
func (h *Host) Start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.port.closed() {
		return fmt.Errorf("start a host: %w", net.ErrClosed)
	}
	if h.stack != nil {
		return errors.New("start a host: it is started already")
	}
	s := newStack(h.cfg.Forwarding == nil)
	if err := configure(s, h.port, h.cfg); err != nil {
		s.Destroy()
		return err
	}
	h.stack = s
	return nil
}

// Close ends the host, its connections and its port. It may be called more than
// once, and without Start.
func (h *Host) Close() error {
	h.mu.Lock()
	s := h.stack
	h.stack = nil
	h.mu.Unlock()
	err := h.port.Close()
	if s != nil {
		s.Destroy()
	}
	return err
}

// Addrs are the host's own addresses as they were configured, then those of
// SetNetwork, and behind them its IPv6 link-local one.
func (h *Host) Addrs() []netip.Prefix {
	return append(h.globalAddrs(), linkLocal(h.cfg.HardwareAddr))
}

// globalAddrs are the host's addresses without the link-local one.
func (h *Host) globalAddrs() []netip.Prefix {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Concat(h.cfg.Addrs, h.given.Addrs())
}

// HardwareAddr is the host's address on the wire.
func (h *Host) HardwareAddr() ethernet.Addr { return h.cfg.HardwareAddr }

// Nameservers are those that names are asked of: the configured ones, or those
// of SetNetwork.
func (h *Host) Nameservers() []netip.Addr {
	if len(h.cfg.Nameservers) > 0 {
		return h.cfg.Nameservers
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.given.DNS
}

// errDown is the error of what needs a running stack.
var errDown = errors.New("the host is not running")

func (h *Host) running() (*stack.Stack, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stack == nil {
		return nil, errDown
	}
	return h.stack, nil
}

// newStack makes a stack. Whether it talks to itself is for it to decide by its own
// addresses, which one that takes all addresses cannot.
func newStack(toItself bool) *stack.Stack {
	nud := stack.DefaultNUDConfigurations()
	// A machine of the same lab may come up a moment later: ask again soon, and
	// give up after the usual three seconds.
	nud.RetransmitTimer /= 4
	nud.MaxMulticastProbes *= 4
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			arp.NewProtocol,
			ipv4.NewProtocolWithOptions(ipv4.Options{IGMP: ipv4.IGMPOptions{Enabled: true}}),
			ipv6.NewProtocolWithOptions(ipv6.Options{
				// A switch that watches groups sends solicitations only to
				// ports that have reported theirs.
				MLD: ipv6.MLDOptions{Enabled: true},
				// Addresses are given, not discovered, and usable at once.
				NDPConfigs: ipv6.NDPConfigurations{HandleRAs: ipv6.HandlingRAsDisabled},
				DADConfigs: stack.DADConfigurations{DupAddrDetectTransmits: 0},
			}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{
			icmp.NewProtocol4, icmp.NewProtocol6, tcp.NewProtocol, udp.NewProtocol,
		},
		HandleLocal: toItself,
		NUDConfigs:  nud,
	})
	return s
}

// configure gives a fresh stack its interface, addresses, routes and habits.
func configure(s *stack.Stack, p *port, cfg Config) error {
	if err := configureTCP(s); err != nil {
		return err
	}
	if err := s.CreateNIC(nicID, (*link)(p)); err != nil {
		return fmt.Errorf("make the host's interface: %s", err)
	}
	addrs := append([]netip.Prefix{linkLocal(cfg.HardwareAddr)}, cfg.Addrs...)
	for _, prefix := range addrs {
		if err := addAddress(s, prefix); err != nil {
			return err
		}
	}
	s.SetRouteTable(routesOf(cfg, addrs, nil))
	if cfg.Forwarding != nil {
		if err := forward(s, *cfg.Forwarding, cfg.MTU); err != nil {
			return err
		}
	}
	return p.listenToGroups(s, addrs)
}

func addAddress(s *stack.Stack, prefix netip.Prefix) error {
	address := tcpip.ProtocolAddress{
		Protocol:          protocolOf(prefix.Addr()),
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: toAddress(prefix.Addr()), PrefixLen: prefix.Bits()},
	}
	if err := s.AddProtocolAddress(nicID, address, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("give the host the address %s: %s", prefix, err)
	}
	return nil
}

// maxSendBuffer bounds what one TCP connection has under way, so that a single
// one does not overrun the port's own queue.
const maxSendBuffer = queueBytes / 2

func configureTCP(s *stack.Stack) error {
	sack, moderate, cubic := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.CongestionControlOption("cubic")
	// gVisor's RACK mends one lost super-frame in as many timeouts as it has
	// segments: 10 MB took a minute. Without RACK it is SACK's recovery of RFC 6675.
	noRACK := tcpip.TCPRecovery(0)
	buffers := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcp.DefaultSendBufferSize, Max: maxSendBuffer}
	for _, opt := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &cubic, &noRACK, &buffers} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, opt); err != nil {
			return fmt.Errorf("set TCP option %T: %s", opt, err)
		}
	}
	return nil
}

// linkLocal is the IPv6 link-local address of a station (RFC 4291, appendix A).
func linkLocal(a ethernet.Addr) netip.Prefix {
	ip := header.LinkLocalAddr(tcpip.LinkAddress(a[:]))
	return netip.PrefixFrom(fromAddress(ip), 64)
}

func toAddress(a netip.Addr) tcpip.Address {
	if a = a.Unmap(); a.Is4() {
		return tcpip.AddrFrom4(a.As4())
	}
	return tcpip.AddrFrom16(a.As16())
}

func fromAddress(a tcpip.Address) netip.Addr {
	ip, _ := netip.AddrFromSlice(a.AsSlice())
	return ip
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Unmap().Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}
