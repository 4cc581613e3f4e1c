package openvpn

import (
	"fmt"
	"net/netip"
	"strings"

	"tmelink/internal/openvpn/datachannel"
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
	// Fragments says that every payload has a fragment header (--fragment).
	Fragments bool
	// Keys say how packets are sealed; nil: they are not.
	Keys *KeyOptions
}

// KeyOptions are what an option string says of keys.
type KeyOptions struct {
	Cipher    *datachannel.Cipher // of --cipher; nil: OpenVPN's old default, BF-CBC
	Digest    *datachannel.Digest
	Secret    bool   // a static key, else TLS
	Server    bool   // of TLS
	Pull      bool   // the cipher is the server's to say
	Auth      bool   // --tls-auth
	Direction string // "0" or "1", where given
}

// overhead is how much longer a packet may be than its payload, as OpenVPN reckons
// for the option string (calculate_crypto_overhead in its crypto.c, for a TCP stream
// and opcode frame_calculate_protocol_header_size in mtu.c).
func (k *KeyOptions) overhead() int {
	n := 4 // packet id
	if k.Secret {
		n += 4
	} else {
		n++ // opcode
	}
	switch {
	case k.Cipher == nil:
		return n + k.Digest.Size() + 8 + 8
	case k.Cipher.Name == "CHACHA20-POLY1305":
		return n + 12 + 16 + 1
	case k.Cipher.AEAD():
		return n + 12 + 16 + 16
	}
	return n + k.Digest.Size() + 16 + 16
}

// append adds the options of keys, in OpenVPN's order.
func (k *KeyOptions) append(s *strings.Builder) {
	if k.Direction != "" {
		fmt.Fprintf(s, ",keydir %s", k.Direction)
	}
	name, bits, digest := "BF-CBC", 128, k.Digest.Name
	if k.Cipher != nil {
		name, bits = k.Cipher.Name, k.Cipher.KeyBits()
		if k.Cipher.AEAD() {
			digest = "[null-digest]"
		}
	}
	if !k.Pull || k.Cipher != nil {
		fmt.Fprintf(s, ",cipher %s", name)
	}
	fmt.Fprintf(s, ",auth %s,keysize %d", digest, bits)
	if k.Secret {
		s.WriteString(",secret")
		return
	}
	if k.Auth {
		s.WriteString(",tls-auth")
	}
	s.WriteString(",key-method 2")
	if k.Server {
		s.WriteString(",tls-server")
	} else {
		s.WriteString(",tls-client")
	}
}

// String gives the option string of `openvpn --dev tap`, in the order of
// options_string in OpenVPN's options.c.
func (o Options) String() string {
	var s strings.Builder
	packet := o.MTU + tapExtra
	if o.Fragments {
		packet += fragmentHeader
	}
	if o.Keys != nil {
		packet += o.Keys.overhead()
		if o.Proto != UDP {
			packet += LengthLen
		}
	}
	fmt.Fprintf(&s, "V4,dev-type tap,link-mtu %d,tun-mtu %d,proto %s", packet, o.MTU, o.Proto)
	if o.IPv6 {
		s.WriteString(",tun-ipv6")
	}
	if o.Network.IsValid() {
		mask := ^uint32(0) << (32 - o.Network.Bits())
		fmt.Fprintf(&s, ",ifconfig %s %d.%d.%d.%d", o.Network.Masked().Addr(), mask>>24, mask>>16&0xff, mask>>8&0xff, mask&0xff)
	}
	if o.Fragments {
		s.WriteString(",mtu-dynamic")
	}
	if o.Keys != nil {
		o.Keys.append(&s)
	}
	return s.String()
}

// MaxPacket is the longest packet, in bytes, that OpenVPN's buffers hold at an
// MTU: at least 1600 and 200 more, 32 for the TAP's header, 32 for errors of
// reckoning and 136 for all that encryption might add (frame_finalize_options in
// its init.c). Over TCP a longer one breaks the connection.
func MaxPacket(mtu int) int { return min(max(mtu, 1600)+200, 65535) }
