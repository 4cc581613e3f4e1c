//go:build !linux

package unixsock

import (
	"net"

	"tmelink/internal/ethernet"
)

type streamIO struct { // the writer's
	prefixes [][mostPrefix]byte
	parts    [][]byte
}

func (s *Stream) init() error { return nil }

func (s *Stream) fill() error {
	s.in.rest()
	n, err := s.reads.Read(s.in.space())
	s.in.filled(n)
	if n > 0 {
		return nil
	}
	return err
}

// write: package net gathers the parts of a batch where the platform can.
func (s *Stream) write(frames []ethernet.Frame) (sent int, err error) {
	if len(s.prefixes) < len(frames) {
		s.prefixes = make([][mostPrefix]byte, len(frames))
	}
	s.parts = s.parts[:0]
	prefix := s.config.Prefix.len()
	for i := range frames {
		s.config.Prefix.put(s.prefixes[i][:], len(frames[i].Data))
		s.parts = append(s.parts, s.prefixes[i][:prefix], frames[i].Data)
	}
	parts := net.Buffers(s.parts) // which WriteTo consumes
	n, err := parts.WriteTo(s.writes)
	for ; sent < len(frames); sent++ {
		if n -= int64(prefix + len(frames[sent].Data)); n < 0 {
			break
		}
	}
	clear(s.parts)
	if conn, ok := s.writes.(interface{ CloseWrite() error }); ok && err != nil {
		conn.CloseWrite() // behind half a frame nothing else may stand
		s.reads.(interface{ CloseRead() error }).CloseRead()
	}
	return sent, err
}

// Vanished: package net does not tell.
func (s *Stream) Vanished() bool { return false }

func (s *Stream) owner() string { return "" }
