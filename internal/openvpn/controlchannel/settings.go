package controlchannel

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tmelink/internal/ethernet"
)

// Settings are what a server tells its client to do, as far as a link can.
type Settings struct {
	Ping           time.Duration // below 0: not said, as with the times below
	Silence        time.Duration // of ping-restart and ping-exit, whichever comes last
	SilenceEnds    bool          // it is that of ping-exit
	KnownOnly      bool          // ping-timer-rem
	Inactive       time.Duration
	InactiveBytes  uint64
	SessionTimeout time.Duration
	ExitNotify     int // attempts; below 0: not said
	Shaper         int // bytes a second; 0: not said
	Network        ethernet.Network
	Ignored        []string // what the server says that a link does not do
}

// MinShaper and MaxShaper bound the values of --shaper, in bytes a second (SHAPER_MIN
// and SHAPER_MAX in OpenVPN's shaper.h).
const (
	MinShaper = 100
	MaxShaper = 100_000_000
)

// settings are Settings together with what the channel itself does.
type settings struct {
	Settings
	cipher, token      string
	numbered           bool
	peerID             uint32
	export, exitNotify bool
	dynamic            bool
	gateway4, gateway6 netip.Addr
	routes             []route
	metric             int
}

type route struct {
	to     netip.Prefix
	via    string
	metric int
}

// idlePushed are options whose effect a link has anyway, or which say nothing to it.
const idlePushed = " topology persist-tun persist-key push-continuation route-method block-outside-dns register-dns sndbuf rcvbuf verb "

// parseSettings reads the options of a PUSH_REPLY, separated by commas. It takes
// what an OpenVPN client takes, and lists what it does not do; what would make the
// data channel another one than it thinks is an error.
func parseSettings(reply string) (*settings, error) {
	s := &settings{Settings: Settings{Ping: -1, Silence: -1, Inactive: -1, SessionTimeout: -1, ExitNotify: -1}}
	for option := range strings.SplitSeq(reply, ",") {
		words := strings.Fields(option)
		if len(words) == 0 {
			continue
		}
		done, err := s.take(words[0], words[1:])
		switch {
		case err != nil:
			return nil, &FinalError{fmt.Errorf("the server pushes %q: %w", option, err)}
		case !done && !strings.Contains(idlePushed, " "+words[0]+" "):
			s.Ignored = append(s.Ignored, option)
		}
	}
	for _, r := range s.routes {
		s.addRoute(r)
	}
	return s, nil
}

// take takes one option, and says whether it is one of those that are taken.
func (s *settings) take(name string, values []string) (done bool, err error) {
	value := func(i int) string {
		if i < len(values) {
			return values[i]
		}
		return ""
	}
	switch name {
	case "ping":
		s.Ping, err = seconds(value(0))
	case "ping-restart", "ping-exit":
		s.Silence, err = seconds(value(0))
		s.SilenceEnds = name == "ping-exit"
	case "ping-timer-rem":
		s.KnownOnly = true
	case "inactive":
		s.Inactive, err = seconds(value(0))
		if value(1) != "" && err == nil {
			s.InactiveBytes, err = strconv.ParseUint(value(1), 10, 63)
		}
	case "session-timeout":
		s.SessionTimeout, err = seconds(value(0))
	case "explicit-exit-notify":
		s.ExitNotify, err = strconv.Atoi(orElse(value(0), "1"))
		s.ExitNotify = max(s.ExitNotify, 0)
	case "shaper":
		n, err := strconv.Atoi(value(0))
		if err != nil || n < MinShaper || n > MaxShaper {
			return false, nil
		}
		s.Shaper = n
	case "cipher":
		s.cipher = value(0)
	case "auth-token":
		s.token = value(0)
	case "peer-id":
		var id uint64
		id, err = strconv.ParseUint(value(0), 10, 24)
		s.peerID, s.numbered = uint32(id), true
	case "key-derivation":
		if value(0) != "tls-ekm" {
			return true, fmt.Errorf("this end derives keys by tls-ekm only")
		}
		s.export = true
	case "protocol-flags":
		return true, s.flags(values)
	case "tun-mtu":
		s.Network.MTU, err = strconv.Atoi(value(0))
		if err == nil && (s.Network.MTU < 100 || s.Network.MTU > 65535) {
			err = fmt.Errorf("no MTU is %d", s.Network.MTU)
		}
	case "comp-lzo", "compress":
		return true, fmt.Errorf("this end does not compress; take the option out of the server's configuration")
	default:
		return s.takeNetwork(name, value)
	}
	return true, err
}

