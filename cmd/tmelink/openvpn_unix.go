//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyOpenVPN asks for the signals that OpenVPN knows. Under nohup SIGHUP stays
// ignored.
func notifyOpenVPN(c chan<- os.Signal) {
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(c, syscall.SIGHUP)
	}
}

// wishOf is what a signal asks for (OpenVPN manual, SIGNALS).
func wishOf(s os.Signal) wish {
	switch s {
	case syscall.SIGHUP:
		return wishAnew
	case syscall.SIGUSR1:
		return wishRestart
	case syscall.SIGUSR2:
		return wishStatus
	}
	return wishEnd
}
