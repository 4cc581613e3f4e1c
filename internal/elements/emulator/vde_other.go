//go:build !linux

package emulator

import (
	"errors"
	"runtime"
)

func errNoVDE(what string) error {
	return errors.New("tmelink has " + what + " only on Linux, not on " + runtime.GOOS +
		"; use tme/host/qemu/stream, or tme/host/openvpn/socket/link to a machine that has them")
}

func (p *Plug) begin() error { return errNoVDE("plugs of vde_switch") }

func (s *VDESwitch) begin() error { return errNoVDE("switches for vde_plug") }

// Close closes the ports.
func (s *VDESwitch) Close() error {
	s.cancel()
	return s.Switch.Close()
}
