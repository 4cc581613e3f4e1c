package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"
)

// Address is where a socket of connections is.
type Address struct {
	Network string // "unix", "unixpacket" or "tcp"
	Text    string // a path, or host:port
}

// String is how a person writes it: a path as it is, "tcp:127.0.0.1:4711".
func (a Address) String() string {
	if a.Network == "tcp" {
		return "tcp:" + a.Text
	}
	return a.Text
}

// dialPatience is how long a host may take to answer.
const dialPatience = 20 * time.Second

// Dial connects to a socket that listens.
func Dial(ctx context.Context, to Address, c Config) (Conn, error) {
	d := net.Dialer{Timeout: dialPatience}
	conn, err := d.DialContext(ctx, to.Network, to.Text)
	if err == nil {
		var made Conn
		if made, err = newConn(conn, to.Network, c); err == nil {
			return made, nil
		}
	}
	return nil, fmt.Errorf("connect to %s: %w", to, withoutAddress(err))
}

func newConn(conn net.Conn, network string, c Config) (Conn, error) {
	if network == "unixpacket" {
		return newPackets(conn.(*net.UnixConn), c)
	}
	both := conn.(pipe)
	return newStream(both, both, c)
}

// Listener waits for connections at an address.
type Listener struct {
	at     Address
	config Config
	listen net.Listener
	file   *file // nil: TCP has none
}

// Listen makes a listening socket; at a path its file has the permissions of mode,
// and a dead socket there is replaced.
func Listen(at Address, mode fs.FileMode, c Config) (*Listener, error) {
	l := &Listener{at: at, config: c}
	err := l.open(mode)
	if err != nil {
		if l.listen != nil {
			l.listen.Close()
		}
		return nil, fmt.Errorf("listen on %s: %w", at, withoutAddress(err))
	}
	return l, nil
}

func (l *Listener) open(mode fs.FileMode) (err error) {
	var lc net.ListenConfig
	if l.at.Network == "tcp" {
		l.listen, err = lc.Listen(context.Background(), "tcp", l.at.Text)
		return err
	}
	if l.at.Network == "unixpacket" && errNoPackets != nil {
		return errNoPackets
	}
	lc.Control = restrict(mode)
	l.file, err = makeFile(l.at.Network, l.at.Text, mode, func() error {
		got, err := lc.Listen(context.Background(), l.at.Network, l.at.Text)
		if err == nil {
			l.listen = got
			got.(*net.UnixListener).SetUnlinkOnClose(false)
		}
		return err
	})
	return err
}

// Accept waits for a connection, and returns net.ErrClosed after Close. After
// any other error it may be called again.
func (l *Listener) Accept() (Conn, error) {
	conn, err := l.AcceptConn()
	if err != nil {
		return nil, err
	}
	return newConn(conn, l.at.Network, l.config)
}

// AcceptConn is Accept for a connection over which something else goes than frames.
func (l *Listener) AcceptConn() (net.Conn, error) {
	conn, err := l.listen.Accept()
	return conn, closed(err)
}

// Addr is the address, with the port that the kernel has chosen for port 0.
func (l *Listener) Addr() Address {
	if l.at.Network == "tcp" {
		return Address{"tcp", l.listen.Addr().String()}
	}
	return l.at
}

// Close ends Accept and removes the socket's file; connections accepted stay.
func (l *Listener) Close() error {
	var err error
	if l.file != nil {
		err = l.file.remove()
	}
	return errors.Join(err, closeOnce(l.listen))
}
