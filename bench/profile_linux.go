package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// record sees by perf where the time of the whole machine goes during a TCP
// stream through a subject of ours. That there can be no profile is no error, but
// said in it.
func (p *plan) record(ctx context.Context, c contender) (_ *Profile, err error) {
	const seconds = 2
	absent := func(format string, args ...any) (*Profile, error) {
		text := fmt.Sprintf(format, args...)
		progress("  no profile: %s", text)
		return &Profile{Subject: c.Name, Absent: text}, ctx.Err()
	}
	if text := missing([]string{"perf"}); text != "" {
		return absent("%s (Debian: linux-perf)", text)
	}
	s, err := newSite(ctx, p.tmelink, p.settings.Congestion)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	n, err := c.build(s)
	if err == nil {
		err = s.ready(n, 30*time.Second)
	}
	if err != nil {
		return absent("%s does not come up: %v", c.Name, err)
	}
	data := filepath.Join(s.dir, "perf.data")
	recorded := make(chan error, 1)
	go func() {
		// The stream's first second is not like the others.
		if err := pause(ctx, 1200*time.Millisecond); err != nil {
			recorded <- err
			return
		}
		_, err := s.run(n.client, (seconds+20)*time.Second, "perf", "record", "-q", "-a", "-e", "cpu-clock", "-g", "-o", data, "--", "sleep", strconv.Itoa(seconds))
		recorded <- err
	}()
	st, err := s.iperf(n, (seconds+3)*time.Second, "-C", s.congestion, "-O", "1", "-t", strconv.Itoa(seconds+1))
	if err := errors.Join(err, <-recorded); err != nil {
		return absent("%v", err)
	}
	report, err := s.run(n.client, time.Minute, "perf", "report", "--stdio", "--no-children", "-g", "none",
		"-F", perfColumns, "-t", "|", "-i", data)
	if err != nil {
		return absent("%v", err)
	}
	profile := parsePerf(report, p.tmelink)
	if profile.Samples == 0 {
		return absent("perf took no samples")
	}
	profile.Subject = c.Name
	profile.Gbps = st.bitsPerSecond / 1e9
	if stripped(p.tmelink) {
		profile.Note = "This tmelink was built without symbols, so that its functions have no names."
	}
	return profile, nil
}

// stripped says whether a program has no symbol table, so that perf finds no
// names in it.
func stripped(program string) bool {
	f, err := elf.Open(program)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Symbols()
	return err != nil
}
