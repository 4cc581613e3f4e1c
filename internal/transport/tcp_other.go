//go:build !linux

package transport

import (
	"encoding/binary"
	"net"
)

// tune does nothing: what is not sent yet is bounded by the send buffer.
func (t *TCP) tune() {}

// tcpReader reads a connection.
type tcpReader struct{ t *TCP }

func (r *tcpReader) init(t *TCP) { r.t = t }

// read reads some of the stream into its Space, and gives io.EOF at its end.
func (r *tcpReader) read() (int, error) { return r.t.conn.Read(r.t.stream.Space()) }

// tcpWriter writes packets from where they lie.
type tcpWriter struct {
	t       *TCP
	lengths []byte
	pieces  net.Buffers
}

func (w *tcpWriter) init(t *TCP) { w.t = t }

// write writes packets, each behind its length.
func (w *tcpWriter) write(packets [][]byte) error {
	w.lengths = w.lengths[:0]
	for _, p := range packets {
		w.lengths = binary.BigEndian.AppendUint16(w.lengths, uint16(len(p)))
	}
	w.pieces = w.pieces[:0]
	for i, p := range packets {
		w.pieces = append(w.pieces, w.lengths[2*i:2*i+2], p)
	}
	rest := w.pieces // WriteTo uses it up
	_, err := rest.WriteTo(w.t.conn)
	clear(w.pieces)
	return err
}
