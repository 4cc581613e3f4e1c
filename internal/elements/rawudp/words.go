package rawudp

import (
	"net"
	"net/netip"
	"strconv"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// MTUs that a frame has room for: IPv4's smallest (RFC 791), and what is left of
// the longest datagram behind a header with two tags.
const (
	minMTU = 68
	maxMTU = 65507 - ethernet.HeaderLen - 2*ethernet.VLANLen
)

func mtuOption(mtu *int) element.Option {
	return element.Option{Name: "mtu", Values: "BYTES", Doc: "The largest payload of a frame, 68 to 65485; the default is 1500. Longer frames are dropped, both ways.",
		Set: func(v element.Values) (err error) { *mtu, err = v.Int(0, minMTU, maxMTU); return }}
}

func onOff(name, doc string, on *bool) element.Option {
	return element.Option{Name: name, Values: "on|off", Doc: doc, Set: func(v element.Values) (err error) { *on, err = v.OnOff(0); return }}
}

// place is a host and a port as a description has them.
type place struct {
	host string // a name or an address; "": any
	port uint16
	pos  tmesh.Pos
}

// parsePlace reads value i as HOST:PORT, or [ADDRESS]:PORT for IPv6.
func parsePlace(v element.Values, i int) (place, error) {
	host, port, err := net.SplitHostPort(v.Text(i))
	n, e := strconv.ParseUint(port, 10, 16)
	if err != nil || e != nil || n == 0 {
		return place{}, v.Faultf(i, "%q is no address and port such as 10.0.0.1:4711 or [fd00::1]:4711", v.Text(i))
	}
	return place{host, uint16(n), v.Words[i].Pos}, nil
}

func (p place) String() string { return net.JoinHostPort(p.host, strconv.Itoa(int(p.port))) }

// parseGroup reads value i as a multicast group and port.
func parseGroup(v element.Values, i int) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(v.Text(i))
	if err != nil || a.Port() == 0 {
		return a, v.Faultf(i, "%q is no group and port such as 230.0.0.1:1234 or [ff15::1]:1234", v.Text(i))
	}
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	switch {
	case a.Addr().Zone() != "":
		return a, v.Faultf(i, "the interface belongs behind it: %s interface %s", netip.AddrPortFrom(a.Addr().WithZone(""), a.Port()), a.Addr().Zone())
	case !a.Addr().IsMulticast():
		return a, v.Faultf(i, "%s is no multicast group, which is of 224.0.0.0/4 or ff00::/8", a.Addr())
	}
	return a, nil
}
