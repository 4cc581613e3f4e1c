package ethernet

import "sync/atomic"

// Reason says why a frame was dropped.
type Reason uint8

const (
	Runt          Reason = iota // shorter than an Ethernet header
	Oversize                    // longer than the port takes
	Malformed                   // its bytes contradict each other
	NoPeer                      // a link that floats has not heard its peer yet
	Disconnected                // a TCP link between two connections, or an emulator that is away
	Stranger                    // from an address that is not the peer's
	Control                     // OpenVPN's pings and OCC messages, which are not frames
	QueueFull                   // the receiver does not keep up
	SendFailed                  // the kernel refused to send it
	FilteredOut                 // not for this machine
	Reflected                   // a copy of what was sent before
	KernelDrop                  // dropped by the kernel before it could be read
	InterfaceDown               // the host's interface is down
	NoKey                       // a link has no key for it: not yet, or not any more
	Forged                      // not sealed with the link's key
	Replayed                    // came a second time, or too late
	Impaired                    // lost because the description asks for it
	TooLong                     // a link's packet is longer than the path to the peer takes
	Incomplete                  // a part of it is missing: a fragment that has not come, or what was not captured
	OtherVLAN                   // of a VLAN that the port of a switch does not carry
	Isolated                    // between two ports of a switch that are kept apart
	Storm                       // more broadcasts and multicasts than a port of a switch may bring
	Looped                      // in by a port of a switch that is blocked, for it is part of a loop
	NumReasons
)

var reasonNames = [NumReasons]string{
	"runt", "oversize", "malformed", "no-peer", "disconnected", "stranger", "control",
	"queue-full", "send-failed", "filtered", "reflected", "kernel-drop", "interface-down",
	"no-key", "forged", "replayed", "impaired", "too-long", "incomplete", "other-vlan", "isolated", "storm", "looped",
}

// String gives the word under which status and metrics show the reason.
func (r Reason) String() string { return reasonNames[r] }

// Drops counts dropped frames by reason. It is written and read atomically.
type Drops [NumReasons]atomic.Uint64

// Add counts n frames.
func (d *Drops) Add(r Reason, n int) { d[r].Add(uint64(n)) }

// Count is the number of frames dropped for a reason.
func (d *Drops) Count(r Reason) uint64 { return d[r].Load() }

// Total is the number of frames dropped for any reason.
func (d *Drops) Total() uint64 {
	var sum uint64
	for r := range d {
		sum += d[r].Load()
	}
	return sum
}

// Counters are the drops of a port's two directions: Read counts what came from
// outside and did not become a frame of ReadFrames, Write what WriteFrames did
// not bring outside.
type Counters struct {
	Read, Write Drops
}
