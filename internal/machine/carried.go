package machine

// Carried is what one direction of a connection has carried until now.
type Carried struct {
	Frames, Bytes uint64 // a super-frame counts as one frame
}

// Carried gives what has gone from A to B and from B to A. Of an element joined
// to itself the second is nothing.
func (c *Connection) Carried() (aToB, bToA Carried) {
	return c.aToB.carried(), c.bToA.carried()
}

func (f *flow) carried() Carried { return Carried{f.frames.Load(), f.bytes.Load()} }
