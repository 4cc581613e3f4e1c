package pcap

import (
	"bufio"
	"encoding/binary"
	"io"
	"time"
)

// Writer writes a file of Ethernet frames. Make it with NewWriter; it is used by
// one goroutine at a time.
type Writer struct {
	out     *bufio.Writer
	snaplen int
	ng      bool
	head    [28]byte
}

// NewWriter writes the beginning of a file: of pcapng with ng, else of pcap, of
// which times are microseconds. snaplen is how many bytes of each packet are
// written at most. Flush brings all into out.
func NewWriter(out io.Writer, snaplen int, ng bool) (*Writer, error) {
	w := &Writer{out: bufio.NewWriterSize(out, 64<<10), snaplen: min(snaplen, MaxPacket), ng: ng}
	var b []byte
	put := func(words ...uint32) {
		for _, n := range words {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
	}
	if ng {
		const version = 1 // major in the lower half
		put(magicSection, 28, byteOrderMagic, version, ^uint32(0), ^uint32(0), 28)
		put(blockInterface, 32, Ethernet, uint32(w.snaplen), optionTSResol|1<<16, 9, optionEnd, 32)
	} else {
		const version = 2 | 4<<16
		put(magicMicro, version, 0, 0, uint32(w.snaplen), Ethernet)
	}
	if _, err := w.out.Write(b); err != nil {
		return nil, err
	}
	return w, w.Flush()
}

// Write adds a packet.
func (w *Writer) Write(at time.Time, data []byte) error {
	length := len(data)
	data = data[:min(length, w.snaplen)]
	put := binary.LittleEndian.PutUint32
	if !w.ng {
		b := w.head[:classicRecord]
		put(b, uint32(at.Unix()))
		put(b[4:], uint32(at.Nanosecond()/1000))
		put(b[8:], uint32(len(data)))
		put(b[12:], uint32(length))
		w.out.Write(b)
		_, err := w.out.Write(data) // the first error stays
		return err
	}
	padding := -len(data) & 3
	block := uint32(len(w.head) + len(data) + padding + 4)
	ticks := uint64(at.UnixNano())
	b := w.head[:]
	for i, n := range []uint32{blockPacket, block, 0, uint32(ticks >> 32), uint32(ticks), uint32(len(data)), uint32(length)} {
		put(b[4*i:], n)
	}
	w.out.Write(b)
	w.out.Write(data)
	put(b, 0)
	w.out.Write(b[:padding])
	put(b, block)
	_, err := w.out.Write(b[:4])
	return err
}

// Flush brings all that was written into the file.
func (w *Writer) Flush() error { return w.out.Flush() }
