package main

import (
	"fmt"
	"strings"
)

// contender is a subject and how it is set up.
type contender struct {
	Subject
	needs   []string // programs
	real    bool     // with real segments on the wire
	tmelink bool     // needs tmelink
	build   func(*site) (*network, error)
}

// network is a subject that was set up: what traffic goes between, and whose
// processor time it takes.
type network struct {
	client, server         host
	clientAddr, serverAddr string
	ends                   []*process // empty where the kernel does it all

	// again starts an end anew after it was stopped, for a tunnel whose ends agree
	// on keys: first the one that waits for the other.
	again []func() (*process, error)
}

// Addresses of the hosts on the wire, and inside the tunnel.
const (
	outerA, outerB = "10.99.0.1", "10.99.0.2"
	innerA, innerB = "10.98.0.1", "10.98.0.2"
)

const (
	overUDP   = "over UDP"
	overTCP   = "over TCP"
	keyedUDP  = "with keys, over UDP"
	keyedTCP  = "with keys, over TCP"
	realWire  = "over UDP, real segments"
	oneHost   = "Ethernet on one host"
	userNAT   = "user-mode NAT"
	vdeSwitch = "VDE switch on one host"
	noTunnel  = "no tunnel"
)

// contenders are all subjects, in the order of the table. That is also the order
// of a round.
var contenders = []contender{
	{
		Subject: Subject{Name: "tmelink-udp", Group: overUDP, Base: "openvpn-udp", Ours: true,
			What: "a TAP and a link in each host, one machine description each"},
		tmelink: true, build: pair(tmelinkEnd, "udp", "udp", noKeys),
	}, {
		Subject: Subject{Name: "tmelink+openvpn", Group: overUDP, Base: "openvpn-udp", Ours: true,
			What: "tmelink in one host, an unmodified OpenVPN in the other"},
		tmelink: true, needs: []string{"openvpn"}, build: buildMixed,
	}, {
		Subject: Subject{Name: "tmelink-bpf", Group: overUDP, Base: "openvpn-udp", Ours: true,
			What: "as tmelink-udp, but in the first host a packet socket on a veth, behind which a third host is, in place of the TAP"},
		tmelink: true, build: buildBPF,
	}, {
		Subject: Subject{Name: "openvpn-udp", Group: overUDP, Base: "openvpn-udp",
			What: "OpenVPN without keys, `--dev tap`, all else at its defaults"},
		needs: []string{"openvpn"}, build: pair(openvpnEnd, "udp", "udp", noKeys),
	}, {
		Subject: Subject{Name: "wireguard-go", Group: overUDP, Base: "openvpn-udp",
			What: "layer 3: it carries IP packets and no Ethernet; it encrypts, which cannot be turned off; its own MTU of 1420"},
		needs: []string{"wireguard-go", "wg"}, build: buildWireGuard,
	}, {
		Subject: Subject{Name: "socat-udp", Group: overUDP, Base: "openvpn-udp",
			What: "socat between a TAP and a UDP socket; its large frames go as IP fragments"},
		needs: []string{"socat"}, build: buildSocat,
	}, {
		Subject: Subject{Name: "vxlan", Group: overUDP, Base: "openvpn-udp",
			What: "the kernel's own tunnel, to a unicast remote; its own MTU of 1450"},
		build: buildVXLAN,
	}, {
		Subject: Subject{Name: "tmelink-tcp", Group: overTCP, Base: "openvpn-tcp", Ours: true,
			What: "as tmelink-udp, with `--proto tcp-server` and `tcp-client`"},
		tmelink: true, build: pair(tmelinkEnd, "tcp-server", "tcp-client", noKeys),
	}, {
		Subject: Subject{Name: "openvpn-tcp", Group: overTCP, Base: "openvpn-tcp",
			What: "as openvpn-udp, with `--proto tcp-server` and `tcp-client`"},
		needs: []string{"openvpn"}, build: pair(openvpnEnd, "tcp-server", "tcp-client", noKeys),
	}, {
		Subject: Subject{Name: "vde", Group: overTCP, Base: "openvpn-tcp",
			What: "a vde_switch with a TAP in each host, joined by a vde_plug in each and a TCP connection between these"},
		needs: []string{"vde_switch", "vde_plug", "socat"}, build: buildVDE,
	}, {
		Subject: Subject{Name: "tmelink-udp-gcm", Group: keyedUDP, Base: "openvpn-udp-gcm", Ours: true,
			What: "as tmelink-udp, private by TLS with AES-256-GCM: each end knows the other by its certificate's fingerprint"},
		tmelink: true, build: pair(tmelinkEnd, "udp", "udp", byTLS("AES-256-GCM")),
	}, {
		Subject: Subject{Name: "openvpn-udp-gcm", Group: keyedUDP, Base: "openvpn-udp-gcm",
			What: "OpenVPN with the same options: `--tls-server` and `--tls-client` between two ends, with `--peer-fingerprint` and `--data-ciphers AES-256-GCM`"},
		needs: []string{"openvpn"}, build: pair(openvpnEnd, "udp", "udp", byTLS("AES-256-GCM")),
	}, {
		Subject: Subject{Name: "tmelink-udp-chacha", Group: keyedUDP, Base: "openvpn-udp-chacha", Ours: true,
			What: "as tmelink-udp-gcm, with CHACHA20-POLY1305"},
		tmelink: true, build: pair(tmelinkEnd, "udp", "udp", byTLS("CHACHA20-POLY1305")),
	}, {
		Subject: Subject{Name: "openvpn-udp-chacha", Group: keyedUDP, Base: "openvpn-udp-chacha",
			What: "as openvpn-udp-gcm, with CHACHA20-POLY1305"},
		needs: []string{"openvpn"}, build: pair(openvpnEnd, "udp", "udp", byTLS("CHACHA20-POLY1305")),
	}, {
		Subject: Subject{Name: "tmelink-udp-static", Group: keyedUDP, Base: "openvpn-udp-static", Ours: true,
			What: "as tmelink-udp, with a static key: `--secret`, `--cipher AES-256-CBC`, `--auth SHA256`"},
		tmelink: true, build: pair(tmelinkEnd, "udp", "udp", byStaticKey),
	}, {
		Subject: Subject{Name: "openvpn-udp-static", Group: keyedUDP, Base: "openvpn-udp-static",
			What: "OpenVPN with the same options"},
		needs: []string{"openvpn"}, build: pair(openvpnEnd, "udp", "udp", byStaticKey),
	}, {
		Subject: Subject{Name: "tmelink-tcp-gcm", Group: keyedTCP, Base: "openvpn-tcp-gcm", Ours: true,
			What: "as tmelink-udp-gcm, with `--proto tcp-server` and `tcp-client`"},
		tmelink: true, build: pair(tmelinkEnd, "tcp-server", "tcp-client", byTLS("AES-256-GCM")),
	}, {
		Subject: Subject{Name: "openvpn-tcp-gcm", Group: keyedTCP, Base: "openvpn-tcp-gcm",
			What: "as openvpn-udp-gcm, with `--proto tcp-server` and `tcp-client`"},
		needs: []string{"openvpn"}, build: pair(openvpnEnd, "tcp-server", "tcp-client", byTLS("AES-256-GCM")),
	}, {
		Subject: Subject{Name: "tmelink-udp-real", Title: "tmelink-udp, real segments", Group: realWire, Base: "openvpn-udp-real", Ours: true,
			What: "tmelink-udp again"},
		tmelink: true, needs: []string{"ethtool"}, real: true, build: pair(tmelinkEnd, "udp", "udp", noKeys),
	}, {
		Subject: Subject{Name: "openvpn-udp-real", Title: "openvpn-udp, real segments", Group: realWire, Base: "openvpn-udp-real",
			What: "openvpn-udp again"},
		needs: []string{"openvpn", "ethtool"}, real: true, build: pair(openvpnEnd, "udp", "udp", noKeys),
	}, {
		Subject: Subject{Name: "vxlan-real", Title: "vxlan, real segments", Group: realWire, Base: "openvpn-udp-real",
			What: "vxlan again"},
		needs: []string{"ethtool"}, real: true, build: buildVXLAN,
	}, {
		Subject: Subject{Name: "tmelink-switch", Group: oneHost, Base: "bridge", Ours: true,
			What: "one tmelink with a switch between two TAPs, each in a host of its own"},
		tmelink: true, build: buildSwitch,
	}, {
		Subject: Subject{Name: "bridge", Group: oneHost, Base: "bridge",
			What: "the kernel's bridge in a third host, with a veth pair to each of the two"},
		build: buildBridge,
	}, {
		Subject: Subject{Name: "tmelink-vde", Group: vdeSwitch, Base: "vde_switch", Ours: true,
			What: "tme/host/vde/switch, with a tmelink in each host between a TAP and a plug of the switch"},
		tmelink: true, build: overVDE(startOurVDESwitch),
	}, {
		Subject: Subject{Name: "vde_switch", Group: vdeSwitch, Base: "vde_switch",
			What: "vde_switch with the same plugs"},
		tmelink: true, needs: []string{"vde_switch"}, build: overVDE(startVDESwitch),
	}, {
		Subject: Subject{Name: "tmelink-nat", Group: userNAT, Base: "slirp4netns", Ours: true,
			What: "tme/host/nat with a TAP in the guest, MTU 1500"},
		tmelink: true, build: behind(startNAT),
	}, {
		Subject: Subject{Name: "slirp4netns", Group: userNAT, Base: "slirp4netns",
			What: "slirp4netns with its TAP in the guest, `--mtu=1500`"},
		needs: []string{"slirp4netns"}, build: behind(startSlirp),
	}, {
		Subject: Subject{Name: "plain-veth", Group: noTunnel, Base: "openvpn-udp",
			What: "the wire itself: what the two hosts do without any tunnel"},
		build: buildWire,
	},
}

