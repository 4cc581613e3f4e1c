package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// DialTCP connects to an address.
func (h *Host) DialTCP(ctx context.Context, to netip.AddrPort) (*Stream, error) {
	s, err := h.running()
	if err != nil {
		return nil, fmt.Errorf("dial tcp %s: %w", to, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	queue := &waiter.Queue{}
	ep, terr := s.NewEndpoint(tcp.ProtocolNumber, protocolOf(to.Addr()), queue)
	if terr != nil {
		return nil, fmt.Errorf("dial tcp %s: %s", to, terr)
	}
	entry, woken := waiter.NewChannelEntry(waiter.WritableEvents)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	terr = ep.Connect(fullAddress(to))
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Close()
			return nil, ctx.Err()
		case <-woken:
		}
		terr = ep.LastError()
	}
	if terr != nil {
		ep.Close()
		return nil, fmt.Errorf("dial tcp %s: %s", to, terr)
	}
	return newStream(queue, ep), nil
}

// Dial connects over TCP to "HOST:PORT", HOST being an address or a name; it is
// what an http.Transport wants. network is "tcp", "tcp4" or "tcp6".
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %q is not a port number", address, service)
	}
	addrs, err := h.Resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, addr := range addrs {
		if network == "tcp4" && !addr.Is4() || network == "tcp6" && addr.Is4() {
			continue
		}
		conn, err := h.DialTCP(ctx, netip.AddrPortFrom(addr, uint16(port)))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	if errs == nil {
		return nil, fmt.Errorf("dial %s %s: the host has no such address", network, address)
	}
	return nil, errors.Join(errs...)
}

// ListenTCP accepts connections to a port on all of the host's addresses.
func (h *Host) ListenTCP(port uint16) (net.Listener, error) {
	s, err := h.running()
	if err != nil {
		return nil, fmt.Errorf("listen on tcp port %d: %w", port, err)
	}
	// An IPv6 socket on no address takes IPv4 as well.
	l, err := gonet.ListenTCP(s, tcpip.FullAddress{Port: port}, ipv6.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp port %d: %w", port, err)
	}
	return l, nil
}

// ListenUDP takes datagrams to one of the host's addresses; what is sent to a
// group or to all does not come.
func (h *Host) ListenUDP(at netip.AddrPort) (*gonet.UDPConn, error) {
	s, err := h.running()
	if err != nil {
		return nil, fmt.Errorf("listen on udp %s: %w", at, err)
	}
	local := fullAddress(at)
	return gonet.DialUDP(s, &local, nil, protocolOf(at.Addr()))
}

// DialUDP makes a socket whose datagrams go to one address and come from it.
func (h *Host) DialUDP(to netip.AddrPort) (*gonet.UDPConn, error) {
	s, err := h.running()
	if err != nil {
		return nil, fmt.Errorf("dial udp %s: %w", to, err)
	}
	remote := fullAddress(to)
	return gonet.DialUDP(s, nil, &remote, protocolOf(to.Addr()))
}

func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: toAddress(a.Addr()), Port: a.Port()}
}
