package main

// This file sets up switches that speak VDE, with the same plugs for each: in two hosts
// a tmelink between a TAP and the switch.

// overVDE builds the network of a switch that start starts on a host of its own; its
// folder is the one given.
func overVDE(start func(s *site, h host, folder string) (*process, error)) func(*site) (*network, error) {
	return func(s *site) (*network, error) {
		a, b, h, err := s.threeHosts("sw")
		if err != nil {
			return nil, err
		}
		folder := s.dir + "/vde"
		p, err := start(s, h, folder)
		if err != nil {
			return nil, err
		}
		for end, inner := range map[host]string{a: innerA, b: innerB} {
			if _, err := s.startTmelink(end, string(end), tap+inner+"\nvde0 at tap0: tme/host/vde/plug "+folder+"\n"); err != nil {
				return nil, err
			}
		}
		return &network{client: a, server: b, clientAddr: innerA, serverAddr: innerB, ends: []*process{p}}, nil
	}
}

func startVDESwitch(s *site, h host, folder string) (*process, error) {
	return s.start(h, "vde_switch", "-s", folder)
}

func startOurVDESwitch(s *site, h host, folder string) (*process, error) {
	return s.startTmelink(h, "switch", "sw0: tme/host/vde/switch "+folder+"\n")
}
