package link

import (
	"fmt"
	"net/netip"

	"tmelink/internal/element"
	"tmelink/internal/openvpn"
	"tmelink/internal/openvpn/datachannel"
	"tmelink/internal/transport"
)

// fragment is how long a link's packets may become: frames that need longer ones go in
// several (OpenVPN's --fragment). The zero fragment sets no bound, and frames go whole.
type fragment struct {
	bytes int
	mtu   bool // bytes counts the headers of IP and UDP, too
}

// fragmentLeast is the least that OpenVPN takes, the least MTU of IPv4 (RFC 791, 3.2).
const fragmentLeast = 68

func (c *config) setFragment(v element.Values) error {
	n, err := v.Int(0, fragmentLeast, 65535)
	if err != nil {
		return err
	}
	if v.Has(1) && v.Text(1) != "mtu" {
		return v.Faultf(1, "%q is not mtu", v.Text(1))
	}
	c.fragment = fragment{n, v.Has(1)}
	return nil
}

// limit is how long a packet may be that goes over conn, with what is sealed in it. A
// path that is known to take less than asked for lowers it.
func (f fragment) limit(conn transport.Conn) int {
	most := f.bytes - conn.Framing()
	if f.mtu {
		most = f.bytes - conn.Overhead()
	}
	if mtu := conn.PathMTU(); mtu != 0 {
		most = min(most, mtu-conn.Overhead())
	}
	return most
}

// checkFragment sees to it that every frame can be carried, in the 32 packets of which
// the protocol knows.
func (c *config) checkFragment() error {
	if c.fragment.bytes == 0 {
		return nil
	}
	if c.tcp() {
		return c.at("--fragment", "TCP cuts and joins by itself; leave it out at both ends, or use --proto udp")
	}
	around := 0
	if c.fragment.mtu {
		around = ipUDPHeader(c.local)
	}
	around += c.relayHeader()
	if least := openvpn.LeastPacket(c.mtu, c.sealing()) + around; c.fragment.bytes < least {
		return c.at("--fragment", "%d is too small: a frame goes in 32 packets at the most, for which --tun-mtu %d and the keys need %d", c.fragment.bytes, c.mtu, least)
	}
	return nil
}

// checkDatagram sees to it that every frame fits a datagram with what is around it,
// where none goes in several.
func (c *config) checkDatagram() error {
	largest := maxMTU - c.sealing() - c.relayHeader()
	if c.tcp() || c.fragment.bytes != 0 || c.mtu <= largest {
		return nil
	}
	return c.at("--tun-mtu", "%d is too large: over UDP a frame must fit a datagram, with what keys add to it and the header that a --socks-proxy wants; the largest is %d, unless --fragment is given at both ends", c.mtu, largest)
}

// relayHeader is the longest that any way needs.
func (c *config) relayHeader() (most int) {
	for _, w := range c.ways {
		most = max(most, w.relayHeader())
	}
	return most
}

// ipUDPHeader is the size of the headers of IP and UDP together, of packets from a local
// address; that of IPv6 where it is not known.
func ipUDPHeader(local string) int {
	if addr, err := netip.ParseAddr(local); err == nil && addr.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// sealing is how much longer a packet becomes at the most by being sealed, with any of
// the ciphers that may come of it.
func (c *config) sealing() (most int) {
	s := &c.security
	form := datachannel.FormV2(0, 0)
	if s.secret.given() {
		form = datachannel.StaticForm()
	}
	ciphers := append([]*datachannel.Cipher{s.cipher, s.fallback}, s.ciphers...)
	for _, cipher := range ciphers {
		if s.keyed() && cipher != nil {
			most = max(most, datachannel.Suite{Cipher: cipher, Digest: s.digest}.Overhead(form))
		}
	}
	return most
}

// discoveries are the words of --mtu-disc.
var discoveries = map[string]transport.Discovery{"no": transport.DiscoverNo, "maybe": transport.DiscoverMaybe, "yes": transport.DiscoverYes}

func (c *config) setMTUDisc(v element.Values) error {
	var ok bool
	if c.socket.Discovery, ok = discoveries[v.Text(0)]; !ok {
		return v.Faultf(0, "%q is none of no, maybe, yes", v.Text(0))
	}
	return nil
}

func (c *config) checkMTUTest() error {
	if c.mtuTest && c.tcp() {
		return c.at("--mtu-test", "over TCP every packet arrives, whatever its length; leave it out, or use --proto udp")
	}
	return nil
}

// tellTooLong tells of a packet that was not sent, because the path takes no more than
// mtu, 0 where that is not known. With --fragment those that follow are made to fit.
func (l *Link) tellTooLong(packet, mtu int) {
	if l.config.fragment.bytes != 0 {
		return
	}
	bytes := "BYTES"
	if mtu != 0 {
		bytes = fmt.Sprint(mtu)
	}
	l.log.Warn(fmt.Sprintf("a packet is longer than the path takes, and --mtu-disc yes keeps it from going in fragments: "+
		"--fragment %[1]s mtu at both ends carries such frames; --mssfix %[1]s mtu at this end is enough where only TCP makes them", bytes),
		"packet", packet, "mtu", mtu)
}
