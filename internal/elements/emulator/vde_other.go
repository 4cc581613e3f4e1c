//go:build !linux

package emulator

import (
	"errors"
	"runtime"
)

func (p *Plug) begin() error {
	return errors.New("tmelink has plugs of vde_switch only on Linux, not on " + runtime.GOOS +
		"; use tme/host/qemu/stream, or tme/host/openvpn/socket/link to a machine that has them")
}
