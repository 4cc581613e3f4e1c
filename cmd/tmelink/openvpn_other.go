//go:build !unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyOpenVPN asks for the signals that end: this system has no others.
func notifyOpenVPN(c chan<- os.Signal) { signal.Notify(c, os.Interrupt, syscall.SIGTERM) }

// wishOf is what a signal asks for: the end.
func wishOf(os.Signal) wish { return wishEnd }
