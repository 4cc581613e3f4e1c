package nat

import (
	"errors"
	"io/fs"
	"net/netip"
	"time"

	"tmelink/internal/netstack"
)

// errorsPerSecond bounds the ICMP errors that guests are sent (RFC 1812, 4.3.2.8).
const errorsPerSecond = 100

// reasonOf gives the ICMP error that a socket's error stands for, if it does.
func reasonOf(err error) (netstack.Unreachable, bool) {
	switch {
	case errors.Is(err, errRefused):
		return netstack.PortUnreachable, true
	case errors.Is(err, errHostUnreachable):
		return netstack.HostUnreachable, true
	case errors.Is(err, errNetUnreachable) || errors.Is(err, errNotLocal):
		return netstack.NetUnreachable, true
	case errors.Is(err, errTooBig):
		return netstack.TooBig, true
	case errors.Is(err, fs.ErrPermission): // by a packet filter
		return netstack.Prohibited, true
	}
	return 0, false
}

// unreachable tells a guest in the name of from why what is quoted was not
// delivered; mtu is for netstack.TooBig.
func (n *NAT) unreachable(from netip.Addr, why netstack.Unreachable, q netstack.Quote, mtu int) {
	n.mu.Lock()
	due := n.icmp.Due(time.Now())
	n.mu.Unlock()
	if due == 0 {
		return
	}
	p, err := n.host.OpenPath(from, q.From)
	if err != nil {
		return
	}
	defer p.Close()
	// That an error cannot be told is no trouble of its own.
	p.SendUnreachable(why, q, mtu)
}
