//go:build !linux

package bpf

import (
	"context"
	"errors"
)

type pair struct{}

func (n *Netns) start(context.Context) error {
	return errors.New("make an interface in a network namespace: only Linux has them; use tme/host/bsd/bpf and an interface's name, or a machine's own interface such as tme/ic/am7990")
}

func (n *Netns) stop() error { return n.port.Close() }