func init() {
	for i := range contenders {
		if s := &contenders[i].Subject; s.Title == "" {
			s.Title = s.Name
		}
	}
}

// wire makes the two hosts and the veth pair between them.
//
// A veth pair hands on super-packets and unfinished checksums whole, as no
// network card's wire does, which flatters whatever sends large packets: tmelink
// and the kernel's tunnels. With real segments the sending end has to cut them.
func (s *site) wire() (a, b host, err error) {
	if a, err = s.host("a"); err != nil {
		return
	}
	if b, err = s.host("b"); err != nil {
		return
	}
	if err = s.cable(a, "wire", outerA, b, "wire", outerB); err != nil {
		return
	}
	// By the route, because a namespace may not set its default to one that the
	// host has not allowed to everybody.
	for h, addr := range map[host]string{a: outerA, b: outerB} {
		if err = s.ip(h, "route change 10.99.0.0/24 dev wire proto kernel scope link src "+addr+" congctl "+s.congestion); err != nil {
			return a, b, fmt.Errorf("set TCP's congestion control (see --congestion): %w", err)
		}
	}
	if !s.real {
		return
	}
	for _, h := range []host{a, b} {
		if err = command(s.ctx, "ip", append([]string{"netns", "exec", string(h)}, strings.Fields("ethtool -K wire gso off tso off "+
			"tx-udp-segmentation off tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off")...)...); err != nil {
			return
		}
	}
	return
}

