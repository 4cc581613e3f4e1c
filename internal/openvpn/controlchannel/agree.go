package controlchannel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tmelink/internal/openvpn/datachannel"
)

// The bits of IV_PROTO in the peer information (ssl.h).
const (
	protoDataV2      = 1 << 1
	protoRequestPush = 1 << 2
	protoExport      = 1 << 3
	protoPendingKW   = 1 << 4
	protoAgreeP2P    = 1 << 5
	protoDNS         = 1 << 6
	protoExitNotify  = 1 << 7
	protoFailTemp    = 1 << 8
	protoDynamic     = 1 << 9
)

// agreed is what both ends of a session have found that they can.
type agreed struct {
	suite      datachannel.Suite
	export     bool // keys come out of TLS (RFC 5705), not of the old function
	numbered   bool // data packets have the peer's number for us
	peerID     uint32
	exitNotify bool // the end is told over the control channel
	dynamic    bool // renegotiations are wrapped with a key of their own
}

// peerInfo is what we tell the peer of ourselves (push_peer_info in ssl.c).
func (c *Config) peerInfo() string {
	var b strings.Builder
	proto := protoDataV2 | protoExitNotify | protoExport | protoDynamic
	if c.Pull {
		fmt.Fprintf(&b, "IV_VER=2.6.14\nIV_PLAT=%s\nIV_TCPNL=1\nIV_MTU=%d\nIV_NCP=2\n", c.Platform, c.MTU)
		proto |= protoRequestPush | protoPendingKW | protoFailTemp | protoDNS
	} else {
		proto |= protoAgreeP2P
	}
	fmt.Fprintf(&b, "IV_CIPHERS=%s\nIV_PROTO=%d\n", cipherList(c.Ciphers), proto)
	return b.String()
}

func cipherList(ciphers []*datachannel.Cipher) string {
	var names []string
	for _, c := range ciphers {
		names = append(names, c.Name)
	}
	return strings.Join(names, ":")
}

// peerValue is a value of the peer information, "" where there is none.
func peerValue(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return value
		}
	}
	return ""
}

// agree finds out what to do with a peer that is not a server with clients (p2p_mode_ncp
// in ssl_ncp.c). Of the ciphers it is the first of the TLS server's that the other
// end has, too; with peers that name none it is the one of their option string, or
// the fallback.
func (c *Config) agree(peer *hello) (agreed, error) {
	proto, _ := strconv.Atoi(peerValue(peer.peerInfo, "IV_PROTO"))
	var a agreed
	if proto&protoAgreeP2P != 0 {
		a.numbered = proto&protoDataV2 != 0
		a.peerID = 0x76706e // "vpn", where it is not exported
		a.exitNotify = proto&protoExitNotify != 0
		a.export = proto&protoExport != 0
		a.dynamic = proto&protoDynamic != 0
	}
	theirs := strings.Split(peerValue(peer.peerInfo, "IV_CIPHERS"), ":")
	cipher := c.commonCipher(theirs)
	if cipher == nil {
		cipher = c.Fallback
	}
	if cipher == nil && theirs[0] == "" {
		cipher = c.named(optionValue(peer.options, "cipher"))
	}
	if cipher == nil {
		return a, fmt.Errorf("the ends have no cipher in common: this one takes %s, the peer %s; make --data-ciphers overlap at both ends",
			cipherList(c.Ciphers), orElse(strings.Join(theirs, ":"), orElse(optionValue(peer.options, "cipher"), "none that it names")))
	}
	a.suite = datachannel.Suite{Cipher: cipher, Digest: c.Digest}
	return a, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (c *Config) commonCipher(theirs []string) *datachannel.Cipher {
	if c.Server {
		for _, ours := range c.Ciphers {
			if slices.ContainsFunc(theirs, func(name string) bool { return strings.EqualFold(ours.Name, name) }) {
				return ours
			}
		}
		return nil
	}
	for _, name := range theirs {
		if cipher := c.named(name); cipher != nil {
			return cipher
		}
	}
	return nil
}

// named is a cipher of ours by its name, nil if we do not take it.
func (c *Config) named(name string) *datachannel.Cipher {
	for _, ours := range c.Ciphers {
		if strings.EqualFold(ours.Name, name) {
			return ours
		}
	}
	return nil
}

// optionValue is a value in an option string, "" where there is none.
func optionValue(options, name string) string {
	for part := range strings.SplitSeq(options, ",") {
		if value, ok := strings.CutPrefix(part, name+" "); ok {
			return value
		}
	}
	return ""
}
