package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"tmelink/internal/transport/proxy"
)

// DialThrough is Dial by way of a proxy, to which the routes lead, and which has to
// reach the peer itself. The timeout is for all of it.
func DialThrough(ctx context.Context, c TCPConfig, routes []Route, by proxy.Connector, peer proxy.Target, timeout time.Duration) (*TCP, error) {
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	way := &way{ctx: ctx, config: c, routes: routes}
	conn, err := by.Connect(way.dial, peer)
	if err = way.end(err); err != nil {
		return nil, way.explain(peer, err)
	}
	return newTCP(conn.(*net.TCPConn), c), nil
}

// way is a talk with a proxy, which has to come to its end before ctx does.
type way struct {
	ctx    context.Context // of withTimeout
	config TCPConfig
	routes []Route      // the one that has led to the proxy, once there is one
	conn   *net.TCPConn // the last one
	stop   func() bool
}

// dial connects to the proxy.
func (w *way) dial() (net.Conn, error) {
	if err := w.end(nil); err != nil {
		return nil, err
	}
	conn, err := w.config.dialAny(w.ctx, w.routes)
	if err != nil {
		return nil, err
	}
	w.conn, w.routes = conn, w.taken(conn)
	w.stop = context.AfterFunc(w.ctx, func() { conn.SetDeadline(longAgo) })
	return conn, nil
}

// taken is the route that a connection goes: the proxy's next connection goes it too.
func (w *way) taken(conn *net.TCPConn) []Route {
	to := addrPort(conn.RemoteAddr())
	i := slices.IndexFunc(w.routes, func(r Route) bool { return r.To.Port() == to.Port() && Matches(r.To.Addr(), to.Addr()) })
	return w.routes[max(i, 0):][:1]
}

// end takes the time limit off the last connection, whose talk ended with err. It
// gives an error if the limit was reached in the last moment.
func (w *way) end(err error) error {
	if w.stop == nil || w.stop() || err != nil {
		w.stop = nil
		return err
	}
	w.conn.Close()
	return os.ErrDeadlineExceeded
}

// explain says what the proxy was asked for, and whether it was too slow.
func (w *way) explain(peer proxy.Target, err error) error {
	var bind *BindError
	switch {
	case errors.As(err, &bind):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded) && w.ctx.Err() == context.DeadlineExceeded:
		err = context.Cause(w.ctx)
	case w.ctx.Err() == context.Canceled:
		err = w.ctx.Err()
	}
	return fmt.Errorf("reach %v through the proxy %v: %w", peer, w.routes[0].To, err)
}
