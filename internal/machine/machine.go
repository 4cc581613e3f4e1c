// Package machine turns the statements of one description into elements joined
// by connections, and runs them.
//
// Statements flow in once, through Build, which opens nothing and tells
// everything that is wrong with them. Then the elements are started, and frames
// flow sideways: each connection is a goroutine a direction that reads a batch
// from one port and writes it to the other. No frame waits in this package.
package machine

import (
	"log/slog"
	"sync"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/tmesh"
)

// Machine is what one description builds.
type Machine struct {
	Name        string
	Parts       []*Part       // in the order of the text
	Connections []*Connection // likewise
	Commands    []*Command    // likewise
	LeftOut     LeftOut
	// NoEffect are the options that were accepted and do nothing here.
	NoEffect []tmesh.Word

	log     *slog.Logger
	started []*Part // in this order; closed in reverse
	pumps   sync.WaitGroup
	mu      sync.Mutex // guards what follows
	upSince time.Time
	ended   bool  // a connection has, by itself
	lost    error // of the connections that were lost
}

// Part is an element and what the description says of it.
type Part struct {
	Name    string
	Pos     tmesh.Pos // of the name where the element is made
	Type    *element.Type
	Args    []tmesh.Word
	Element element.Element

	level       *slog.LevelVar
	connections []tmesh.Pos
}

// Command is a `command` statement.
type Command struct {
	Part *Part
	Pos  tmesh.Pos
	Text string // as a person would type it: "le0 ping 10.0.0.2"
	Run  element.Command
}

// LeftOut is what a description says that tmelink has no part in: the board,
// the CPU, the disks, and what concerns only them.
type LeftOut struct {
	Elements   []tmesh.Word // their names
	Statements int          // connections, log and command statements
	Unlisted   []tmesh.Word // types that TME's own descriptions do not name
}

// Part finds an element by its name.
func (m *Machine) Part(name string) *Part {
	for _, p := range m.Parts {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Claim is a claim and whose it is.
type Claim struct {
	element.Claim
	Machine, Element string
}

// Claims are what the machine's elements need alone, or share on terms.
func (m *Machine) Claims() []Claim {
	var claims []Claim
	for _, p := range m.Parts {
		if c, ok := p.Element.(element.Claimer); ok {
			for _, claim := range c.Claims() {
				claims = append(claims, Claim{claim, m.Name, p.Name})
			}
		}
	}
	return claims
}
