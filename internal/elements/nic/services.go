package nic

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"tmelink/internal/element"
	"tmelink/internal/netstack"
)

// Ports of the services (RFC 862, RFC 863, RFC 9110).
const (
	echoPort    = 7
	discardPort = 9
	httpPort    = 80
)

const (
	// maxConns is how many TCP connections each service has at once; more wait.
	maxConns = 64
	// idle is how long a connection may be silent.
	idle = time.Minute
	// servicesBelow are ports of services, which are never answered over UDP:
	// two echo services would talk to each other for ever.
	servicesBelow = 1024
	// largestDatagram is the most that a UDP datagram holds.
	largestDatagram = 65535
)

// services are what the built-in host serves.
type services struct {
	host    *netstack.Host
	page    *http.Server
	running sync.WaitGroup
	// udp are the sockets of each address, for whoever calls follow.
	udp map[netip.Addr][]io.Closer

	mu     sync.Mutex
	open   map[io.Closer]struct{} // listeners, sockets and connections
	closed bool
}

// serve starts all services of a running host. Where one cannot be started it
// ends those that are, and says why.
func serve(h *netstack.Host, env element.Env) (*services, error) {
	s := &services{host: h, udp: map[netip.Addr][]io.Closer{}, open: map[io.Closer]struct{}{}}
	s.page = newPage(h, env, &s.running)
	err := s.listen(echoPort, s.eachConn(echo))
	err = errors.Join(err, s.listen(discardPort, s.eachConn(discard)))
	err = errors.Join(err, s.listen(httpPort, func(l net.Listener) { s.page.Serve(l) }))
	if err = errors.Join(err, s.follow()); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// follow serves UDP at the addresses that the host has now, and no longer at those
// that it had. One goroutine at a time calls it. (TCP is served at all of them.)
func (s *services) follow() error {
	now := map[netip.Addr]bool{}
	for _, prefix := range s.host.Addrs() {
		now[prefix.Addr()] = true
	}
	for addr, sockets := range s.udp {
		if now[addr] {
			continue
		}
		for _, c := range sockets {
			s.remove(c)
		}
		delete(s.udp, addr)
	}
	var errs []error
	for addr := range now {
		if s.udp[addr] != nil {
			continue
		}
		errs = append(errs, s.listenUDP(netip.AddrPortFrom(addr, echoPort), true), s.listenUDP(netip.AddrPortFrom(addr, discardPort), false))
	}
	return errors.Join(errs...)
}

// close ends the services and returns when their goroutines have ended.
func (s *services) close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.page.Close()
	s.running.Wait()
}

// add remembers something that close closes; it says no when it is too late.
func (s *services) add(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.open[c] = struct{}{}
	return true
}

func (s *services) remove(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	c.Close()
}

// listen opens a TCP port and has it accepted from.
func (s *services) listen(port uint16, accept func(net.Listener)) error {
	l, err := s.host.ListenTCP(port)
	if err != nil {
		return err
	}
	l = netutil.LimitListener(l, maxConns)
	if s.add(l) {
		s.running.Go(func() { accept(l) })
	}
	return nil
}

// eachConn accepts connections and has each of them handled.
func (s *services) eachConn(handle func(net.Conn)) func(net.Listener) {
	return func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if s.add(conn) {
				s.running.Go(func() {
					defer s.remove(conn)
					handle(conn)
				})
			}
		}
	}
}

// echo sends back what comes (RFC 862).
func echo(conn net.Conn) {
	buf := make([]byte, 16<<10)
	for {
		conn.SetDeadline(time.Now().Add(idle))
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

// discard reads and throws away (RFC 863).
func discard(conn net.Conn) {
	buf := make([]byte, 16<<10)
	for {
		conn.SetDeadline(time.Now().Add(idle))
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

// listenUDP takes datagrams at an address, and sends each one back if it is to.
func (s *services) listenUDP(at netip.AddrPort, back bool) error {
	conn, err := s.host.ListenUDP(at)
	if err != nil {
		return err
	}
	if !s.add(conn) {
		return nil
	}
	s.udp[at.Addr()] = append(s.udp[at.Addr()], conn)
	s.running.Go(func() {
		defer s.remove(conn)
		buf := make([]byte, largestDatagram)
		for {
			n, from, err := conn.ReadFrom(buf)
			if s.ended(err) {
				return
			}
			if a, ok := from.(*net.UDPAddr); ok && err == nil && back && a.Port >= servicesBelow {
				// That an answer cannot be sent is its sender's trouble.
				conn.WriteTo(buf[:n], from)
			}
		}
	})
	return nil
}

// ended says whether a socket's error is the end: a closed socket gives io.EOF,
// and nothing else that one datagram meets ends a service.
func (s *services) ended(err error) bool {
	if err == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}
