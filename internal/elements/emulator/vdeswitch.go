package emulator

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/elements/generic"
	"tmelink/internal/ethernet"
	"tmelink/internal/occasion"
	"tmelink/internal/transport/unixsock"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/vde/switch",
		Summary: "a virtual switch of this host into which others plug: a vde_switch",
		Doc: `The element makes the folder DIR with a socket ctl in it, as a vde_switch does. Whatever can be plugged into one is a port of the switch: QEMU's -netdev vde, User-mode Linux, VirtualBox, slirpvde, vde_plug, and tme/host/vde/plug of another tmelink. So is each connection to the element.

    vdesw0: tme/host/vde/switch /run/vde.ctl
    le0 at vdesw0
    qemu-system-x86_64 … -netdev vde,id=n0,sock=/run/vde.ctl -device e1000,netdev=n0

The switch learns as tme/generic/switch does. Who takes its frames too slowly loses its own ones and nobody else's. Frames below 60 bytes are filled up, frames longer than mtu and two VLAN tags are dropped.

A folder that a killed process has left is taken over; one with a living switch in it, with other files, or of another user is an error. The folder is removed at the end unless it was there before, with all sockets in it. At most 512 may be plugged in or about to be; who says nothing for 5 seconds after connecting is turned away, and so is who names a socket that another user owns.

Only on Linux.`,
		Example: "vdesw0: tme/host/vde/switch /run/vde.ctl\nle0 at vdesw0",
		Alone:   true,
		Options: append([]element.Option{{Name: "DIR", Doc: "The first word: the folder of the switch, in which it makes its socket ctl; a relative one counts from the description's folder."}}, (&vdeSwitchConfig{}).options()...),
		New:     newVDESwitch,
	})
}

// vdeSwitchConfig is what the arguments say.
type vdeSwitchConfig struct {
	folder path
	group  string
	mode   mode
	mtu    int
}

func (c *vdeSwitchConfig) options() []element.Option {
	return []element.Option{
		groupOption("The group of this host, by name or number, that the folder and its sockets belong to.", &c.group),
		{Name: "mode", Values: "OCTAL", Doc: "The permissions of the sockets, which say who may plug in; the default is 600, this user and root, and with group 660. Who may do so may also make its own socket in the folder.",
			Set: modeOption(&c.mode).Set},
		mtuOption(&c.mtu),
	}
}

// perm is the permissions of the sockets.
func (c *vdeSwitchConfig) perm() fs.FileMode {
	if c.mode.given.Line == 0 && c.group != "" {
		return 0o660
	}
	return c.mode.perm
}

// maxClients bounds who is plugged in or about to be. A vde_switch has 32 ports
// unless it is told otherwise.
const maxClients = 512

// VDESwitch is an element of type tme/host/vde/switch.
type VDESwitch struct {
	*generic.Switch // Attach gives a port of it
	config          vdeSwitchConfig
	log             *slog.Logger
	timeout         time.Duration // of the handshake
	listener        *unixsock.Listener
	made            bool // the folder goes with the switch
	counters        ethernet.Counters
	ctx             context.Context // ends with Close
	cancel          context.CancelFunc
	running         sync.WaitGroup

	mu      sync.Mutex
	clients map[net.Conn]int // the port of each, 0 before it has one
	ports   map[int]bool     // those in use
	turned  occasion.Occasion
}

func newVDESwitch(env element.Env, args element.Args) (element.Element, error) {
	c := vdeSwitchConfig{mode: mode{perm: 0o600}, mtu: ethernet.MTU}
	if err := parseFolder(env, args, &c.folder, c.options(), "the folder of the switch is missing: say tme/host/vde/switch DIR, where DIR is what the emulator has as its sock"); err != nil {
		return nil, err
	}
	s := &VDESwitch{
		Switch: generic.NewSwitch(env.Log), config: c, log: env.Log, timeout: handshakeTimeout,
		clients: map[net.Conn]int{}, ports: map[int]bool{}, turned: occasion.New(3, time.Minute),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Start makes the folder and its socket.
func (s *VDESwitch) Start(context.Context) error { return s.begin() }

// Status says who is plugged in.
func (s *VDESwitch) Status() string {
	if s.ctx.Err() != nil {
		return "closed"
	}
	s.mu.Lock()
	plugged := len(s.ports)
	s.mu.Unlock()
	return fmt.Sprintf("switch %s, %d plugged in, %d frames to and %d from them dropped, %s", s.config.folder.text, plugged,
		s.counters.Write.Total(), s.counters.Read.Total(), s.Switch.Status())
}

// Sketch shows the switch, and shares a wire with the plugs of it.
func (s *VDESwitch) Sketch() element.Sketch {
	return element.Sketch{Kind: element.SwitchKind, Interface: "vde " + s.config.folder.text, Detail: []string{"vde " + s.config.folder.text}}
}

// take reserves a port: the one that a client asks for, or for 0 the first that
// is free.
func (s *VDESwitch) take(conn net.Conn, asked int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := asked
	if n == 0 {
		for n = 1; s.ports[n]; n++ {
		}
	}
	if s.ports[n] {
		return 0, fmt.Errorf("port %d is another's", n)
	}
	s.ports[n], s.clients[conn] = true, n
	return n, nil
}

// enter takes up a client, unless there are too many.
func (s *VDESwitch) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) >= maxClients {
		return false
	}
	s.clients[conn] = 0
	return true
}

// leave gives back all that a client has.
func (s *VDESwitch) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ports, s.clients[conn])
	delete(s.clients, conn)
}

// turnAway tells now and then of who is not plugged in.
func (s *VDESwitch) turnAway(err error) {
	s.mu.Lock()
	times := s.turned.Due(time.Now())
	s.mu.Unlock()
	if times > 0 {
		s.log.Warn("turned away who would plug in", "err", err, "times", times)
	}
}

var _ element.Reporter = (*VDESwitch)(nil)
