package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tmelink/internal/ethernet"
)

// The verbs of the journal. Each says what was done and, behind it, what was
// there before.
const (
	verbUp           = "up"      // up IFACE INDEX
	verbMTU          = "mtu"     // mtu IFACE INDEX OLD
	verbHardwareAddr = "hwaddr"  // hwaddr IFACE INDEX OLD
	verbAddress      = "address" // address IFACE INDEX ADDR/LEN
	verbRoute        = "route"   // route IFACE INDEX TO/LEN,VIA,METRIC, VIA being empty for none
	verbMaster       = "master"  // master IFACE INDEX OLDINDEX, 0 being none
	verbSwitch       = "sysctl"  // sysctl PATH OLD NEW
)

// maxEntry is the longest entry, as long as nft prints a comment
// (NFTNL_UDATA_COMMENT_MAXLEN, libnftnl).
const maxEntry = 128

// entry is one act of the journal: a line of text in the kernel, from which it
// can be undone by another process than the one that did it.
type entry struct {
	Verb  string
	Link  Link   // of the verbs about an interface
	Path  string // of a switch, below /proc/sys/net
	Value string // what was there before, or the address or route that was added
	New   string // what a switch was set to
}

// String gives the entry's line.
func (e entry) String() string {
	if e.Verb == verbSwitch {
		return strings.Join([]string{e.Verb, e.Path, e.Value, e.New}, " ")
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %d %s", e.Verb, e.Link.Name, e.Link.Index, e.Value))
}

// parseEntry reads a line. Whoever may change the namespace's nftables can have
// written it, so that only what this package writes itself is taken.
func parseEntry(line string) (entry, error) {
	bad := func(why string) (entry, error) { return entry{}, fmt.Errorf("journal entry %q: %s", line, why) }
	f := strings.Fields(line)
	if len(line) > maxEntry || len(f) < 3 || len(f) > 4 {
		return bad("not of a known form")
	}
	if f[0] == verbSwitch {
		if len(f) != 4 || !isSwitch(f[1]) || !isSmall(f[2]) || !isSmall(f[3]) {
			return bad("not a switch of IP forwarding")
		}
		return entry{Verb: f[0], Path: f[1], Value: f[2], New: f[3]}, nil
	}
	index, err := strconv.ParseUint(f[2], 10, 31)
	if err != nil || index == 0 || len(f[1]) > 15 {
		return bad("not an interface")
	}
	e := entry{Verb: f[0], Link: Link{Name: f[1], Index: int(index)}}
	if len(f) == 4 {
		e.Value = f[3]
	}
	switch e.Verb {
	case verbUp:
		if e.Value != "" {
			return bad("it has no value")
		}
	case verbMTU, verbMaster:
		if _, err := strconv.ParseUint(e.Value, 10, 31); err != nil {
			return bad("not a number")
		}
	case verbHardwareAddr:
		if _, err := ethernet.ParseAddr(e.Value); err != nil {
			return bad(err.Error())
		}
	case verbAddress:
		if _, err := netip.ParsePrefix(e.Value); err != nil {
			return bad(err.Error())
		}
	case verbRoute:
		if _, err := parseRoute(e.Value); err != nil {
			return bad(err.Error())
		}
	default:
		return bad("unknown verb")
	}
	return e, nil
}

// switches are the last part of the paths that the package changes.
var switches = []string{"forwarding", "force_forwarding", "accept_ra"}

// isSwitch says whether a path is ipv4/conf/IFACE/SWITCH or its like for IPv6.
func isSwitch(path string) bool {
	p := strings.Split(path, "/")
	return len(p) == 4 && (p[0] == "ipv4" || p[0] == "ipv6") && p[1] == "conf" &&
		p[2] != "" && p[2] != "." && p[2] != ".." && slices.Contains(switches, p[3])
}

// isSmall says whether a word is a switch's value, such as 0, 1 or -1.
func isSmall(word string) bool {
	n, err := strconv.Atoi(word)
	return err == nil && n >= -1 && n <= 9 && word == strconv.Itoa(n)
}
