// Package pcap reads and writes capture files, as tcpdump and Wireshark have them:
// the older format, pcap (draft-ietf-opsawg-pcap), and pcapng
// (draft-ietf-opsawg-pcapng).
//
// Bytes of a file flow in by an io.Reader and packets come out one by one, or
// the other way round. The package opens no file, keeps no packet, and takes no
// more memory for a file than its longest packet may have, whatever the file says.
package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Ethernet is the link type of packets that are Ethernet frames (LINKTYPE_ETHERNET).
const Ethernet = 1

// MaxPacket is the longest packet of a file, in bytes, as in libpcap
// (MAXIMUM_SNAPLEN of pcap-int.h).
const MaxPacket = 262144

// Packet is a packet of a file.
type Packet struct {
	Time   time.Time
	Data   []byte // what was captured; borrowed until the next one is read
	Length int    // of the packet as it was on the wire
	Link   int    // its link type
}

// Reader reads a file. Make it with NewReader.
type Reader struct {
	in     *bufio.Reader
	format format
	buf    []byte
}

// format is what a file is of.
type format interface {
	// next gives a packet, whose data is in the reader's buffer.
	next(r *Reader) (Packet, error)
}

// ErrFormat is the error of a file that is no capture.
var ErrFormat = errors.New("it is no capture: neither pcap nor pcapng")

// Numbers at the beginning of a file. Those of pcap tell the byte order and what
// the fractions of a second are; that of pcapng reads the same in both orders.
const (
	magicMicro   = 0xa1b2c3d4
	magicNano    = 0xa1b23c4d
	magicSection = 0x0a0d0d0a
)

// NewReader reads the beginning of a file. Its error is ErrFormat where that is
// of no capture.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10)}
	first, err := r.in.Peek(4)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, ErrFormat
		}
		return nil, err
	}
	if binary.LittleEndian.Uint32(first) == magicSection {
		r.format = &sections{}
		return r, nil
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(first) {
		case magicMicro:
			r.format = &classic{order: order, unit: time.Microsecond}
		case magicNano:
			r.format = &classic{order: order, unit: time.Nanosecond}
		default:
			continue
		}
		return r, r.format.(*classic).header(r)
	}
	return nil, ErrFormat
}

// Next reads a packet. The error is io.EOF at the file's end, and
// io.ErrUnexpectedEOF where it ends inside a packet.
func (r *Reader) Next() (Packet, error) { return r.format.next(r) }

// take reads n bytes, which the caller has bounded. They are valid until the next.
func (r *Reader) take(n int) ([]byte, error) {
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	r.buf = r.buf[:n]
	_, err := io.ReadFull(r.in, r.buf)
	return r.buf, err
}

// inside makes of an end of the file one that is inside a packet.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// classic is the older format.
type classic struct {
	order binary.ByteOrder
	unit  time.Duration // of the fractions of a second
	link  int
}

const (
	classicHeader = 24 // magic, version 2.4, two words that are 0, snaplen, link type
	classicRecord = 16 // seconds, fraction, captured length, length
)

func (c *classic) header(r *Reader) error {
	b, err := r.take(classicHeader)
	if err != nil {
		return inside(err)
	}
	if major := c.order.Uint16(b[4:]); major != 2 {
		return fmt.Errorf("it is of version %d.%d of pcap, not 2.4", major, c.order.Uint16(b[6:]))
	}
	c.link = int(c.order.Uint32(b[20:]) & 0xffff) // above it is what the frame check sequence is
	return nil
}

func (c *classic) next(r *Reader) (Packet, error) {
	b, err := r.take(classicRecord)
	if err != nil {
		return Packet{}, err
	}
	captured, length := c.order.Uint32(b[8:]), c.order.Uint32(b[12:])
	if captured > MaxPacket {
		return Packet{}, fmt.Errorf("it has a packet of %d bytes, and at most %d can be: it is damaged", captured, MaxPacket)
	}
	at := time.Unix(int64(c.order.Uint32(b)), int64(c.order.Uint32(b[4:]))*int64(c.unit))
	data, err := r.take(int(captured))
	if err != nil {
		return Packet{}, inside(err)
	}
	return Packet{Time: at, Data: data, Length: clampLength(length), Link: c.link}, nil
}

// clampLength is a packet's length on the wire, which is the file's to say.
func clampLength(n uint32) int { return int(min(n, 1<<30)) }
