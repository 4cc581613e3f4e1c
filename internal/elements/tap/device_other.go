//go:build !linux

package tap

import (
	"context"
	"errors"
	"net"

	"tmelink/internal/ethernet"
)

type device struct{}

func (t *tap) start(context.Context) error {
	return errors.New("open a tap device: this version of tmelink does so on Linux only; join a network of this host with tme/host/bsd/bpf and an interface's name, or lead the machine to a Linux host with tme/host/openvpn/socket/link")
}

func (t *tap) stop() error { return nil }

func (t *tap) setNetwork(n *ethernet.Network) error {
	if n == nil {
		return nil
	}
	return errors.New("set up the host as the link's peer asks: this version of tmelink does so on Linux only; a machine's own interface such as tme/ic/am7990 takes addresses and routes everywhere")
}

// port is never open here.
type port struct {
	counters ethernet.Counters
	tap      *tap
}

func (p *port) ReadFrames() ([]ethernet.Frame, error) { return nil, net.ErrClosed }
func (p *port) WriteFrames([]ethernet.Frame) error    { return net.ErrClosed }
func (p *port) Offloads() ethernet.Offloads           { return 0 }
func (p *port) MaxFrame() int                         { return ethernet.FrameLen(ethernet.MTU) }
func (p *port) Counters() *ethernet.Counters          { return &p.counters }
func (p *port) ReflectOnly()                          {}
func (p *port) Close() error                          { return nil }
