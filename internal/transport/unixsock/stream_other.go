//go:build !linux

package unixsock

import (
	"net"

	"tmelink/internal/ethernet"
)

type streamIO struct { // the writer's
	prefixes [][prefixLen]byte
	parts    [][]byte
}

func (s *Stream) init() error { return nil }

func (s *Stream) fill() error {
	s.in.rest()
	n, err := s.conn.Read(s.in.space())
	s.in.filled(n)
	if n > 0 {
		return nil
	}
	return err
}

// write: package net gathers the parts of a batch where the platform can.
func (s *Stream) write(frames []ethernet.Frame) (sent int, err error) {
	if len(s.prefixes) < len(frames) {
		s.prefixes = make([][prefixLen]byte, len(frames))
	}
	s.parts = s.parts[:0]
	for i := range frames {
		putPrefix(&s.prefixes[i], &frames[i])
		s.parts = append(s.parts, s.prefixes[i][:], frames[i].Data)
	}
	parts := net.Buffers(s.parts) // which WriteTo consumes
	n, err := parts.WriteTo(s.conn)
	for ; sent < len(frames); sent++ {
		if n -= int64(prefixLen + len(frames[sent].Data)); n < 0 {
			break
		}
	}
	clear(s.parts)
	if err != nil {
		s.conn.CloseWrite() // behind half a frame nothing else may stand
		s.conn.CloseRead()
	}
	return sent, err
}

// Vanished: package net does not tell.
func (s *Stream) Vanished() bool { return false }

func (s *Stream) peer() string { return "" }
