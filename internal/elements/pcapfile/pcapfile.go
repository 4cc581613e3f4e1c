// Package pcapfile is the element type tme/host/pcap/file: a capture file that is
// replayed into a network, or written from what comes out of one.
//
// Frames flow one way: out of the file by ReadFrames, or into it by WriteFrames.
// There is no goroutine here. What is replayed waits for its time in the reader
// itself, and what is recorded is in the file when WriteFrames returns. The format
// is package pcap's.
package pcapfile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
	"tmelink/internal/pcap"
	"tmelink/internal/tmesh"
)

func init() {
	element.Register(element.Type{
		Path:    "tme/host/pcap/file",
		Summary: "a capture file of tcpdump or Wireshark, replayed or written",
		Doc: `With read the element sends the Ethernet frames of a file, pcap or pcapng, once and at the pace at which they were captured; what is sent to it is dropped. After the last frame it stays silent.

    p0 at sw0: tme/host/pcap/file read trace.pcap
    p1 at sw0: tme/host/pcap/file write seen.pcap

With write the element writes every frame that reaches it into a file, with the time at which it came: pcapng if the name ends with .pcapng, else pcap. Each batch of frames is in the file at once, so that tcpdump -r and Wireshark read what there is while tmelink runs. An earlier capture of that name is replaced; another file is not.

Packets of other link types than Ethernet, packets of which only a part was captured, and frames below 14 bytes or above 65557 are left out of a replay, and counted. Where a file ends inside a packet the replay ends there, with a warning; a damaged file ends the connection.`,
		Example:        "sw0: tme/generic/switch\np0 at sw0: tme/host/pcap/file write seen.pcap snaplen 128",
		MaxConnections: 1,
		Options:        (&config{}).options(element.Env{}),
		New:            newFile,
	})
}

// config is what the arguments say.
type config struct {
	read, write string // one of them
	readAt      tmesh.Pos
	writeAt     tmesh.Pos
	pace        string // "realtime", "at-once" or ""
	paceAt      tmesh.Pos
	snaplen     int
	snaplenAt   tmesh.Pos
}

func (c *config) options(env element.Env) []element.Option {
	file := func(name, doc string, path *string, at *tmesh.Pos) element.Option {
		return element.Option{Name: name, Values: "FILE", Doc: doc, Set: func(v element.Values) error {
			if *path = v.Text(0); *path == "" {
				return v.Faultf(0, "an empty name is no file")
			}
			if !filepath.IsAbs(*path) {
				*path = filepath.Join(env.Dir, *path)
			}
			*at = v.Name.Pos
			return nil
		}}
	}
	pace := func(name, doc string) element.Option {
		return element.Option{Name: name, Doc: doc, Set: func(v element.Values) error {
			if c.pace != "" {
				return tmesh.Faultf(v.Name.Pos, "realtime and at-once contradict each other; leave one of them out")
			}
			c.pace, c.paceAt = name, v.Name.Pos
			return nil
		}}
	}
	return []element.Option{
		file("read", "Replay this file. A relative name counts from the description's folder.", &c.read, &c.readAt),
		file("write", "Write this file, likewise.", &c.write, &c.writeAt),
		pace("realtime", "Replay at the pace of the capture; this is the default."),
		pace("at-once", "Replay as fast as the frames are taken."),
		{Name: "snaplen", Values: "BYTES", Doc: "Write at most so many bytes of each frame, 14 to 262144; the default is all.", Set: func(v element.Values) (err error) {
			c.snaplen, err = v.Int(0, ethernet.HeaderLen, pcap.MaxPacket)
			c.snaplenAt = v.Name.Pos
			return
		}},
	}
}

// port is one of the two ways of a file.
type port interface {
	ethernet.Port
	open(path string) error
	status() string
}

// File is an element of type tme/host/pcap/file.
type File struct {
	path string
	port port
	log  *slog.Logger
}

func newFile(env element.Env, args element.Args) (element.Element, error) {
	c := config{snaplen: pcap.MaxPacket}
	fault := args.Parse(c.options(env))
	switch {
	case c.read != "" && c.write != "":
		second := c.writeAt
		if c.readAt.Line == second.Line && c.readAt.Column > second.Column {
			second = c.readAt
		}
		fault = errors.Join(fault, tmesh.Faultf(second, "read and write contradict each other; give each an element of its own"))
	case c.read == "" && c.write == "" && fault == nil:
		fault = tmesh.Faultf(args.Pos, "the file is missing: say read FILE to replay one, write FILE to record one")
	case c.write != "" && c.pace != "":
		fault = errors.Join(fault, tmesh.Faultf(c.paceAt, "%s is for read; what is written comes when it comes", c.pace))
	case c.read != "" && c.snaplenAt.Line > 0:
		fault = errors.Join(fault, tmesh.Faultf(c.snaplenAt, "snaplen is for write; a file that is read has what it has"))
	}
	if fault != nil {
		return nil, fault
	}
	f := &File{path: c.read, log: env.Log}
	if c.write != "" {
		f.path = c.write
		f.port = &recorder{snaplen: c.snaplen, ng: strings.HasSuffix(c.write, ".pcapng"), done: make(chan struct{})}
	} else {
		f.port = newReplay(c.pace != "at-once", env.Log)
	}
	return f, nil
}

// Attach gives the element's port. Its side of a connection has no arguments.
func (f *File) Attach(args element.Args) (ethernet.Port, error) { return f.port, args.Parse(nil) }

// Start opens the file.
func (f *File) Start(context.Context) error {
	if err := f.port.open(f.path); err != nil {
		return fmt.Errorf("open the capture %s: %w", f.path, err)
	}
	f.log.Info(f.port.status())
	return nil
}

// Close closes the file.
func (f *File) Close() error { return f.port.Close() }

// Status says how far the element is.
func (f *File) Status() string { return f.port.status() }

// Sketch shows the file.
func (f *File) Sketch() element.Sketch {
	way := "write "
	if _, ok := f.port.(*replay); ok {
		way = "read "
	}
	return element.Sketch{Kind: element.OtherKind, Detail: []string{way + filepath.Base(f.path)}}
}

var _ element.Reporter = (*File)(nil)
