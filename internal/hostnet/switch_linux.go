package hostnet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sysctlDir is where the switches are (proc(5)). Below it every thread sees
// those of its own network namespace.
const sysctlDir = "/proc/sys/net"

// readSwitch reads a switch by its path such as ipv4/conf/eth0/forwarding.
func (n *Namespace) readSwitch(path string) (value string, err error) {
	err = n.Do(func() error {
		text, err := os.ReadFile(filepath.Join(sysctlDir, path))
		value = strings.TrimSpace(string(text))
		return err
	})
	return value, err
}

func (n *Namespace) writeSwitch(path, value string) error {
	err := n.Do(func() error { return os.WriteFile(filepath.Join(sysctlDir, path), []byte(value+"\n"), 0) })
	if err != nil {
		return fmt.Errorf("set %s to %s: %w", sysctlName(path), value, explain(err))
	}
	return nil
}

// switchOn turns a switch of forwarding on and remembers what it was: what an
// earlier process found, where another one has turned it on already. One that
// somebody else has turned on stays theirs. The namespace is locked, and others
// are the journals in it.
func (c *Changes) switchOn(path, on string, others []table) error {
	now, err := c.ns.readSwitch(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", sysctlName(path), err)
	}
	before := now
	if theirs, ok := findSwitch(others, path); ok && theirs.New == now {
		before = theirs.Value
	} else if now != "0" {
		return nil
	}
	return c.setSwitch(path, before, on)
}

// setSwitch sets a switch, for which before is to be put back.
func (c *Changes) setSwitch(path, before, value string) error {
	if err := c.record(entry{Verb: verbSwitch, Path: path, Value: before, New: value}); err != nil {
		return err
	}
	return c.ns.writeSwitch(path, value)
}

// putBack gives a switch its old value, unless somebody else still needs it or
// has set it otherwise in the meantime.
func (n *Namespace) putBack(e entry, others []table) error {
	if _, needed := findSwitch(others, e.Path); needed {
		return nil
	}
	now, err := n.readSwitch(e.Path)
	if errors.Is(err, os.ErrNotExist) || err == nil && now != e.New {
		return nil
	}
	if err != nil {
		return err
	}
	return n.writeSwitch(e.Path, e.Value)
}

// findSwitch gives a switch's entry in the first journal that has one.
func findSwitch(tables []table, path string) (entry, bool) {
	for _, t := range tables {
		for _, e := range t.entries {
			if e.Verb == verbSwitch && e.Path == path {
				return e, true
			}
		}
	}
	return entry{}, false
}

// withSwitch gives the first journal that has a switch, or nil.
func withSwitch(tables []table, path string) *table {
	for i := range tables {
		if _, ok := findSwitch(tables[i:i+1], path); ok {
			return &tables[i]
		}
	}
	return nil
}

// isSwitchOf says whether a switch belongs to an interface.
func isSwitchOf(path, iface string) bool {
	p := strings.Split(path, "/")
	return len(p) == 4 && p[2] == iface
}

// sysctlName is the switch's name as sysctl(8) takes it. An interface's name
// with a dot in it is written with slashes there.
func sysctlName(path string) string {
	if strings.Contains(path, ".") {
		return "net/" + path
	}
	return "net." + strings.ReplaceAll(path, "/", ".")
}
