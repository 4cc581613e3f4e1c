package bpf

import (
	"context"
	"errors"
	"net"

	"tmelink/internal/hostnet"
)

// pair is what Start has opened.
type pair struct {
	ns   *hostnet.Namespace
	veth *hostnet.Veth
}

func (n *Netns) start(context.Context) (err error) {
	if n.pair.ns, err = hostnet.OpenNamespace(n.config.name); err != nil {
		return err
	}
	veth, err := n.pair.ns.OpenVeth(hostnet.VethOptions{Name: n.config.iface, Addr: n.config.hwaddr, Inet: n.config.inet, MTU: n.config.mtu})
	if err != nil {
		return err
	}
	n.pair.veth = veth
	if err := veth.Do(func() error {
		ifi, err := net.InterfaceByName(hostnet.NearEnd)
		if err != nil {
			return err
		}
		ifi.Name = veth.Name // what it leads to, by which errors and the log name it
		return n.port.open(ifi)
	}); err != nil {
		return err
	}
	n.port.dev.lookUp = func(index int) (ifi *net.Interface, err error) {
		err = veth.Do(func() error {
			ifi, err = net.InterfaceByIndex(index)
			return err
		})
		return ifi, err
	}
	n.log.Info("interface "+veth.Name+" in network namespace "+n.config.name, "mtu", n.config.mtu)
	return nil
}

func (n *Netns) stop() error {
	err := n.port.Close()
	if n.pair.veth != nil {
		err = errors.Join(err, n.pair.veth.Close())
	}
	if n.pair.ns != nil {
		err = errors.Join(err, n.pair.ns.Close())
	}
	n.pair = pair{}
	return err
}