// tunnel sets up a tunnel with a program at each end.
func (s *site) tunnel(endA, endB func(host) (*process, error)) (*network, error) {
	a, b, err := s.wire()
	if err != nil {
		return nil, err
	}
	one, err := endA(a)
	if err != nil {
		return nil, err
	}
	two, err := endB(b)
	if err != nil {
		return nil, err
	}
	return &network{client: a, server: b, clientAddr: innerA, serverAddr: innerB, ends: []*process{one, two}}, nil
}

func buildWire(s *site) (*network, error) {
	a, b, err := s.wire()
	return &network{client: a, server: b, clientAddr: outerA, serverAddr: outerB}, err
}

const tap = "tap0: tme/host/tun/tap netmask 255.255.255.0 nat none inet "

// end is one end of a tunnel: the program's addresses and what else it is told.
type end struct {
	inner, local, remote string
	proto                string
	keys                 string // OpenVPN's options, which a link has too
}

// linkAt is the statement of a link at a port.
func linkAt(port string, e end) string {
	return "link0 at " + port + ": tme/host/openvpn/socket/link --dev tap --local " + e.local + " --remote " + e.remote +
		" --proto " + e.proto + e.keys + "\n"
}

// startTmelink runs a description on a host.
func (s *site) startTmelink(h host, name, description string) (*process, error) {
	path, err := s.write(name+".tme", description)
	if err != nil {
		return nil, err
	}
	return s.start(h, s.tmelink, "run", path)
}

