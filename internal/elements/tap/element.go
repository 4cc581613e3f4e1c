// Package tap is the element types of a TAP device: an Ethernet interface of the
// host's, whose wire is the element's port.
//
// What the host sends by the interface comes out of ReadFrames, and what
// WriteFrames is given comes in at the host. Other programs share the interface
// through packet sockets; what they send by it reaches only the port, and the
// port gives the host its share (see reflect.go). The device and all that is
// done for it on the host is package hostnet's, and is undone by Close.
//
// One device, two types: config is what their words come to, tme.go holds TME's
// words and openvpn.go OpenVPN's.
package tap

import (
	"context"
	"sync"
	"sync/atomic"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// tap is one TAP device of a description.
type tap struct {
	env    element.Env
	cfg    config
	port   port
	status atomic.Pointer[string]

	// mu is held by whoever opens, closes or sets up the device: not only the
	// machine's goroutine, but also one that has learned of a network.
	mu     sync.Mutex
	device device
}

func newTap(env element.Env, cfg config) *tap {
	t := &tap{env: env, cfg: cfg}
	t.port.tap = t
	t.say("not open")
	return t
}

// Attach gives the device's one port. A connection has no arguments here.
func (t *tap) Attach(args element.Args) (ethernet.Port, error) {
	if err := args.Parse(nil); err != nil {
		return nil, err
	}
	return &t.port, nil
}

// Start opens the device and configures the host.
func (t *tap) Start(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.start(ctx)
}

// Close ends the port and takes back all that Start did.
func (t *tap) Close() error {
	t.port.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.stop()
	t.say("closed")
	return err
}

// SetNetwork sets the host up as a link has learned; see network_linux.go.
func (p *port) SetNetwork(n *ethernet.Network) error { return p.tap.setNetwork(n) }

var _ ethernet.Guided = (*port)(nil)

// Status names the interface and what it has.
func (t *tap) Status() string { return *t.status.Load() }

func (t *tap) say(status string) { t.status.Store(&status) }
