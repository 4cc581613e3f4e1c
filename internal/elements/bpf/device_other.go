//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package bpf

import (
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	insn "golang.org/x/net/bpf"

	"tmelink/internal/ethernet"
)

var errPlatform = errors.New("tmelink has no packet sockets on " + runtime.GOOS +
	"; use tme/host/openvpn/socket/link to a machine that has them, or tme/generic/switch between machines here")

// device cannot be had on this platform.
// offloads: frames are sent finished.
const offloads ethernet.Offloads = 0

type device struct {
	mtu  int
	down atomic.Bool
}

func allowed() error { return errPlatform }

func openDevice(*net.Interface, config, []insn.RawInstruction, *slog.Logger, *ethernet.Counters) (*device, error) {
	return nil, errPlatform
}

func (d *device) setFilter([]insn.RawInstruction) error { return errPlatform }
func (d *device) read() ([]packet, time.Time, error)    { return nil, time.Time{}, errPlatform }
func (d *device) write([]ethernet.Frame) error          { return errPlatform }
func (d *device) countDropped()                         {}
func (d *device) close() error                          { return nil }
