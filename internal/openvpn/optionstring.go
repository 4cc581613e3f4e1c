package openvpn

import (
	"fmt"
	"net/netip"
	"strings"
)

// Proto is the transport as OpenVPN's option string names it.
type Proto string

// The transports. OpenVPN writes v4 whatever the address family is
// (proto_remote in its socket.c).
const (
	UDP       Proto = "UDPv4"
	TCPServer Proto = "TCPv4_SERVER"
	TCPClient Proto = "TCPv4_CLIENT"
)

// tapExtra is OpenVPN's --tun-mtu-extra for a TAP (TAP_MTU_EXTRA_DEFAULT, mtu.h).
const tapExtra = 32

// Options are what the two ends of a link tell each other to find out whether
// they were set up alike.
type Options struct {
	MTU   int // of --tun-mtu, in bytes
	Proto Proto
	// Network is the address and mask of --ifconfig, zero for none.
	Network netip.Prefix
	// IPv6 says that --ifconfig-ipv6 was given.
	IPv6 bool
}

// String gives the option string of `openvpn --dev tap` without keys, in the
// order of options_string in OpenVPN's options.c.
func (o Options) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "V4,dev-type tap,link-mtu %d,tun-mtu %d,proto %s", o.MTU+tapExtra, o.MTU, o.Proto)
	if o.IPv6 {
		s.WriteString(",tun-ipv6")
	}
	if o.Network.IsValid() {
		mask := ^uint32(0) << (32 - o.Network.Bits())
		fmt.Fprintf(&s, ",ifconfig %s %d.%d.%d.%d", o.Network.Masked().Addr(), mask>>24, mask>>16&0xff, mask>>8&0xff, mask&0xff)
	}
	return s.String()
}

// MaxPacket is the longest packet, in bytes, that OpenVPN's buffers hold at an
// MTU: at least 1600 and 200 more, 32 for the TAP's header, 32 for errors of
// reckoning and 136 for all that encryption might add (frame_finalize_options in
// its init.c). Over TCP a longer one breaks the connection.
func MaxPacket(mtu int) int { return min(max(mtu, 1600)+200, 65535) }
