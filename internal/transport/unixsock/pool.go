package unixsock

import (
	"tmelink/internal/ethernet"
	"tmelink/internal/spare"
)

const (
	// streamBuffer is what one read of a stream brings at most. What waits in a
	// stream is bounded by the sender's SO_SNDBUF, about 200 KB.
	streamBuffer = 128 << 10
	streamBatch  = 256 // frames of a batch
)

// buffer is what a stream reads into. Frames are cut in it, where they lie.
type buffer struct {
	data   [streamBuffer]byte
	frames [streamBatch]ethernet.Frame
}

// buffers are those that no stream holds.
var buffers = spare.New(func() *buffer { return new(buffer) })
