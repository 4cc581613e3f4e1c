package element

import "errors"

// ErrEnded is among the errors of a port whose element has ended because its words
// ask for that, which is no failure.
var ErrEnded = errors.New("ended as asked")

// Restarter is an element that can begin anew with its peer while it runs.
type Restarter interface {
	// Restart gives up the peer of the moment and looks for it again, as after
	// its silence. reason is for the log. It returns at once, and may be called
	// at any time after Start, by any goroutine.
	Restart(reason string)
}

// Carrier is an element that carries frames by a socket.
type Carrier interface {
	// Traffic counts the payload bytes of the socket's packets, all that belongs
	// to the protocol included, since the element started. It may be called at
	// any time after New, by any goroutine.
	Traffic() (read, written uint64)
}