// program starts an end on a host.
type program func(*site, host, end) (*process, error)

func tmelinkEnd(s *site, h host, e end) (*process, error) {
	return s.startTmelink(h, string(h), tap+e.inner+"\n"+linkAt("tap0", e))
}

func openvpnEnd(s *site, h host, e end) (*process, error) {
	args := strings.Fields("openvpn --dev tap --ifconfig " + e.inner + " 255.255.255.0 --verb 1 --proto " + e.proto +
		" --local " + e.local + " --remote " + e.remote + e.keys)
	if e.proto != "udp" {
		args = append(args, "--connect-retry", "1", "1")
	}
	if openvpnWantsLeave() {
		args = append(args, "--allow-deprecated-insecure-static-crypto")
	}
	return s.start(h, args...)
}

// pair builds a tunnel with the same program at both ends. The first one is the
// server, where there are a server and a client.
func pair(start program, protoA, protoB string, keys keying) func(*site) (*network, error) {
	return func(s *site) (*network, error) {
		keysA, keysB, err := keys.make(s)
		if err != nil {
			return nil, err
		}
		var again []func() (*process, error)
		at := func(e end) func(host) (*process, error) {
			return func(h host) (*process, error) {
				again = append(again, func() (*process, error) { return start(s, h, e) })
				return start(s, h, e)
			}
		}
		n, err := s.tunnel(at(end{innerA, outerA, outerB, protoA, keysA}), at(end{innerB, outerB, outerA, protoB, keysB}))
		if err == nil && keys.agreed {
			n.again = again
		}
		return n, err
	}
}

func buildMixed(s *site) (*network, error) {
	return s.tunnel(func(a host) (*process, error) {
		return tmelinkEnd(s, a, end{inner: innerA, local: outerA, remote: outerB, proto: "udp"})
	}, func(b host) (*process, error) {
		return openvpnEnd(s, b, end{inner: innerB, local: outerB, remote: outerA, proto: "udp"})
	})
}

func buildBPF(s *site) (*network, error) {
	var h host
	n, err := s.tunnel(func(a host) (*process, error) {
		var err error
		if h, err = s.host("h"); err != nil {
			return nil, err
		}
		if err := s.cable(h, "hv0", innerA, a, "hv1", ""); err != nil {
			return nil, err
		}
		return s.startTmelink(a, "a", "bpf0: tme/host/bsd/bpf interface hv1\n"+linkAt("bpf0", end{local: outerA, remote: outerB, proto: "udp"}))
	}, func(b host) (*process, error) {
		return tmelinkEnd(s, b, end{inner: innerB, local: outerB, remote: outerA, proto: "udp"})
	})
	if err != nil {
		return nil, err
	}
	n.client = h
	return n, nil
}

func buildSwitch(s *site) (*network, error) {
	a, b, h, err := s.threeHosts("h") // where tmelink runs
	if err != nil {
		return nil, err
	}
	p, err := s.startTmelink(h, "switch", "sw0: tme/generic/switch\n"+
		"tap0 at sw0: tme/host/tun/tap netmask 255.255.255.0 nat none inet "+innerA+" netns "+string(a)+"\n"+
		"tap1 at sw0: tme/host/tun/tap netmask 255.255.255.0 nat none inet "+innerB+" netns "+string(b)+"\n")
	return &network{client: a, server: b, clientAddr: innerA, serverAddr: innerB, ends: []*process{p}}, err
}
