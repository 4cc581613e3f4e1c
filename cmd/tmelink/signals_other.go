//go:build !unix

package main

import "os"

// notifyStatus does nothing: this system has no SIGUSR2.
func notifyStatus(chan<- os.Signal) {}
