package nic

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tmelink/internal/ethernet"
)

// networkPatience is how long a command waits for the host's first address.
const networkPatience = time.Minute

// networkState is what the interface knows of the network that a link's peer
// hands out to the built-in host.
type networkState struct {
	guided   bool              // a link may hand one out
	wanted   *ethernet.Network // by the last SetNetwork
	carried  *ethernet.Network // the one that was carried out as a whole
	given    bool              // the host has got something of one
	known    chan struct{}     // closed once an address was handed out
	patience time.Duration
}

func newNetworkState() networkState {
	return networkState{known: make(chan struct{}), patience: networkPatience}
}

var (
	_ ethernet.Station = (*port)(nil)
	_ ethernet.Guided  = (*port)(nil)
)

// SetNetwork sets the built-in host up as a link has learned.
func (p *port) SetNetwork(n *ethernet.Network) error { return p.of.setNetwork(n) }

func (i *Interface) guided() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.network.guided
}

func (i *Interface) setNetwork(n *ethernet.Network) error {
	if n != nil {
		if err := n.Check(); err != nil {
			return fmt.Errorf("set up the built-in host as the link's peer asks: %w", err)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.network.guided, i.network.wanted = true, n
	if i.services == nil {
		return nil
	}
	return i.follow()
}

// follow sets the running host up with what is wanted now, in place of what was.
func (i *Interface) follow() error {
	s := &i.network
	if s.wanted == nil && !s.given || s.wanted != nil && s.carried.Equal(s.wanted) {
		return nil
	}
	s.carried, s.given = nil, s.wanted != nil
	if s.wanted == nil {
		i.env.Log.Info("the built-in host is no longer set up as the link's peer asked")
		return errors.Join(i.host.SetNetwork(nil), i.services.follow())
	}
	n, aside := s.wanted.Yield(i.own)
	if n.MTU > ethernet.MTU {
		aside, n.MTU = append(aside, fmt.Sprintf("mtu %d", n.MTU)), 0
	}
	if aside != nil {
		i.env.Log.Info("part of what the link's peer hands out is left aside: the description says otherwise", "aside", strings.Join(aside, ", "))
	}
	err := errors.Join(i.host.SetNetwork(&n), i.services.follow())
	if err == nil {
		s.carried = s.wanted
	}
	i.env.Log.Info("the built-in host is set up as the link's peer asks", "addrs", i.host.Addrs(), "mtu", n.MTU, "routes", len(n.Routes), "dns", n.DNS, "domain", n.Domain)
	select {
	case <-s.known:
	default:
		if len(n.Addrs()) > 0 {
			close(s.known)
		}
	}
	return err
}

// awaitAddress waits until a host that has no address of its own has been given
// one.
func (i *Interface) awaitAddress(ctx context.Context) error {
	if len(i.own.Addrs()) > 0 {
		return nil
	}
	select {
	case <-i.network.known:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(i.network.patience):
		return fmt.Errorf("%s has no address: its link's peer has handed out none within %v", i.env.Name, i.network.patience)
	}
}
