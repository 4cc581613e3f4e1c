// Package ethernet is what tmelink knows of Ethernet itself: frames, hardware
// addresses, the port at which frames enter and leave an element, and the work
// that can be done on a frame's bytes alone.
//
// It holds no file descriptor and starts no goroutine. Frames flow through it
// as borrowed byte slices; nothing here keeps one.
package ethernet

import "strings"

// Port is one Ethernet attachment point. One goroutine reads it and another
// writes it; Close may be called by any goroutine, more than once.
type Port interface {
	// ReadFrames waits for frames and returns a batch of at least one. The
	// frames are borrowed: they are valid until the next ReadFrames or Close,
	// and the reader may meanwhile change the slice and the bytes.
	// After Close it returns net.ErrClosed, also to a reader that waits; any
	// other error means that the port is lost and will bring no more frames.
	ReadFrames() ([]Frame, error)

	// WriteFrames sends a batch and keeps nothing of it. It returns when every
	// frame is sent or dropped; a dropped frame is counted in Counters, it is
	// not an error. It is handed only frames of at least HeaderLen bytes and
	// at most MaxFrame, and super-frames only as Offloads allows. It may
	// change the frames' bytes: nobody reads them afterwards.
	// Errors are those of ReadFrames.
	WriteFrames([]Frame) error

	// Offloads says what WriteFrames takes unfinished. It is constant once
	// the element has started.
	Offloads() Offloads

	// MaxFrame is the longest frame, in bytes from the destination address
	// to the end of the payload, that WriteFrames takes; of a super-frame it
	// limits each segment. It is constant once the element has started.
	MaxFrame() int

	// Counters are the port's drops. They may be read at any time.
	Counters() *Counters

	// Close ends both directions and wakes who waits in them.
	Close() error
}

// Station is a Port behind which stands one machine that wants only frames for
// its own addresses. Filter is the same for the port's whole life; what it lets
// through may change.
type Station interface {
	Port
	Filter() *Filter
}

// Filtered is a Port that can spare its peer the frames that a Filter would not
// let through. SetFilter is called at most once, before the port is read.
type Filtered interface {
	Port
	SetFilter(*Filter)
}

// Bounded is a Port that has something to say of frames longer than its MaxFrame, such
// as which option would let them pass. Whoever has to leave such frames out tells it how
// long the longest is; any goroutine may, and as often as it likes.
type Bounded interface {
	Port
	TellOversize(length int)
}

// Parting is a Port whose far side can go away while the port stays, as the peer of a
// link whose circuit is lost. OnParted is called at most once, before the port is
// read; f is called each time the far side has gone, by one goroutine at a time.
type Parting interface {
	Port
	OnParted(f func())
}

// Learner is a Port that remembers which stations are beyond the other port of its
// connection. Forget has it look for them everywhere, until they are heard again; it
// waits for nothing, and any goroutine may call it.
type Learner interface {
	Port
	Forget()
}

// Reflector is a Port that can be joined to itself (`tap1 at tap1`). Whoever
// would join it calls ReflectOnly once, after the element has started, in place
// of making a connection, and goes on reading: what ReadFrames still gives is
// for nobody and must not be written back. The port does all that the joining is
// for inside ReadFrames; WriteFrames is not called.
type Reflector interface {
	Port
	ReflectOnly()
}

// Multiqueue is a Port whose frames come in by several queues side by side, each
// read by a goroutine of its own.
type Multiqueue interface {
	Port
	// Readers are what reads each queue, by the contract of ReadFrames; the
	// first is the port itself. There are as many as long as the port lives
	// once the element has started.
	Readers() []Reader
}

// Reader is the side of a Port that gives frames.
type Reader interface {
	ReadFrames() ([]Frame, error)
}

// Frame is one Ethernet frame, destination address first, without frame check
// sequence; or, where Needs is not zero, a frame that somebody still has to
// finish.
type Frame struct {
	Data []byte

	// Needs is what remains to be done before the frame can go on a wire:
	// its checksum, and for a super-frame the segmentation.
	Needs Offloads
	// SegmentSize is the number of payload bytes of every segment but the
	// last, where Needs asks for segmentation.
	SegmentSize uint16
	// ChecksumStart is the place of the transport header, from the start of
	// Data, and ChecksumOffset that of the checksum in it, where Needs has
	// Checksum. The checksum field holds the sum of the pseudo header.
	ChecksumStart, ChecksumOffset uint16
}

// Offloads is a set of things that may be left to do on a frame.
type Offloads uint8

const (
	// Checksum: the TCP or UDP checksum covers the pseudo header only.
	Checksum Offloads = 1 << iota
	// TSO4 and TSO6: TCP in IPv4 or IPv6, to be cut into segments.
	TSO4
	TSO6
	// USO: UDP in IPv4 or IPv6, to be cut into datagrams.
	USO
)

// Segmentation is every kind of super-frame.
const Segmentation = TSO4 | TSO6 | USO

// Takes says whether all that a frame needs is in the set.
func (o Offloads) Takes(f *Frame) bool { return f.Needs&^o == 0 }

// String lists the offloads, for logs: "checksum tso4 tso6 uso", or "none".
func (o Offloads) String() string {
	var names []string
	for i, name := range []string{"checksum", "tso4", "tso6", "uso"} {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, " ")
}
