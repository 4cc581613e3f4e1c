// Package rawudp is the element types for programs that put each Ethernet frame
// into a UDP datagram and have more than one peer: tme/host/udp/group, a multicast
// group, and tme/host/udp/hub, a hub of unicast peers.
//
// A frame is a datagram and a datagram a frame: there is no header, no handshake
// and no secret. A group's port is read and written by its connection's
// goroutines; a hub has two goroutines of its own, which pass frames between its
// peers and the ports of a switch that learns nothing. Nothing of the host is
// changed.
//
// socket.go sends and receives, group.go and hub.go are the two types, peers.go is
// whom a hub knows, and words.go reads addresses.
package rawudp