func seconds(text string) (time.Duration, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return time.Duration(n) * time.Second, err
}

func (s *settings) flags(names []string) error {
	for _, name := range names {
		switch name {
		case "cc-exit":
			s.exitNotify = true
		case "tls-ekm":
			s.export = true
		case "dyn-tls-crypt":
			s.dynamic = true
		default:
			return fmt.Errorf("this end does not know the flag %q", name)
		}
	}
	return nil
}

// takeNetwork takes the options for the station behind the link. What of them is not
// well formed is left to the log like what is not known.
func (s *settings) takeNetwork(name string, value func(int) string) (done bool, err error) {
	switch name {
	case "ifconfig":
		addr, ok := prefix4(value(0), value(1))
		if ok {
			s.Network.Addr4 = addr
		}
		return ok, nil
	case "ifconfig-ipv6":
		p, err := netip.ParsePrefix(value(0))
		if err != nil || !p.Addr().Is6() {
			return false, nil
		}
		s.Network.Addr6 = p
		return true, nil
	case "route-gateway":
		s.gateway4, err = netip.ParseAddr(value(0))
		return err == nil, nil
	case "route-ipv6-gateway":
		s.gateway6, err = netip.ParseAddr(value(0))
		return err == nil, nil
	case "route-metric":
		s.metric, err = strconv.Atoi(value(0))
		return err == nil, nil
	case "route":
		mask := orElse(value(1), "255.255.255.255")
		to, ok := prefix4(value(0), orElse(strings.TrimPrefix(mask, "default"), "255.255.255.255"))
		metric, _ := strconv.Atoi(value(3))
		s.routes = append(s.routes, route{to.Masked(), value(2), metric})
		return ok, nil
	case "route-ipv6":
		to, err := netip.ParsePrefix(value(0))
		metric, _ := strconv.Atoi(value(2))
		s.routes = append(s.routes, route{to.Masked(), value(1), metric})
		return err == nil, nil
	case "dhcp-option":
		addr, err := netip.ParseAddr(value(1))
		switch {
		case strings.HasPrefix(value(0), "DNS") && err == nil:
			s.Network.DNS = append(s.Network.DNS, addr)
			return true, nil
		case value(0) == "DOMAIN":
			s.Network.Domain = value(1)
			return true, nil
		}
	}
	return false, nil
}

// prefix4 is an IPv4 address with its netmask.
func prefix4(addr, mask string) (netip.Prefix, bool) {
	a, errAddr := netip.ParseAddr(addr)
	m, errMask := netip.ParseAddr(mask)
	if errAddr != nil || errMask != nil || !a.Is4() || !m.Is4() {
		return netip.Prefix{}, false
	}
	ones := 0
	bits := m.As4()
	for ones < 32 && bits[ones/8]&(0x80>>(ones%8)) != 0 {
		ones++
	}
	p := netip.PrefixFrom(a, ones)
	want := netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), ones).Masked().Addr()
	return p, want == m
}

// addRoute puts a route to the network, through the server's gateway where it names
// no other. Those that go past the link are not its business.
func (s *settings) addRoute(r route) {
	gateway := s.gateway4
	if r.to.Addr().Is6() {
		gateway = s.gateway6
	}
	switch r.via {
	case "", "default", "vpn_gateway":
	case "net_gateway":
		s.Ignored = append(s.Ignored, fmt.Sprintf("route %v net_gateway", r.to))
		return
	default:
		via, err := netip.ParseAddr(r.via)
		if err != nil {
			s.Ignored = append(s.Ignored, fmt.Sprintf("route %v %s", r.to, r.via))
			return
		}
		gateway = via
	}
	if !r.to.IsValid() || !gateway.IsValid() {
		s.Ignored = append(s.Ignored, fmt.Sprintf("route %v: it has no gateway", r.to))
		return
	}
	metric := r.metric
	if metric == 0 {
		metric = s.metric
	}
	s.Network.Routes = append(s.Network.Routes, ethernet.Route{To: r.to, Via: gateway, Metric: metric})
}
