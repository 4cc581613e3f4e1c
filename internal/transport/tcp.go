package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/openvpn"
)

// TCPConfig is what TCP connections are made of.
type TCPConfig struct {
	Socket
	Local     netip.AddrPort // of a Listener; port 0: any
	MaxPacket int            // bytes: a longer packet ends the connection
	Counters  *ethernet.Counters
	Log       *slog.Logger
}

// TCP is a Conn over one TCP connection.
type TCP struct {
	conn     *net.TCPConn
	raw      syscall.RawConn
	local    netip.AddrPort
	peer     netip.AddrPort
	counters *ethernet.Counters
	left     func() // nil, or to be called when it is closed

	stream  *openvpn.Stream // the reader's
	packets [][]byte
	bad     error // of the stream, behind the packets given last
	rx      tcpReader
	tx      tcpWriter
}

// Dial connects to a peer by the first of the routes that leads to it, of which there
// is one at least. An error of the local address, or of what Socket asks for, is a
// *BindError.
func Dial(ctx context.Context, c TCPConfig, routes []Route, timeout time.Duration) (*TCP, error) {
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	conn, err := c.dialAny(ctx, routes)
	if err != nil {
		return nil, err
	}
	return newTCP(conn, c), nil
}

// withTimeout bounds how long it may take to reach somebody. The context's cause says
// so, unless its parent's end comes first.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it has not answered within %v (--connect-timeout)", timeout))
}

func (c TCPConfig) dial(ctx context.Context, by Route) (*net.TCPConn, error) {
	control := c.control(true)
	var refused error
	d := net.Dialer{Control: func(network, address string, raw syscall.RawConn) error {
		refused = control(network, address, raw)
		return refused
	}}
	if by.Local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(by.Local)
	}
	conn, err := d.DialContext(ctx, network("tcp", by.To.Addr()), by.To.String())
	if err != nil {
		if bind, ok := asBindError("connect from tcp", by.Local, err); ok || refused != nil {
			return nil, bind
		}
		err = withoutAddress(err)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			<-ctx.Done() // at once: the deadline is its
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("connect to tcp %v: %w", by.To, err)
	}
	tcp := conn.(*net.TCPConn)
	if by.Local.Port() != 0 {
		// A connection that this end closes would keep the pair of addresses
		// busy for a minute, and the next one could not be made: reset it.
		tcp.SetLinger(0)
	}
	return tcp, nil
}

func newTCP(conn *net.TCPConn, c TCPConfig) *TCP {
	// Package net has set TCP_NODELAY already, and keep-alive probes, by which
	// a peer that vanished is noticed even without --ping-restart.
	t := &TCP{
		conn:     conn,
		local:    addrPort(conn.LocalAddr()),
		peer:     addrPort(conn.RemoteAddr()),
		counters: c.Counters,
		stream:   openvpn.NewStream(c.MaxPacket),
	}
	t.raw, _ = conn.SyscallConn() // its error is that of a nil connection
	t.tune()
	t.rx.init(t)
	t.tx.init(t)
	return t
}

// errHungUp is the end of a stream.
var errHungUp = errors.New("the peer has closed the connection")

// ReadPackets waits until at least one packet of the stream is complete.
func (t *TCP) ReadPackets() ([][]byte, error) {
	for t.bad == nil {
		n, err := t.rx.read()
		switch {
		case err == io.EOF:
			return nil, errHungUp
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.conn.SetReadDeadline(time.Time{})
			return nil, ErrInterrupted
		case err != nil:
			return nil, closed(err)
		}
		if t.packets, t.bad = t.stream.Cut(n, t.packets[:0]); t.bad != nil {
			t.counters.Read.Add(ethernet.Malformed, 1)
		}
		if len(t.packets) > 0 {
			return t.packets, nil
		}
	}
	return nil, t.bad
}

// WritePackets writes the batch, each packet behind its length.
func (t *TCP) WritePackets(packets [][]byte) error {
	err := t.tx.write(packets)
	if err != nil {
		t.counters.Write.Add(ethernet.Disconnected, len(packets))
	}
	return closed(err)
}

// Send writes a packet between two batches. It waits as long as the peer does
// not read.
func (t *TCP) Send(packet []byte, _ netip.AddrPort) error {
	_, err := t.conn.Write(openvpn.AppendStream(nil, [][]byte{packet}))
	return closed(err)
}

func (t *TCP) Local() netip.AddrPort  { return t.local }
func (t *TCP) Peer() netip.AddrPort   { return t.peer }
func (t *TCP) SetPeer(netip.AddrPort) {}
func (t *TCP) Interrupt()             { t.conn.SetReadDeadline(longAgo) }

// Close ends the connection. Where it was accepted, its Listener takes another.
func (t *TCP) Close() error {
	err := t.conn.Close()
	if t.left != nil {
		t.left()
	}
	return err
}

// CloseWrite tells the peer that nothing more comes.
func (t *TCP) CloseWrite() error { return t.conn.CloseWrite() }

func (t *TCP) Framing() int  { return openvpn.LengthLen }
func (t *TCP) Overhead() int { return ipHeader(t.peer.Addr()) + tcpHeader + openvpn.LengthLen }

// PathMTU: TCP cuts its stream to fit the path by itself.
func (t *TCP) PathMTU() int { return 0 }

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// withoutAddress leaves out of an error of package net the operation and
// addresses that its caller says better.
func withoutAddress(err error) error {
	bind, _ := asBindError("", netip.AddrPort{}, err)
	return bind.Err
}
