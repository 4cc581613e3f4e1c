package main

import (
	"strings"
	"time"
)

// This file sets up what tmelink is compared with, but OpenVPN.

// steps runs ip(8) on a host with each line of a text.
func (s *site) steps(h host, text string) error {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := s.ip(h, line); err != nil {
			return err
		}
	}
	return nil
}

func buildWireGuard(s *site) (*network, error) {
	type key struct{ file, public string }
	a, b, err := s.wire()
	if err != nil {
		return nil, err
	}
	newKey := func(name string) (key, error) {
		private, err := s.run(a, 5*time.Second, "wg", "genkey")
		if err != nil {
			return key{}, err
		}
		file, err := s.write(name, private)
		if err != nil {
			return key{}, err
		}
		public, err := s.run(a, 5*time.Second, "sh", "-c", "wg pubkey <"+file)
		return key{file, strings.TrimSpace(public)}, err
	}
	keyA, err := newKey("key-a")
	if err != nil {
		return nil, err
	}
	keyB, err := newKey("key-b")
	if err != nil {
		return nil, err
	}
	n := &network{client: a, server: b, clientAddr: innerA, serverAddr: innerB}
	for _, end := range []struct {
		h             host
		own, peer     key
		inner, remote string
	}{{a, keyA, keyB, innerA, outerB}, {b, keyB, keyA, innerB, outerA}} {
		// Its control socket has the interface's name, in a directory of the whole system.
		dev := "wg" + strings.TrimPrefix(string(end.h), hostPrefix)
		p, err := s.start(end.h, "wireguard-go", "-f", dev)
		if err != nil {
			return nil, err
		}
		n.ends = append(n.ends, p)
		if err := s.until(p, 5*time.Second, func() error {
			_, err := s.run(end.h, 5*time.Second, "wg", "set", dev, "private-key", end.own.file, "listen-port", "51820",
				"peer", end.peer.public, "allowed-ips", innerA+"/24", "endpoint", end.remote+":51820")
			return err
		}); err != nil {
			return nil, err
		}
		if err := s.steps(end.h, "addr add "+end.inner+"/24 dev "+dev+"\n link set "+dev+" up"); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func buildSocat(s *site) (*network, error) {
	end := func(inner, local, remote string) func(host) (*process, error) {
		return func(h host) (*process, error) {
			return s.start(h, "socat", "TUN:"+inner+"/24,tun-type=tap,iff-no-pi,up", "UDP4-DATAGRAM:"+remote+":1194,bind="+local+":1194")
		}
	}
	return s.tunnel(end(innerA, outerA, outerB), end(innerB, outerB, outerA))
}

func buildVXLAN(s *site) (*network, error) {
	a, b, err := s.wire()
	if err != nil {
		return nil, err
	}
	for _, end := range []struct {
		h                    host
		inner, local, remote string
	}{{a, innerA, outerA, outerB}, {b, innerB, outerB, outerA}} {
		if err := s.steps(end.h, `link add vx0 type vxlan id 7 dstport 4789 dev wire local `+end.local+` remote `+end.remote+`
			addr add `+end.inner+`/24 dev vx0
			link set vx0 up`); err != nil {
			return nil, err
		}
	}
	return &network{client: a, server: b, clientAddr: innerA, serverAddr: innerB}, nil
}

func buildVDE(s *site) (*network, error) {
	a, b, err := s.wire()
	if err != nil {
		return nil, err
	}
	n := &network{client: a, server: b, clientAddr: innerA, serverAddr: innerB}
	for _, end := range []struct {
		h                   host
		dir, inner, connect string
	}{
		{a, s.dir + "/a", innerA, "TCP-LISTEN:1194,bind=" + outerA + ",nodelay"},
		{b, s.dir + "/b", innerB, "TCP:" + outerA + ":1194,nodelay,retry=50,interval=0.1"},
	} {
		sw, err := s.start(end.h, "vde_switch", "-tap", "tap0", "-s", end.dir)
		if err != nil {
			return nil, err
		}
		if err := s.until(sw, 5*time.Second, func() error { return s.ip(end.h, "addr add "+end.inner+"/24 dev tap0") }); err != nil {
			return nil, err
		}
		if err := s.ip(end.h, "link set tap0 up"); err != nil {
			return nil, err
		}
		// socat only makes the connection, and then becomes the plug (nofork).
		plug, err := s.start(end.h, "socat", end.connect, "EXEC:vde_plug "+end.dir+",nofork")
		if err != nil {
			return nil, err
		}
		n.ends = append(n.ends, sw, plug)
	}
	return n, nil
}

func buildBridge(s *site) (*network, error) {
	a, b, c, err := s.threeHosts("c")
	if err != nil {
		return nil, err
	}
	if err := s.cable(a, "eth0", innerA, c, "port1", ""); err != nil {
		return nil, err
	}
	if err := s.cable(b, "eth0", innerB, c, "port2", ""); err != nil {
		return nil, err
	}
	err = s.steps(c, `link add br0 type bridge
		link set port1 master br0
		link set port2 master br0
		link set br0 up`)
	return &network{client: a, server: b, clientAddr: innerA, serverAddr: innerB}, err
}

// until tries again and again what needs a process to be ready, at most d.
func (s *site) until(p *process, d time.Duration, try func() error) error {
	for end := time.Now().Add(d); ; {
		err := try()
		if err == nil || time.Now().After(end) {
			return err
		}
		if err := p.ended(); err != nil {
			return err
		}
		if err := pause(s.ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
