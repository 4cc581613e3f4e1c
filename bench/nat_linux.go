package main

import (
	"strconv"
	"time"
)

// This file sets up user-mode NATs: a guest, whose TAP has an MTU of 1500 and leads to a
// gateway by whose ordinary sockets it reaches a server outside.

// slirp4netns has these addresses for the gateway and the guest.
const natGateway, natGuest = "10.0.2.2", "10.0.2.100"

// behind builds the network of a guest behind a gateway, which start starts on a host of
// its own and gives the guest its TAP.
func behind(start func(s *site, guest, gateway host) (*process, error)) func(*site) (*network, error) {
	return func(s *site) (*network, error) {
		guest, server, gateway, err := s.threeHosts("nat")
		if err != nil {
			return nil, err
		}
		if err := s.cable(gateway, "wire", outerA, server, "wire", outerB); err != nil {
			return nil, err
		}
		// Without it nobody may ping by an ordinary socket (icmp(7)).
		if _, err := s.run(gateway, 5*time.Second, "sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"); err != nil {
			return nil, err
		}
		p, err := start(s, guest, gateway)
		if err != nil {
			return nil, err
		}
		return &network{client: guest, server: server, clientAddr: natGuest, serverAddr: outerB, ends: []*process{p}}, nil
	}
}

func startNAT(s *site, guest, gateway host) (*process, error) {
	p, err := s.startTmelink(gateway, "nat", "nat0: tme/host/nat inet "+natGateway+"/24\n"+
		"tap0 at nat0: tme/host/tun/tap netmask 255.255.255.0 nat none inet "+natGuest+" netns "+string(guest)+"\n")
	if err != nil {
		return nil, err
	}
	return p, s.until(p, 5*time.Second, func() error { return s.ip(guest, "route add default via "+natGateway) })
}

func startSlirp(s *site, guest, gateway host) (*process, error) {
	inside, err := s.start(guest, "sleep", "infinity")
	if err != nil {
		return nil, err
	}
	return s.start(gateway, "slirp4netns", "--configure", "--mtu=1500", "--disable-host-loopback", strconv.Itoa(inside.cmd.Process.Pid), "tap0")
}
