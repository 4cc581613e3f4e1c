package emulator

import (
	"context"
	"fmt"
	"path/filepath"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/transport/unixsock"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/gvproxy/vfkit",
		Summary: "a cable to an emulator on this host: frames in Unix datagrams, as vfkit and gvproxy",
		Doc: `Each frame goes in a datagram. One end has a socket at a path that both know, the other names its own by sending from it: vfkit, krunkit and others to gvproxy, and so to the element; or the element to gvproxy.

    v0 at sw0: tme/host/gvproxy/vfkit listen /run/v0.sock
    vfkit … --device virtio-net,unixSocketPath=/run/v0.sock,mac=5a:94:ef:e4:0c:ee

    v1 at sw0: tme/host/gvproxy/vfkit connect /run/gvproxy.sock
    gvproxy -listen-vfkit unixgram:///run/gvproxy.sock

With listen whoever sends first is the emulator, until its socket is gone; what another sends meanwhile is dropped. The word VFKT, with which an old vfkit begins, is passed over. With connect the element's own socket is in the folder of the other one, or where it may not write there in the one for temporary files; the other may come, go, and come again, and hears of the element by its next frame. Frames for one that is away are dropped, and so are empty datagrams. Frames are sent as they are, also those below 60 bytes.

Not on Windows, which has no Unix datagrams.`,
		Example:        "sw0: tme/generic/switch\nv0 at sw0: tme/host/gvproxy/vfkit listen /tmp/v0.sock",
		MaxConnections: 1,
		Options:        (&vfkitConfig{}).options(element.Env{}),
		New:            newVfkit,
	})
}

// vfkitGreeting is what an old vfkit sends first (pkg/transport/unixgram_unix.go of
// gvisor-tap-vsock).
const vfkitGreeting = "VFKT"

// vfkitConfig is what the arguments say.
type vfkitConfig struct {
	listen, connect place // one of them
	mode            mode
	mtu             int
}

func (c *vfkitConfig) options(env element.Env) []element.Option {
	return []element.Option{
		placeOption(env, "unixgram", "listen", "PATH", "Make the socket at this path, for the emulator to send to.", &c.listen),
		placeOption(env, "unixgram", "connect", "PATH", "Send to the socket that gvproxy makes at this path.", &c.connect),
		modeOption(&c.mode),
		mtuOption(&c.mtu),
	}
}

// Vfkit is an element of type tme/host/gvproxy/vfkit.
type Vfkit struct {
	base
	config vfkitConfig
}

func newVfkit(env element.Env, args element.Args) (element.Element, error) {
	c := vfkitConfig{mode: mode{perm: 0o600}, mtu: ethernet.MTU}
	if err := args.Parse(c.options(env)); err != nil {
		return nil, err
	}
	if fault := checkPlaces(args.Pos, c.listen, c.connect, c.mode, "the socket is missing: say listen PATH if the emulator sends to it, connect PATH if it is gvproxy's"); fault != nil {
		return nil, fault
	}
	v := &Vfkit{config: c}
	v.init(env, ethernet.FrameLen(c.mtu), "emulator")
	return v, nil
}

// Start makes the element's socket.
func (v *Vfkit) Start(context.Context) error {
	socket, err := v.open()
	if err != nil {
		return err
	}
	v.log.Info(v.where())
	l := newLine(socket, v.config.connect.Text)
	l.lasting = true
	return v.port.publish(l)
}

func (v *Vfkit) open() (*unixsock.Datagrams, error) {
	path := v.config.listen.Text
	if path == "" {
		remote := v.config.connect.Text
		folder, err := filepath.Abs(filepath.Dir(remote)) // the other one has another working folder
		if err != nil {
			return nil, fmt.Errorf("find the folder of %s: %w", remote, err)
		}
		unixsock.Sweep(folder, ownPrefix)
		data, _, err := v.openOwn(folder, unixsock.DatagramConfig{Remote: remote})
		return data, err
	}
	if err := unixsock.CheckFolder(path); err != nil {
		return nil, fmt.Errorf("make the socket %s: %w", path, err)
	}
	return unixsock.OpenDatagrams(unixsock.DatagramConfig{
		Config: unixsock.Config{MaxFrame: v.port.maxFrame, Counters: &v.port.counters},
		Local:  path, Mode: v.config.mode.perm, Hears: true, Greeting: vfkitGreeting, Log: v.log,
	})
}

// Close ends the element and removes its socket.
func (v *Vfkit) Close() error { return v.end() }

// where says which socket the element is at: "listening on /tmp/x".
func (v *Vfkit) where() string {
	if path := v.config.listen.Text; path != "" {
		return "listening on " + path
	}
	return "sending to " + v.config.connect.Text
}

// Status says which socket the element is at, and whom it has heard there.
func (v *Vfkit) Status() string {
	l := v.port.line.Load()
	switch {
	case v.ctx.Err() != nil:
		return "closed"
	case l == nil:
		return "not open"
	case v.config.listen.Text == "":
		return v.where()
	}
	if heard := l.socket.(*unixsock.Datagrams).Peer(); heard != "" {
		return v.where() + ", emulator " + heard
	}
	return v.where() + ", no emulator"
}

// Sketch shows the socket.
func (v *Vfkit) Sketch() element.Sketch {
	if path := v.config.listen.Text; path != "" {
		return element.Sketch{Kind: element.LinkKind, Local: "unix " + path, Detail: []string{"listen " + path}}
	}
	path := v.config.connect.Text
	return element.Sketch{Kind: element.LinkKind, Remote: "unix " + path, Detail: []string{"connect " + path}}
}

var _ element.Reporter = (*Vfkit)(nil)
