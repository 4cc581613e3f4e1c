package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Route is the address of one who is to be reached, and the local one from which to
// do so; Local not valid: any.
type Route struct{ Local, To netip.AddrPort }

// raceDelay is after how long a time without an answer the next address of a name is
// tried beside those before it ("Connection Attempt Delay", RFC 8305, 5).
const raceDelay = 250 * time.Millisecond

// Alternate sorts addresses so that the families take turns, the first one's first
// (RFC 8305, 4): one that leads nowhere holds up the other for one attempt only.
func Alternate(addrs []netip.Addr) []netip.Addr {
	if len(addrs) == 0 {
		return addrs
	}
	first := Of(addrs[0])
	var turns [2][]netip.Addr
	for _, a := range addrs {
		i := 0
		if Of(a) != first {
			i = 1
		}
		turns[i] = append(turns[i], a)
	}
	sorted := make([]netip.Addr, 0, len(addrs))
	for i := range addrs {
		for _, turn := range turns {
			if i < len(turn) {
				sorted = append(sorted, turn[i])
			}
		}
	}
	return sorted
}

// dialAny connects by the first of the routes, of which there is one at least, that
// leads to somebody: each is tried when that before it has failed, or has not answered
// for raceDelay. The error tells of each; it is a *BindError if no address could be
// tried.
func (c TCPConfig) dialAny(ctx context.Context, routes []Route) (*net.TCPConn, error) {
	if len(routes) == 1 {
		return c.dial(ctx, routes[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	type outcome struct {
		conn *net.TCPConn
		err  error
	}
	outcomes := make(chan outcome)
	running := 0
	defer func() {
		cancel()
		for ; running > 0; running-- {
			if o := <-outcomes; o.conn != nil {
				o.conn.Close()
			}
		}
	}()
	begin := func() {
		r := routes[0]
		routes = routes[1:]
		running++
		go func() {
			conn, err := c.dial(ctx, r)
			outcomes <- outcome{conn, err}
		}()
	}
	begin()
	next := time.NewTicker(raceDelay)
	defer next.Stop()
	var failed, unbound []error
	for running > 0 {
		select {
		case o := <-outcomes:
			running--
			if o.err == nil {
				return o.conn, nil
			}
			if bind := (*BindError)(nil); errors.As(o.err, &bind) {
				unbound = append(unbound, o.err)
			} else {
				failed = append(failed, o.err)
			}
		case <-next.C:
		}
		if len(routes) > 0 {
			begin()
			next.Reset(raceDelay)
		}
	}
	if len(failed) == 0 {
		failed = unbound
	}
	return nil, joined(failed)
}

// joined is several errors in one line.
func joined(errs []error) error {
	err := errs[0]
	for _, e := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}
