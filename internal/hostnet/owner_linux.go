package hostnet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// owner names a process beyond the reuse of its number: by when it started, in
// clock ticks after boot (proc(5), /proc/PID/stat field 22), and by the
// namespace that the number counts in.
type owner struct {
	pid    int
	start  uint64
	pidns  string // "pid:[4026531836]"
	unread bool   // the table has no line that says whose it is
}

// self is the process that runs.
func self() (owner, error) {
	start, err := startTime(os.Getpid())
	if err != nil {
		return owner{}, fmt.Errorf("read the process's own start time: %w", err)
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return owner{}, fmt.Errorf("read the process's pid namespace: %w", err)
	}
	return owner{pid: os.Getpid(), start: start, pidns: ns}, nil
}

// String gives the first line of a journal.
func (o owner) String() string { return fmt.Sprintf("owner %d %d %s", o.pid, o.start, o.pidns) }

func parseOwner(line string) (owner, error) {
	bad := fmt.Errorf("journal owner %q: not of a known form", line)
	f := strings.Fields(line)
	if len(f) != 4 || f[0] != "owner" || len(line) > maxEntry {
		return owner{}, bad
	}
	pid, err := strconv.ParseUint(f[1], 10, 31)
	if err != nil || pid == 0 {
		return owner{}, bad
	}
	start, err := strconv.ParseUint(f[2], 10, 64)
	if err != nil {
		return owner{}, bad
	}
	return owner{pid: int(pid), start: start, pidns: f[3]}, nil
}

// alive says whether the process still runs. One of another pid namespace
// cannot be looked at and counts as running.
func (o owner) alive() bool {
	if o.unread {
		return false
	}
	if ns, err := os.Readlink("/proc/self/ns/pid"); err != nil || ns != o.pidns {
		return true
	}
	start, err := startTime(o.pid)
	if err != nil { // gone, or hidden (proc(5), hidepid)
		return !errors.Is(unix.Kill(o.pid, 0), unix.ESRCH)
	}
	return start == o.start
}

func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The program's name is in parentheses and may hold anything; behind it
	// the fields count from 3.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || string(fields[0]) == "Z" {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}
