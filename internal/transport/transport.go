// Package transport is the sockets that carry a link's packets to its peer and
// back: UDP, a packet in each datagram, and TCP, a length before each packet.
//
// Batches of packets flow through it, as many as one system call brings or
// takes; each Conn knows its one peer and lets in nobody else, also where
// several share a UDP socket. It does not look into packets, and retries
// nothing: when a Conn is lost, its owner makes another.
//
// A listening TCP socket may be that of several links, each with its Listener. Where
// connections are told from those of other protocols, by the first bytes, a sharer
// passes the others on to their server.
package transport

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// Conn is a socket, or a share of one, with one peer. One goroutine reads it and
// another writes it; Send, SetPeer, Interrupt and Close may be called by any.
type Conn interface {
	// ReadPackets waits for packets of the peer and returns a batch of at least
	// one. The packets are borrowed until the next ReadPackets, and the capacity
	// of each is datachannel.Slack more than its length: this memory may be used,
	// and must be as before when the next packet is looked at. After Close it
	// returns net.ErrClosed, also to a reader that waits; any other error means
	// that the Conn is lost, but for ErrInterrupted.
	ReadPackets() ([][]byte, error)
	// Interrupt has the ReadPackets that waits, or the next one that would, return
	// ErrInterrupted, so that another goroutine can be the reader.
	Interrupt()
	// WritePackets sends a batch and keeps nothing of it. What cannot be sent
	// is counted. Errors are those of ReadPackets.
	WritePackets([][]byte) error
	// Send sends one packet beside those of WritePackets, to another address than
	// the peer's if one is given that is valid; a connection has none but the
	// peer's. Its error does not mean that the Conn is lost.
	Send(packet []byte, to netip.AddrPort) error
	// Local is the socket's own address.
	Local() netip.AddrPort
	// Peer is whom packets go to now; not valid while that is not known.
	Peer() netip.AddrPort
	// SetPeer makes an address the peer's; a connection keeps the one it has.
	SetPeer(netip.AddrPort)
	// Framing is what goes over the socket beside each packet, in bytes, and
	// Overhead is that together with the headers of IP and UDP or TCP.
	Framing() int
	Overhead() int
	// PathMTU is how long an IP packet may be that reaches the peer in one
	// piece, in bytes, as far as the network has said so; 0: it has said
	// nothing, or the transport sees to it.
	PathMTU() int
	Close() error
}

// Sizes of headers without options, in bytes (RFC 768, 791, 8200, 9293).
const (
	udpHeader  = 8
	tcpHeader  = 20
	ipv4Header = 20
	ipv6Header = 40
)

// ipHeader is the size of the IP header of packets between addresses like this.
func ipHeader(a netip.Addr) int {
	if Of(a) == 6 {
		return ipv6Header
	}
	return ipv4Header
}

// Socket is what is asked of the kernel for a socket, zero for its defaults.
type Socket struct {
	SendBuffer    int    // bytes, SO_SNDBUF
	ReceiveBuffer int    // bytes, SO_RCVBUF
	Mark          int    // SO_MARK, Linux only
	Device        string // SO_BINDTODEVICE, Linux only
	Discovery     Discovery
}

// Discovery is what the kernel does with a packet that is longer than the path takes
// (IP_MTU_DISCOVER in ip(7)). What is not zero is Linux only.
type Discovery int

const (
	DiscoverByDefault Discovery = iota // for UDP as DiscoverMaybe, for TCP as the host has it
	DiscoverNo                         // cuts it up, and lets routers cut up others
	DiscoverMaybe                      // cuts it up if it knows; routers tell
	DiscoverYes                        // refuses it; routers tell
)

// IsTooLong says whether Send's error is that the packet is longer than the path takes,
// as it may be with DiscoverYes.
func IsTooLong(err error) bool { return errors.Is(err, errTooLong) }

// ErrNoPeer is Send's error while a floating Conn does not know its peer.
var ErrNoPeer = errors.New("the peer's address is not known yet")

// ErrInterrupted is the error of a read that Interrupt has ended.
var ErrInterrupted = errors.New("the reading was interrupted")

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// Family is an IP version: 4, 6, or 0 for either.
type Family int

// Has says whether an address is of the family.
func (f Family) Has(a netip.Addr) bool {
	return f == 0 || (f == 4) == a.Unmap().Is4()
}

// String gives "IPv4", "IPv6" or "IP".
func (f Family) String() string {
	switch f {
	case 4:
		return "IPv4"
	case 6:
		return "IPv6"
	}
	return "IP"
}

// Of is the family of an address, 0 if it is not valid.
func Of(a netip.Addr) Family {
	switch {
	case a.Unmap().Is4():
		return 4
	case a.Is6():
		return 6
	}
	return 0
}

// Matches says whether a sender is at an address. A link-local address without a
// zone is taken on any link, as OpenVPN takes it.
func Matches(address, sender netip.Addr) bool {
	return address == sender || address.Zone() == "" && address == sender.WithZone("")
}

// network is the name that package net has for a protocol at a local address.
// The unspecified IPv6 address takes both families, as OpenVPN's sockets do.
func network(proto string, local netip.Addr) string {
	switch Of(local) {
	case 4:
		return proto + "4"
	case 6:
		if local.IsUnspecified() {
			return proto
		}
		return proto + "6"
	}
	return proto
}

// closed makes any error of a closed socket net.ErrClosed itself.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	return err
}
