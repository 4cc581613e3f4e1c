package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/machine"
)

// wish is what a signal asks of a tunnel.
type wish int

const (
	wishEnd     wish = iota
	wishAnew         // read the options and start anew
	wishRestart      // have the link begin anew with its peer
	wishStatus       // write the counters to the log
)

// watch looks at a tunnel once a second: whether it has ended, and whether its
// status is to be written.
type watch struct {
	tunnel *tunnelRun
	up     chan struct{} // closed when it is known whether the tunnel is up

	written   time.Time // the status file
	unwritten string    // the error of it, told once
}

func newWatch(t *tunnelRun) *watch { return &watch{tunnel: t, up: make(chan struct{})} }

// look says whether the tunnel has ended by itself; why it has failed, if it has, the
// machine knows.
func (w *watch) look(now time.Time) (ended bool) {
	t := w.tunnel
	if t.machine.Ended() {
		return true
	}
	if now.Sub(w.written) >= t.process.statusEvery {
		if err := w.writeStatus(); err != nil && err.Error() != w.unwritten {
			w.unwritten = err.Error()
			t.log.Error("the status is not written", "err", err)
		}
	}
	return false
}

// counts are the numbers of OpenVPN's status, in bytes.
type counts struct{ tapRead, tapWrite, socketRead, socketWrite uint64 }

func (w *watch) counts() (c counts) {
	m := w.tunnel.machine
	for _, connection := range m.Connections { // the one, made by the link's statement
		var write, read machine.Carried
		write, read = connection.Carried()
		c.tapRead, c.tapWrite = read.Bytes, write.Bytes
	}
	if link, ok := m.Part(linkName).Element.(element.Carrier); ok {
		c.socketRead, c.socketWrite = link.Traffic()
	}
	return c
}

// statistics writes the counters in the form of OpenVPN's print_status (sig.c).
// What the link could read of the peer's bytes are those that went to the TAP.
func (w *watch) statistics(to io.Writer) error {
	c := w.counts()
	_, err := fmt.Fprintf(to, "OpenVPN STATISTICS\nUpdated,%s\n"+
		"TUN/TAP read bytes,%d\nTUN/TAP write bytes,%d\nTCP/UDP read bytes,%d\nTCP/UDP write bytes,%d\nAuth read bytes,%d\nEND\n",
		time.Now().Format(time.DateTime), c.tapRead, c.tapWrite, c.socketRead, c.socketWrite, c.tapWrite)
	return err
}

// writeStatus writes the file of --status, if there is one, anew.
func (w *watch) writeStatus() error {
	file := w.tunnel.process.status
	if file == "" {
		return nil
	}
	w.written = time.Now()
	var text strings.Builder
	w.statistics(&text)
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("--status: %w", err)
	}
	return nil
}
