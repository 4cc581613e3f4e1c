package main

import (
	"fmt"
	"math"
	"strings"
)

// The plot's measures, in pixels.
const (
	plotWidth  = 860
	plotLeft   = 224 // where bars begin
	plotRight  = 72  // room for a number behind the longest bar
	plotTop    = 52
	barHeight  = 11
	rowHeight  = 34
	groupSpace = 26 // above each group's rows, for its name
	plotBottom = 40
)

const plotStyle = `
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;font-size:12px;fill:#2f3c50}
.page{fill:#fff;stroke:#d5dce6}
.title{font-size:15px;font-weight:700;fill:#1b2533}
.group{font-size:11px;font-weight:700;fill:#64728a}
.ours{font-weight:700;fill:#1b2533}
.tick{font-size:11px;fill:#64728a;text-anchor:middle}
.name{text-anchor:end}
.grid{stroke:#e3e8ef}
.axis{stroke:#8a97ab}
.f{fill:#9fb0c8}
.b{fill:#cdd6e3}
.of{fill:#2f6fd0}
.ob{fill:#8fb6ee}
`

var xmlEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

// plot draws the TCP streams of all subjects as an SVG picture with a background
// of its own, for light and dark pages.
func plot(r *Result) string {
	var shown []Subject
	longest := 0.0
	height := plotTop + plotBottom
	for i, s := range r.Subjects {
		forward, back := s.Figures[tcpForward].Median, s.Figures[tcpBack].Median
		if forward == 0 && back == 0 {
			continue
		}
		longest = max(longest, forward, back)
		if len(shown) == 0 || shown[len(shown)-1].Group != s.Group {
			height += groupSpace
		}
		height += rowHeight
		shown = append(shown, r.Subjects[i])
	}
	step := tickStep(longest)
	end := math.Max(step, math.Ceil(longest/step)*step)
	x := func(v float64) float64 { return plotLeft + v/end*(plotWidth-plotLeft-plotRight) }

	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`, plotWidth, height)
	p("<title>One TCP stream in both directions, in Gb/s</title>")
	p("<style>%s</style>", plotStyle)
	p(`<rect class="page" x=".5" y=".5" width="%d" height="%d" rx="12"/>`, plotWidth-1, height-1)
	p(`<text class="title" x="20" y="30">One TCP stream, Gb/s received</text>`)
	legend(p, plotWidth-330)
	for v := 0.0; v <= end+step/2; v += step {
		p(`<path class="grid" d="M%.1f %dV%d"/>`, x(v), plotTop+2, height-plotBottom+4)
		p(`<text class="tick" x="%.1f" y="%d">%g</text>`, x(v), height-plotBottom+20, math.Round(v*1e6)/1e6)
	}
	y, group := plotTop, ""
	for _, s := range shown {
		if s.Group != group {
			group = s.Group
			y += groupSpace
			p(`<text class="group" x="20" y="%d">%s</text>`, y-8, xmlEscape.Replace(capital(group)))
		}
		name, class := "name", ""
		if s.Ours {
			name, class = "name ours", "o"
		}
		p(`<text class="%s" x="%d" y="%d">%s</text>`, name, plotLeft-10, y+barHeight+5, xmlEscape.Replace(s.Title))
		for i, bar := range []struct{ figure, class string }{{tcpForward, class + "f"}, {tcpBack, class + "b"}} {
			v, measured := s.Figures[bar.figure]
			top := y + i*(barHeight+2)
			if !measured {
				p(`<text x="%d" y="%d">not measured</text>`, plotLeft+6, top+10)
				continue
			}
			p(`<rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/>`, bar.class, plotLeft, top, max(1, x(v.Median)-plotLeft), barHeight)
			p(`<text x="%.1f" y="%d">%.2f</text>`, x(v.Median)+6, top+10, v.Median)
		}
		y += rowHeight
	}
	p(`<path class="axis" d="M%d %dV%d"/>`, plotLeft, plotTop+2, height-plotBottom+4)
	p("</svg>")
	return out.String()
}

func legend(p func(string, ...any), left int) {
	for i, entry := range []struct{ class, ours, text string }{{"f", "of", "first host to second"}, {"b", "ob", "back"}} {
		x := left + i*190
		p(`<rect class="%s" x="%d" y="20" width="11" height="11"/><rect class="%s" x="%d" y="20" width="11" height="11"/>`,
			entry.ours, x, entry.class, x+13)
		p(`<text x="%d" y="30">%s</text>`, x+30, entry.text)
	}
}

// tickStep is 1, 2 or 5 times a power of ten, so that there are five to ten ticks.
func tickStep(longest float64) float64 {
	if longest <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(longest/5)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if longest/(factor*power) <= 8 {
			return factor * power
		}
	}
	return 10 * power
}
