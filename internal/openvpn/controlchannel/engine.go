package controlchannel

import (
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"net"
	"time"
)

// engine is one TLS connection whose two streams are memory. Package tls waits for
// what it reads; here it runs as a coroutine, which goes on exactly while step is
// called and rests where it would wait.
type engine struct {
	tls   *tls.Conn
	in    []byte   // of the peer's stream, not read yet
	out   []byte   // of our stream, not sent yet
	plain [][]byte // what the peer has written, a record each

	shaken bool // the handshake is done
	err    error
	resume func() (struct{}, bool)
	stop   func()
	rest   func(struct{}) bool // inside the coroutine
}

// maxPlain bounds what the peer may write before it is taken, in bytes.
const maxPlain = 64 << 10

func newEngine(server bool, c *tls.Config) *engine {
	e := new(engine)
	if server {
		e.tls = tls.Server(streams{e}, c)
	} else {
		e.tls = tls.Client(streams{e}, c)
	}
	e.resume, e.stop = iter.Pull(func(rest func(struct{}) bool) {
		e.rest = rest
		e.err = e.run()
	})
	return e
}

func (e *engine) run() error {
	if err := e.tls.Handshake(); err != nil {
		return err
	}
	e.shaken = true
	size := 0
	for record := make([]byte, 16<<10); ; {
		n, err := e.tls.Read(record)
		if err != nil {
			return err
		}
		if len(e.plain) == 0 {
			size = 0
		}
		if size += n; size > maxPlain {
			return errors.New("the peer writes more than can be meant")
		}
		e.plain = append(e.plain, append([]byte(nil), record[:n]...))
	}
}

// feed hands over some of the peer's stream.
func (e *engine) feed(b []byte) { e.in = append(e.in, b...) }

// step runs until there is nothing more to read. Its error is the end of the
// connection.
func (e *engine) step() error {
	if e.err == nil {
		e.resume()
	}
	return e.err
}

// write writes a record to the peer. The handshake must be done.
func (e *engine) write(b []byte) error {
	if e.err != nil {
		return e.err
	}
	_, err := e.tls.Write(b)
	return err
}

// take gives what the peer has written next.
func (e *engine) take() ([]byte, bool) {
	if len(e.plain) == 0 {
		return nil, false
	}
	b := e.plain[0]
	e.plain = e.plain[1:]
	return b, true
}

// export derives key material from the connection (RFC 5705, RFC 8446 section 7.5).
func (e *engine) export(label string, size int) ([]byte, error) {
	state := e.tls.ConnectionState()
	return state.ExportKeyingMaterial(label, nil, size)
}

// close ends the coroutine.
func (e *engine) close() {
	e.stop()
	if e.err == nil {
		e.err = net.ErrClosed
	}
}

// streams is the engine as package tls sees it.
type streams struct{ e *engine }

func (s streams) Read(b []byte) (int, error) {
	for len(s.e.in) == 0 {
		if !s.e.rest(struct{}{}) {
			return 0, io.ErrUnexpectedEOF // closed
		}
	}
	n := copy(b, s.e.in)
	s.e.in = s.e.in[n:]
	return n, nil
}

func (s streams) Write(b []byte) (int, error) {
	s.e.out = append(s.e.out, b...)
	return len(b), nil
}

func (streams) Close() error                     { return nil }
func (streams) LocalAddr() net.Addr              { return nil }
func (streams) RemoteAddr() net.Addr             { return nil }
func (streams) SetDeadline(time.Time) error      { return nil }
func (streams) SetReadDeadline(time.Time) error  { return nil }
func (streams) SetWriteDeadline(time.Time) error { return nil }
