package pcapfile

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tmelink/internal/ethernet"
	"tmelink/internal/pcap"
)

// batchFrames and batchBytes bound what ReadFrames gives at once.
const (
	batchFrames = 64
	batchBytes  = 256 << 10
)

// replay is the port of a file that is read.
type replay struct {
	realtime bool
	log      *slog.Logger
	path     string
	counters ethernet.Counters
	sent     atomic.Uint64
	ended    atomic.Bool
	done     chan struct{}
	close    sync.Once

	mu   sync.Mutex // held while file changes
	file *os.File

	// Of the goroutine that reads.
	in      *pcap.Reader
	next    *pcap.Packet // read and not yet sent
	packet  pcap.Packet
	began   time.Time // when the first packet was sent
	first   time.Time // its time in the file
	told    bool      // that packets are left out
	timer   *time.Timer
	data    []byte
	lengths []int
	frames  []ethernet.Frame
}

func newReplay(realtime bool, log *slog.Logger) *replay {
	return &replay{realtime: realtime, log: log, done: make(chan struct{})}
}

func (r *replay) open(path string) error {
	file, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	in, err := pcap.NewReader(file)
	if err != nil {
		file.Close()
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.path, r.file, r.in = path, file, in
	return nil
}

// ReadFrames waits for the time of the next frames.
func (r *replay) ReadFrames() ([]ethernet.Frame, error) {
	if r.in == nil {
		return nil, net.ErrClosed
	}
	r.data, r.lengths = r.data[:0], r.lengths[:0]
	for {
		if err := r.advance(); err != nil {
			return nil, err
		}
		if r.next == nil || !r.wait() {
			<-r.done
			return nil, net.ErrClosed
		}
		for r.next != nil && len(r.lengths) < batchFrames && len(r.data) < batchBytes && r.due() <= 0 {
			r.data = append(r.data, r.next.Data...)
			r.lengths = append(r.lengths, len(r.next.Data))
			r.next = nil
			if err := r.advance(); err != nil {
				return nil, err
			}
		}
		if len(r.lengths) > 0 {
			return r.batch(), nil
		}
	}
}

// batch gives what was put together.
func (r *replay) batch() []ethernet.Frame {
	r.frames = r.frames[:0]
	start := 0
	for _, n := range r.lengths {
		r.frames = append(r.frames, ethernet.Frame{Data: r.data[start : start+n : start+n]})
		start += n
	}
	r.sent.Add(uint64(len(r.frames)))
	return r.frames
}

// advance reads on until there is a frame, or none any more.
func (r *replay) advance() error {
	for r.next == nil && !r.ended.Load() {
		p, err := r.in.Next()
		select {
		case <-r.done:
			return net.ErrClosed
		default:
		}
		switch {
		case err == io.EOF:
			r.ended.Store(true)
			r.log.Info("the replay has ended", "frames", r.sent.Load()+uint64(len(r.lengths)))
		case errors.Is(err, io.ErrUnexpectedEOF):
			r.ended.Store(true)
			r.log.Warn("the file ends inside a packet: was its writer stopped? The replay has ended", "frames", r.sent.Load()+uint64(len(r.lengths)))
		case err != nil:
			return fmt.Errorf("read the capture %s: %w", r.path, err)
		case r.takes(&p):
			r.packet = p
			r.next = &r.packet
			if r.began.IsZero() {
				r.began, r.first = time.Now(), p.Time
			}
		}
	}
	return nil
}

// takes says whether a packet is a frame that can be sent, and counts it if not.
func (r *replay) takes(p *pcap.Packet) bool {
	drops := &r.counters.Read
	switch {
	case p.Link != pcap.Ethernet:
		drops.Add(ethernet.Malformed, 1)
	case len(p.Data) < p.Length:
		drops.Add(ethernet.Incomplete, 1)
	case len(p.Data) < ethernet.HeaderLen:
		drops.Add(ethernet.Runt, 1)
	case len(p.Data) > ethernet.MaxFrameLen:
		drops.Add(ethernet.Oversize, 1)
	default:
		return true
	}
	if !r.told {
		r.told = true
		r.log.Warn("left out a packet that is no whole Ethernet frame; others are counted", "link-type", p.Link, "captured", len(p.Data), "bytes", p.Length)
	}
	return false
}

// due is how long the next frame has to wait.
func (r *replay) due() time.Duration {
	if !r.realtime {
		return 0
	}
	return r.next.Time.Sub(r.first) - time.Since(r.began)
}

// wait waits for the next frame's time, and says whether the port is still open.
func (r *replay) wait() bool {
	d := r.due()
	if d <= 0 {
		return true
	}
	if r.timer == nil {
		r.timer = time.NewTimer(d)
	} else {
		r.timer.Reset(d)
	}
	select {
	case <-r.timer.C:
		return true
	case <-r.done:
		r.timer.Stop()
		return false
	}
}

// WriteFrames drops what nobody asked for.
func (r *replay) WriteFrames(frames []ethernet.Frame) error {
	select {
	case <-r.done:
		return net.ErrClosed
	default:
	}
	r.counters.Write.Add(ethernet.FilteredOut, len(frames))
	return nil
}

// Offloads: whatever it is, it is dropped.
func (r *replay) Offloads() ethernet.Offloads { return ethernet.Checksum | ethernet.Segmentation }

func (r *replay) MaxFrame() int                { return ethernet.MaxFrameLen }
func (r *replay) Counters() *ethernet.Counters { return &r.counters }

// Close ends the replay.
func (r *replay) Close() (err error) {
	r.close.Do(func() {
		close(r.done)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.file != nil {
			err = r.file.Close()
		}
	})
	return err
}

func (r *replay) status() string {
	select {
	case <-r.done:
		return "closed"
	default:
	}
	end := ""
	if r.ended.Load() {
		end = ", at its end"
	}
	return fmt.Sprintf("replays a capture%s, %d frames sent", end, r.sent.Load())
}

// openRegular opens a file and nothing else, so that no device or pipe holds up
// who opens it.
func openRegular(path string, flags int) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("it is no file; give the name of one")
	}
	file, err := os.OpenFile(path, flags, 0o600)
	var at *os.PathError
	if errors.As(err, &at) {
		return nil, at.Err
	}
	return file, err
}
