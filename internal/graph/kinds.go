package graph

import (
	"fmt"
	"strings"
)

// styleSheet holds for a whole SVG picture. Texts have a fallback that is
// monospaced on every system.
const styleSheet = `
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:11px}
.page{fill:#fff;stroke:#d5dce6}
.m{fill:#f4f6fa;stroke:#c5cfdd}
.t{font-size:13px;font-weight:700;fill:#3c4a60}
.n{font-size:13px;font-weight:700;fill:#1b2533}
.y{fill:#64728a}
.e{fill:#2f3c50}
.l{fill:#3c4a60;text-anchor:middle}
.c{fill:none;stroke:#55647c;stroke-width:1.8}
.w{fill:none;stroke:#55647c;stroke-width:1.6;stroke-dasharray:5 4}
.p{fill:#fff;stroke:#8a97ab;stroke-width:1.2}
.d{fill:#55647c}
`

// kindColours are the kinds' colours, in DOT and in SVG. Each line colour keeps
// a contrast of 3:1 to its fill and to a machine's frame.
var kindColours = [numKinds]struct{ class, fill, line string }{
	Other:        {"ko", "#eef0f4", "#74808f"},
	Host:         {"kh", "#e3f5e8", "#2c8a4b"},
	Link:         {"kl", "#e4eefd", "#2f6fd0"},
	TAP:          {"kt", "#fdf0dd", "#b8690f"},
	PacketSocket: {"kp", "#f5e9fb", "#9146b5"},
	Switch:       {"ks", "#def4f5", "#13838d"},
}

// boxRadius is how round the corners of a kind's box are, in pixels.
var boxRadius = [numKinds]int{Other: 4, Host: 4, Link: 14, TAP: 8, PacketSocket: 8, Switch: 4}

// kindIcons are SVG paths on a field of 16 by 16, drawn as lines.
var kindIcons = [numKinds]string{
	// A circle.
	Other: "M8 3a5 5 0 1 0 .01 0z",
	// A screen on its foot.
	Host: "M2 3h12v8H2zM8 11v3M5 14h6",
	// Two arrows that pass each other.
	Link: "M2 6h11M10 3l3 3-3 3M14 11H3M6 8l-3 3 3 3",
	// A plug and its cord.
	TAP: "M4 7h8v2a4 4 0 0 1-8 0zM6 7V2M10 7V2M8 13v3",
	// A funnel.
	PacketSocket: "M2 3h12L9.5 8.5V13L6.5 14.5V8.5z",
	// Four ports that meet.
	Switch: "M2 2h4v4H2zM10 2h4v4h-4zM2 10h4v4H2zM10 10h4v4h-4zM6 6l4 4M10 6l-4 4",
}

func kindStyles() string {
	var s strings.Builder
	for _, c := range kindColours {
		fmt.Fprintf(&s, ".%s{fill:%s;stroke:%s;stroke-width:1.4}\n", c.class, c.fill, c.line)
	}
	s.WriteString(".i{fill:none;stroke-linecap:round;stroke-linejoin:round}\n")
	return s.String()
}
