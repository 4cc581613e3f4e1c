//go:build unix && !linux

package unixsock

import (
	"errors"
	"io/fs"
	"net"
	"sync/atomic"
	"syscall"

	"tmelink/internal/ethernet"
)

// Here each datagram is a call of package net.

type datagramIO struct {
	remote atomic.Pointer[net.UnixAddr] // nil: nobody was heard
	buf    []byte                       // the reader's
	frames [1]ethernet.Frame            // likewise
	padded []byte                       // the writer's
}

func (d *Datagrams) init() error {
	if d.config.Remote != "" {
		d.setPeer(d.config.Remote)
	}
	d.buf = make([]byte, d.config.MaxFrame+1)
	return nil
}

// Connect gives the socket its peer.
func (d *Datagrams) Connect(remote string) error {
	d.senders.peer = remote
	d.setPeer(remote)
	return nil
}

func (d *Datagrams) setPeer(path string) {
	d.remote.Store(&net.UnixAddr{Net: "unixgram", Name: path})
}

func (d *Datagrams) receive() ([]ethernet.Frame, error) {
	n, from, err := d.conn.ReadFromUnix(d.buf)
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ENOBUFS):
		return nil, nil
	case err != nil:
		return nil, err
	}
	var path []byte
	if from != nil {
		path = []byte(from.Name)
	}
	if !d.admits(path) || !d.takes(d.buf[:n], n) {
		return nil, nil
	}
	d.frames[0] = ethernet.Frame{Data: d.buf[:n:n]}
	return d.frames[:], nil
}

func (d *Datagrams) send(frames []ethernet.Frame) error {
	drops, to := &d.config.Counters.Write, d.remote.Load()
	if to == nil {
		drops.Add(ethernet.NoPeer, len(frames))
		return nil
	}
	for i := range frames {
		data := frames[i].Data
		if len(data) < d.config.MinFrame {
			d.padded = append(d.padded[:0], data...)
			d.padded = append(d.padded, make([]byte, d.config.MinFrame-len(data))...)
			data = d.padded
		}
		_, err := d.conn.WriteToUnix(data, to)
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			drops.Add(ethernet.Disconnected, len(frames)-i)
			return err
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNRESET):
			drops.Add(ethernet.Disconnected, len(frames)-i)
			return nil
		case errors.Is(err, syscall.EMSGSIZE):
			drops.Add(ethernet.Oversize, 1)
		case errors.Is(err, syscall.ENOBUFS): // the peer's queue is full, and nobody tells when it is not
			drops.Add(ethernet.QueueFull, 1)
		default:
			drops.Add(ethernet.SendFailed, 1)
		}
	}
	return nil
}

func (d *Datagrams) closeMore() {}
