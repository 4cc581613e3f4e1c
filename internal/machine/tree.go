package machine

import (
	"strings"

	"tmelink/internal/element"
)

// standing is what a type's path is to tmelink.
type standing int

const (
	network  standing = iota // a registered element type
	leftOut                  // a listed type of TME's tree that carries no frames
	unlisted                 // in a family of TME's tree, but not listed
	missing                  // a network element of TME's that tmelink does not have
	unknown                  // in no tree
)

// families are the folders of TME's tree whose types carry no Ethernet frames,
// with the types that its shipped machine descriptions name.
var families = map[string]string{
	"machine/sun":   "",
	"machine/sun2":  "bwtwo clock tod zs",
	"machine/sun3":  "bwtwo cgtwo clock obie si zs",
	"machine/sun4":  "clock fdc oclock zs",
	"machine/sun4u": "",
	"ic": "am7930 am9513 bt458 cs4231A cy7c601 i82072 isil7170 lsi64854 m68010 m68020 m68k mk48t02 " +
		"mk48t59 mk48txx mm58167 ncr53c9x ncr5380 nec765 sparc stp1030 stp2024 stp2200 stp2220 stp22xx z8530",
	"ic/ncr89c105": "",
	"bus/sbus":     "bwtwo cgsix cgthree",
	"bus/multibus": "sun-mie sun-sc",
	"scsi":         "bus cdrom disk tape",
	"serial":       "keyboard mouse sink",
	"generic":      "bus bus-device fb ic",
	"host/posix":   "disk memory serial tape",
	"host/gtk":     "display",
	"host/sdl":     "display",
	"host/rfb":     "display",
}

// instead names what to use for the network elements of TME's that are missing.
var instead = map[string]string{
	"host/udp/eth":               "tme/host/openvpn/socket/link without keys sends the same raw frame in each datagram",
	"host/openvpn/socket/server": "a tme/host/openvpn/socket/link with --proto tcp-server takes one peer; for more, join several by a tme/generic/switch",
}

// standingOf finds what a path means. Both trees, tme/ and nme/, are the same.
func standingOf(path string) standing {
	if _, ok := element.Lookup(path); ok {
		return network
	}
	rest, ok := strings.CutPrefix(path, "tme/")
	if !ok {
		if rest, ok = strings.CutPrefix(path, "nme/"); !ok {
			return unknown
		}
	}
	if instead[rest] != "" {
		return missing
	}
	if _, ok := families[rest]; ok {
		return leftOut // machine/sun4 is a board and a folder in one
	}
	for folder := rest; ; {
		cut := strings.LastIndexByte(folder, '/')
		if cut < 0 {
			return unknown
		}
		folder = folder[:cut]
		listed, ok := families[folder]
		if !ok {
			continue
		}
		for _, name := range strings.Fields(listed) {
			if rest == folder+"/"+name {
				return leftOut
			}
		}
		if listed == "" {
			return leftOut
		}
		return unlisted
	}
}

// treePaths are the paths that an unknown one may have been meant to be.
func treePaths() []string {
	paths := element.Paths()
	for folder, listed := range families {
		for _, name := range strings.Fields(listed) {
			paths = append(paths, "tme/"+folder+"/"+name)
		}
	}
	return paths
}

// NearestType is the end of the error about an unknown path; the path's own
// tree, tme/ or nme/, is kept.
func NearestType(path string) string {
	paths := treePaths()
	if strings.HasPrefix(path, "nme/") {
		for i, p := range paths {
			paths[i] = "n" + p[1:]
		}
	}
	return element.DidYouMean(path, paths)
}
