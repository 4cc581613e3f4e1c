package pcapfile

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/pcap"
)

// recorder is the port of a file that is written.
type recorder struct {
	snaplen  int
	ng       bool
	counters ethernet.Counters
	done     chan struct{}

	mu      sync.Mutex // held over each batch, so that no packet is cut off
	path    string
	file    *os.File // nil: not open
	out     *pcap.Writer
	written uint64
	closed  bool
}

func (r *recorder) open(path string) error {
	file, err := openRegular(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	if err = mayReplace(file); err == nil {
		err = file.Truncate(0)
	}
	if err == nil {
		_, err = file.Seek(0, 0)
	}
	var out *pcap.Writer
	if err == nil {
		out, err = pcap.NewWriter(file, r.snaplen, r.ng)
	}
	if err != nil {
		file.Close()
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.path, r.file, r.out = path, file, out
	return nil
}

// mayReplace refuses a file that is neither empty nor a capture.
func mayReplace(file *os.File) error {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	if _, err = pcap.NewReader(file); errors.Is(err, pcap.ErrFormat) {
		return errors.New("there is a file already that is no capture; choose another name, or remove it")
	}
	return nil
}

// ReadFrames waits for the end: nothing comes out of a file that is written.
func (r *recorder) ReadFrames() ([]ethernet.Frame, error) {
	<-r.done
	return nil, net.ErrClosed
}

// WriteFrames has the frames in the file when it returns.
func (r *recorder) WriteFrames(frames []ethernet.Frame) error {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.file == nil {
		return net.ErrClosed
	}
	for i := range frames {
		if r.out.Write(now, frames[i].Data) != nil {
			break // Flush has the same error
		}
	}
	if err := r.out.Flush(); err != nil {
		r.counters.Write.Add(ethernet.SendFailed, len(frames))
		return fmt.Errorf("write the capture %s: %w", r.path, err)
	}
	r.written += uint64(len(frames))
	return nil
}

// Offloads: what is written is finished.
func (r *recorder) Offloads() ethernet.Offloads { return 0 }

func (r *recorder) MaxFrame() int                { return ethernet.MaxFrameLen }
func (r *recorder) Counters() *ethernet.Counters { return &r.counters }

// Close closes the file, in which all is by then.
func (r *recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	close(r.done)
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

func (r *recorder) status() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return "closed"
	case r.file == nil:
		return "not open"
	}
	return fmt.Sprintf("writes a capture, %d frames until now", r.written)
}
