// Package element says what a network element is, keeps the registry of element
// types, and reads typed arguments out of a description's words.
//
// An element is built in steps, so that a whole description can be checked
// before anything is opened: New and Attach only look at their arguments, Start
// opens, Wait waits for a peer, and Close undoes all of it. Frames never pass
// through this package; they flow between the ports that Attach gave.
package element

import (
	"context"
	"io"
	"log/slog"

	"tmelink/internal/ethernet"
	"tmelink/internal/tmesh"
)

// Element is a built element. The methods are called by one goroutine at a time.
type Element interface {
	// Attach gives the port for the next connection. args are the words of
	// the description on this element's side of the connection. It has no
	// side effect; its faults are *tmesh.Fault. The machine attaches no more
	// connections than Type.MaxConnections says.
	Attach(args Args) (ethernet.Port, error)

	// Start opens the devices and sockets and returns without waiting for a
	// peer. It is called once, after every Attach; ports carry frames once it
	// has returned. Its error says what was being done and to what. ctx ends
	// when the machine is being stopped while it still starts.
	Start(ctx context.Context) error

	// Close closes the element's ports and undoes all that Start did, also
	// after a Start that failed half-way or was never called. It ends every
	// goroutine that the element began.
	Close() error
}

// Waiter is an element whose machine must not proceed before a peer is there.
type Waiter interface {
	// WaitingFor names the peer, for the line that says so: "tcp peer 10.0.0.2:1194".
	WaitingFor() string
	// Wait returns when the peer is there or ctx ends.
	Wait(ctx context.Context) error
}

// Commander is an element that carries out `command` statements.
type Commander interface {
	// Prepare checks a command's words and returns what carries it out. It
	// has no side effect; its faults are *tmesh.Fault.
	Prepare(args Args) (Command, error)
}

// Command is one prepared command. It writes what a person should read to out
// and returns an error if the command failed.
type Command func(ctx context.Context, out io.Writer) error

// Claimer is an element that needs things of the host which only one element of
// a process can have, or several that agree, such as a UDP port.
type Claimer interface {
	Claims() []Claim
}

// Reporter is an element with more to say than its ports' counters: one line
// without line end, such as "peer 10.0.0.2:1194, up 3m2s". It may be called at
// any time after New, by any goroutine.
type Reporter interface {
	Status() string
}

// Finite is an element with whose end the whole run ends, such as the one that has
// standard input.
type Finite interface {
	// Ended is closed when the element has ended by itself.
	Ended() <-chan struct{}
}

// Env is what an element is told of its surroundings.
type Env struct {
	Machine string       // the machine's name
	Name    string       // the element's name in the description
	Dir     string       // the folder against which relative file names count
	Log     *slog.Logger // carries machine and element
}

// Args are the words of an argument list.
type Args struct {
	Pos   tmesh.Pos // where a missing word is complained of
	Words []tmesh.Word
	// Peer is the name of what the element is joined to, for Attach.
	Peer string
	// NoEffect collects the options that were accepted and do nothing here.
	// It may be nil.
	NoEffect *[]tmesh.Word
}
