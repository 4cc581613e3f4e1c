package transport

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"tmelink/internal/occasion"
)

// PortShare is a server that gets the connections to a listening socket that are
// not OpenVPN's (OpenVPN's --port-share).
type PortShare struct {
	Host string
	Port uint16
	// Journal is the directory in which a file tells of each connection, as long as
	// it lasts, whose it is; "": none.
	Journal string
}

// String gives "host:port".
func (p PortShare) String() string { return net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))) }

const (
	// maxPassed is how many connections a socket passes on at a time. Each has six
	// descriptors on Linux, with the pipes through which splice(2) moves its bytes:
	// together they stay below 4096, which the kernel allows a process to begin with.
	maxPassed = 500
	// passTimeout is how long connecting to the server may take (proxy_entry_new in
	// OpenVPN's ps.c).
	passTimeout = 5 * time.Second
	// restTime is how long one direction may still bring what is under way after
	// the other has broken.
	restTime = 30 * time.Second
)

// sharer passes connections on to one server.
type sharer struct {
	PortShare
	journal *journal // nil: there is none
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	over   bool
	passed map[*passage]struct{}
	failed occasion.Occasion // of log lines
	full   occasion.Occasion
}

// passage is a connection that is passed on.
type passage struct{ client, server *net.TCPConn }

// newSharer gets ready to pass connections on. What it holds, end and wait give back.
func newSharer(p PortShare) (*sharer, error) {
	s := &sharer{
		PortShare: p, passed: map[*passage]struct{}{},
		failed: occasion.New(1, time.Minute), full: occasion.New(1, time.Minute),
	}
	if p.Journal != "" {
		var err error
		if s.journal, err = openJournal(p.Journal); err != nil {
			return nil, fmt.Errorf("--port-share: %w", err)
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// pass connects a client whose first bytes have been read with the server, and
// returns when both have ended.
func (s *sharer) pass(client *net.TCPConn, head []byte, log *slog.Logger) {
	p := &passage{client: client}
	if !s.begin(p, log) {
		client.Close()
		return
	}
	defer s.running.Done()
	defer s.forget(p)
	if err := s.connect(p); err != nil {
		s.tell(log, &s.failed, "cannot pass a connection on", err)
		return
	}
	if s.journal != nil {
		name, err := s.journal.add(client.RemoteAddr(), p.server.LocalAddr())
		if err != nil {
			s.tell(log, &s.failed, "cannot tell whose connection is passed on", err)
		} else {
			defer s.journal.remove(name)
		}
	}
	if _, err := p.server.Write(head); err != nil {
		return // it has closed at once
	}
	var up sync.WaitGroup
	up.Go(func() { p.carry(p.server, p.client) })
	p.carry(p.client, p.server)
	up.Wait()
}

// begin counts a connection in, if there is room for it.
func (s *sharer) begin(p *passage, log *slog.Logger) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	if len(s.passed) >= maxPassed {
		if n := s.full.Due(time.Now()); n > 0 {
			log.Warn("closed a connection that was to be passed on: there are too many", "to", s.PortShare.String(), "times", n, "most", maxPassed)
		}
		return false
	}
	s.passed[p] = struct{}{}
	s.running.Add(1)
	return true
}

// forget closes both ends of a connection.
func (s *sharer) forget(p *passage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.close()
	delete(s.passed, p)
}

func (p *passage) close() {
	p.client.Close()
	if p.server != nil {
		p.server.Close()
	}
}

// connect connects to the server.
func (s *sharer) connect(p *passage) error {
	d := net.Dialer{Timeout: passTimeout}
	conn, err := d.DialContext(s.ctx, "tcp", s.PortShare.String())
	if err != nil {
		return withoutAddress(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.server = conn.(*net.TCPConn)
	if s.over {
		return net.ErrClosed // it is closed with the client's
	}
	return nil
}

// tell logs an error, unless it is that of the end.
func (s *sharer) tell(log *slog.Logger, when *occasion.Occasion, what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if n := when.Due(time.Now()); n > 0 {
		log.Warn(what, "to", s.PortShare.String(), "times", n, "err", err)
	}
}

// carry brings what one end says to the other, its end included. Between two
// *net.TCPConn, io.Copy has the kernel move the bytes where it can: on Linux by
// splice(2).
func (p *passage) carry(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		until := time.Now().Add(restTime)
		to.SetDeadline(until)
		from.SetDeadline(until)
	}
	to.CloseWrite()
}

// end closes all connections. wait returns when nothing is left of them.
func (s *sharer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.cancel()
	for p := range s.passed {
		p.close()
	}
}

func (s *sharer) wait() {
	s.cancel()
	s.running.Wait()
	if s.journal != nil {
		s.journal.close()
	}
}
