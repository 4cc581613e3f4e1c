// Package all makes every element type of this binary known, by being imported.
package all

import (
	_ "tmelink/internal/elements/bpf"
	_ "tmelink/internal/elements/emulator"
	_ "tmelink/internal/elements/generic"
	_ "tmelink/internal/elements/link"
	_ "tmelink/internal/elements/nat"
	_ "tmelink/internal/elements/nic"
	_ "tmelink/internal/elements/pcapfile"
	_ "tmelink/internal/elements/rawudp"
	_ "tmelink/internal/elements/tap"
	_ "tmelink/internal/elements/vale"
)
