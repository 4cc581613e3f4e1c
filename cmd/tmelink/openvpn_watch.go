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

// watch looks at a tunnel once a second: whether it carries anything, and
// whether its status is to be written.
type watch struct {
	tunnel *tunnelRun
	up     chan struct{} // closed when it is known whether the tunnel is up

	written   time.Time // the status file
	unwritten string    // the error of it, told once

	active      time.Time // the last time that --inactive's bytes were reached
	activeBytes uint64    // the bytes of the TAP then
	heard       time.Time // the last time that the peer was heard
	heardBytes  uint64    // the bytes of the socket then
}

func newWatch(t *tunnelRun) *watch {
	now := time.Now()
	return &watch{tunnel: t, up: make(chan struct{}), active: now, heard: now}
}

// look says whether the tunnel has ended by itself; an error is why it failed.
func (w *watch) look(now time.Time) (ended bool, err error) {
	t := w.tunnel
	if t.machine.Lost() != nil {
		return true, nil // run joins it to what it returns
	}
	p := &t.process
	c := w.counts()
	if c.tapRead+c.tapWrite-w.activeBytes >= max(1, p.inactiveBytes) {
		w.active, w.activeBytes = now, c.tapRead+c.tapWrite
	}
	if c.socketRead != w.heardBytes {
		w.heard, w.heardBytes = now, c.socketRead
	}
	switch {
	case p.inactive > 0 && now.Sub(w.active) >= p.inactive:
		t.log.Info("nothing was carried for long enough to end (--inactive)", "seconds", p.inactive.Seconds())
		return true, nil
	case p.pingExit > 0 && now.Sub(w.heard) >= p.pingExit:
		t.log.Info("the peer was silent for long enough to end (--ping-exit)", "seconds", p.pingExit.Seconds())
		return true, nil
	}
	if now.Sub(w.written) >= p.statusEvery {
		if err := w.writeStatus(); err != nil && err.Error() != w.unwritten {
			w.unwritten = err.Error()
			t.log.Error("the status is not written", "err", err)
		}
	}
	return false, nil
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
