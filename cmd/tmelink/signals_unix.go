//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyStatus has SIGUSR2 ask for the counters, as OpenVPN has it.
func notifyStatus(c chan<- os.Signal) { signal.Notify(c, syscall.SIGUSR2) }
