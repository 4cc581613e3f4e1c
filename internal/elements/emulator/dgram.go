package emulator

import (
	"context"
	"fmt"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
	"tmelink/internal/transport/unixsock"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/qemu/dgram",
		Summary: "a cable to an emulator on this host: QEMU's -netdev dgram over Unix sockets",
		Doc: `Each frame goes in a datagram of its own, from the socket of one end to that of the other; the same words the other way round connect QEMU (7.2 and later), or a second tmelink:

    q0 at sw0: tme/host/qemu/dgram local /run/t0.sock remote /run/q0.sock
    qemu-system-x86_64 … -netdev dgram,id=n0,local.type=unix,local.path=/run/q0.sock,remote.type=unix,remote.path=/run/t0.sock -device e1000,netdev=n0

The emulator may come later than tmelink, go, and come again; frames for one that is away are dropped. A local socket that a killed process has left is replaced; one that is alive is an error.

Only what the remote's socket sends is let in, told by its path. One that was given a relative path is told by the last element of it, and a sender without a path is let in: mode says who may send at all.

The kernel holds 10 datagrams for a socket that is not read, or as many as the host's net.unix.max_dgram_qlen says, so that only so many frames travel together, and QEMU may let one overtake another when there are more; tme/host/qemu/stream carries hundreds together and in their order. An empty datagram, which would stop QEMU's reception for good, is never sent, and dropped where it comes in. Frames are sent as they are, also those below 60 bytes, which QEMU's network cards fill up.

Not on Windows, which has no Unix datagrams.`,
		Example:        "sw0: tme/generic/switch\nq0 at sw0: tme/host/qemu/dgram local /tmp/t0.sock remote /tmp/q0.sock",
		MaxConnections: 1,
		Options:        (&dgramConfig{}).options(element.Env{}),
		New:            newDgram,
	})
}

// dgramConfig is what the arguments say.
type dgramConfig struct {
	local, remote path
	mode          mode
	mtu           int
}

func (c *dgramConfig) options(env element.Env) []element.Option {
	return []element.Option{
		pathOption(env, "local", "PATH", "Make the socket at this path: what the emulator has as remote.path.", &c.local),
		pathOption(env, "remote", "PATH", "Send to the socket at this path: what the emulator has as local.path.", &c.remote),
		modeOption(&c.mode),
		mtuOption(&c.mtu),
	}
}

// Dgram is an element of type tme/host/qemu/dgram.
type Dgram struct {
	base
	config dgramConfig
}

func newDgram(env element.Env, args element.Args) (element.Element, error) {
	c := dgramConfig{mode: mode{perm: 0o600}, mtu: ethernet.MTU}
	fault := args.Parse(c.options(env))
	switch local, remote := c.local.text, c.remote.text; {
	case fault != nil:
	case local == "":
		fault = tmesh.Faultf(args.Pos, "local PATH is missing: the socket that the emulator sends to, its remote.path")
	case remote == "":
		fault = tmesh.Faultf(args.Pos, "remote PATH is missing: the emulator's own socket, its local.path")
	case local == remote:
		fault = tmesh.Faultf(c.remote.word.Pos, "remote: that is the element's own socket; the emulator has another one")
	}
	if fault != nil {
		return nil, fault
	}
	d := &Dgram{config: c}
	d.init(env, ethernet.FrameLen(c.mtu), "emulator")
	return d, nil
}

// Start makes the socket.
func (d *Dgram) Start(context.Context) error {
	local, remote := d.config.local.text, d.config.remote.text
	if err := unixsock.CheckFolder(local); err != nil {
		return fmt.Errorf("make the socket %s: %w", local, err)
	}
	socket, err := unixsock.OpenDatagrams(unixsock.DatagramConfig{
		Config: unixsock.Config{MaxFrame: d.port.maxFrame, Counters: &d.port.counters},
		Local:  local, Mode: d.config.mode.perm, Remote: remote, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.log.Info("open at "+local, "peer", remote)
	l := newLine(socket, remote)
	l.lasting = true
	return d.port.publish(l)
}

// Close ends the element and removes its socket.
func (d *Dgram) Close() error { return d.end() }

// Status says which sockets the element has.
func (d *Dgram) Status() string {
	switch {
	case d.ctx.Err() != nil:
		return "closed"
	case d.port.line.Load() == nil:
		return "not open"
	}
	return "open at " + d.config.local.text + ", peer " + d.config.remote.text
}

// Sketch shows both sockets.
func (d *Dgram) Sketch() element.Sketch {
	local, remote := d.config.local.text, d.config.remote.text
	return element.Sketch{
		Kind: element.LinkKind, Local: "unix " + local, Remote: "unix " + remote,
		Detail: []string{"local " + local, "→ " + remote},
	}
}

var _ element.Reporter = (*Dgram)(nil)
