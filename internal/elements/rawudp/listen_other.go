//go:build !unix

package rawudp

import (
	"context"
	"net"
	"net/netip"
)

// listenGroup makes a socket for a group's port. It cannot be bound to the group
// itself here, so that it also hears what is sent to the port otherwise.
func listenGroup(group netip.AddrPort, _ *net.Interface) (*net.UDPConn, error) {
	var lc net.ListenConfig
	network := "udp4"
	if group.Addr().Is6() {
		network = "udp6"
	}
	// Package net shares the port where the address is a group's.
	conn, err := lc.ListenPacket(context.Background(), network, group.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}
