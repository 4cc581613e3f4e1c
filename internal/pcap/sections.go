package pcap

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// sections is a pcapng file: sections of blocks, each with its type and its length
// before and its length again behind. A section has its byte order, and describes
// the interfaces of which its packets are.
type sections struct {
	order      binary.ByteOrder // nil before the first section
	interfaces []iface
}

// iface is what a section says of an interface.
type iface struct {
	link    int
	snaplen uint32 // 0: none
	base2   bool   // its times count in 2^-exponent seconds, else 10^-exponent
	exp     uint8
	offset  int64 // seconds to be added
}

// Types of blocks, and options of an interface.
const (
	blockInterface = 1
	blockOldPacket = 2
	blockSimple    = 3
	blockPacket    = 6

	optionEnd      = 0
	optionTSResol  = 9
	optionTSOffset = 14
)

// Bounds of what a file may ask for.
const (
	maxBlock      = 16 << 20 // bytes of a block that is passed over
	maxRead       = MaxPacket + 64<<10
	maxInterfaces = 65536
)

const byteOrderMagic = 0x1a2b3c4d

func (s *sections) next(r *Reader) (Packet, error) {
	for {
		head, err := r.in.Peek(8)
		if err != nil {
			if len(head) > 0 {
				err = inside(err)
			}
			return Packet{}, err
		}
		if binary.LittleEndian.Uint32(head) == magicSection {
			if err := s.section(r); err != nil {
				return Packet{}, err
			}
			continue
		}
		if s.order == nil {
			return Packet{}, ErrFormat
		}
		kind, length := s.order.Uint32(head), s.order.Uint32(head[4:])
		p, ok, err := s.block(r, kind, length)
		if err != nil || ok {
			return p, err
		}
	}
}

// body reads a block whole, and gives what is between its lengths.
func (s *sections) body(r *Reader, length uint32) ([]byte, error) {
	if length < 12 || length%4 != 0 || length > maxRead {
		return nil, damaged(length)
	}
	b, err := r.take(int(length))
	if err != nil {
		return nil, inside(err)
	}
	if again := s.order.Uint32(b[length-4:]); again != length {
		return nil, fmt.Errorf("a block of it has %d bytes at its beginning and %d at its end: it is damaged", length, again)
	}
	return b[8 : length-4], nil
}

func damaged(length uint32) error {
	return fmt.Errorf("it has a block of %d bytes, which cannot be: it is damaged", length)
}

// section begins a section.
func (s *sections) section(r *Reader) error {
	head, err := r.in.Peek(12)
	if err != nil {
		return inside(err)
	}
	switch uint32(byteOrderMagic) {
	case binary.LittleEndian.Uint32(head[8:]):
		s.order = binary.LittleEndian
	case binary.BigEndian.Uint32(head[8:]):
		s.order = binary.BigEndian
	default:
		return ErrFormat
	}
	b, err := s.body(r, s.order.Uint32(head[4:]))
	if err != nil {
		return err
	}
	if len(b) < 16 {
		return damaged(s.order.Uint32(head[4:]))
	}
	if major := s.order.Uint16(b[4:]); major != 1 {
		return fmt.Errorf("it is of version %d.%d of pcapng, not 1.0", major, s.order.Uint16(b[6:]))
	}
	s.interfaces = s.interfaces[:0]
	return nil
}

// block reads a block, and says whether it is a packet.
func (s *sections) block(r *Reader, kind, length uint32) (p Packet, ok bool, err error) {
	switch kind {
	case blockInterface, blockPacket, blockSimple, blockOldPacket:
	default:
		if length < 12 || length%4 != 0 || length > maxBlock {
			return p, false, damaged(length)
		}
		if _, err := io.CopyN(io.Discard, r.in, int64(length)); err != nil {
			return p, false, inside(err)
		}
		return p, false, nil
	}
	b, err := s.body(r, length)
	if err != nil {
		return p, false, err
	}
	switch kind {
	case blockInterface:
		return p, false, s.iface(b, length)
	case blockSimple:
		p, err = s.simple(b, length)
	default:
		p, err = s.packet(b, length, kind == blockOldPacket)
	}
	return p, err == nil, err
}

// iface takes up an interface's description.
func (s *sections) iface(b []byte, length uint32) error {
	if len(b) < 8 || len(s.interfaces) == maxInterfaces {
		return damaged(length)
	}
	i := iface{link: int(s.order.Uint16(b)), snaplen: s.order.Uint32(b[4:]), exp: 6}
	for b = b[8:]; len(b) >= 4; {
		code, n := s.order.Uint16(b), int(s.order.Uint16(b[2:]))
		padded := 4 + (n+3)/4*4
		if code == optionEnd || padded > len(b) {
			break
		}
		switch value := b[4 : 4+n]; {
		case code == optionTSResol && n == 1:
			i.base2, i.exp = value[0]&0x80 != 0, value[0]&0x7f
		case code == optionTSOffset && n == 8:
			i.offset = int64(s.order.Uint64(value))
		}
		b = b[padded:]
	}
	s.interfaces = append(s.interfaces, i)
	return nil
}

// packet reads an enhanced packet block, or the older one of the same content.
func (s *sections) packet(b []byte, length uint32, old bool) (Packet, error) {
	const head = 20 // interface, time, captured length, length
	if len(b) < head {
		return Packet{}, damaged(length)
	}
	index := s.order.Uint32(b)
	if old {
		index = uint32(s.order.Uint16(b))
	}
	captured := s.order.Uint32(b[12:])
	if index >= uint32(len(s.interfaces)) || captured > uint32(len(b)-head) || captured > MaxPacket {
		return Packet{}, damaged(length)
	}
	i := &s.interfaces[index]
	ticks := uint64(s.order.Uint32(b[4:]))<<32 | uint64(s.order.Uint32(b[8:]))
	return Packet{
		Time: i.time(ticks), Data: b[head : head+captured : head+captured],
		Length: clampLength(s.order.Uint32(b[16:])), Link: i.link,
	}, nil
}

// simple reads a simple packet block, which has no time and is of the first
// interface.
func (s *sections) simple(b []byte, length uint32) (Packet, error) {
	if len(b) < 4 || len(s.interfaces) == 0 {
		return Packet{}, damaged(length)
	}
	i := &s.interfaces[0]
	n := s.order.Uint32(b)
	captured := n
	if i.snaplen != 0 {
		captured = min(n, i.snaplen)
	}
	if captured > uint32(len(b)-4) || captured > MaxPacket {
		return Packet{}, damaged(length)
	}
	return Packet{Data: b[4 : 4+captured : 4+captured], Length: clampLength(n), Link: i.link}, nil
}

// time makes a time of ticks since 1970. What no clock has said is no error:
// it is bounded.
func (i *iface) time(ticks uint64) time.Time {
	perSecond := uint64(1) // ticks
	if i.base2 {
		perSecond <<= min(i.exp, 63)
	} else {
		for range min(i.exp, 19) {
			perSecond *= 10
		}
	}
	seconds, fraction := ticks/perSecond, ticks%perSecond
	hi, lo := bits.Mul64(fraction, uint64(time.Second))
	nanos, _ := bits.Div64(hi, lo, perSecond) // fraction < perSecond: it fits
	const most = 1 << 40                      // seconds
	return time.Unix(int64(min(seconds, most))+max(min(i.offset, most), -most), int64(nanos))
}
