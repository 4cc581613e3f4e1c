package machine

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/ethernet"
)

// WriteStatus writes what the machine has carried until now: a line for each
// direction of each connection, and one for each element that has more to say.
func (m *Machine) WriteStatus(w io.Writer) {
	m.mu.Lock()
	up := m.upSince
	m.mu.Unlock()
	if up.IsZero() {
		fmt.Fprintf(w, "machine %s, not up yet\n", m.Name)
	} else {
		fmt.Fprintf(w, "machine %s, up %v\n", m.Name, time.Since(up).Round(time.Second))
	}
	rows := [][]string{}
	for _, c := range m.Connections {
		rows = append(rows, row(c.A, c.B, &c.aToB))
		if c.A.Port != c.B.Port {
			rows = append(rows, row(c.B, c.A, &c.bToA))
		}
	}
	writeColumns(w, rows)
	for _, p := range m.Parts {
		if r, ok := p.Element.(element.Reporter); ok {
			if line := r.Status(); line != "" {
				fmt.Fprintf(w, "  %s: %s\n", p.Name, line)
			}
		}
	}
}

func row(from, to End, f *flow) []string {
	return []string{
		from.Part.Name + " -> " + to.Part.Name,
		fmt.Sprintf("frames %d", f.frames.Load()),
		fmt.Sprintf("bytes %d", f.bytes.Load()),
		"dropped " + drops(&from.Port.Counters().Read, &to.Port.Counters().Write),
	}
}

// drops gives "0", or the sum and each reason: "3 (runt 1, stranger 2)".
func drops(read, write *ethernet.Drops) string {
	var sum uint64
	var parts []string
	for r := range ethernet.NumReasons {
		if n := read.Count(r) + write.Count(r); n > 0 {
			sum += n
			parts = append(parts, fmt.Sprintf("%v %d", r, n))
		}
	}
	if sum == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", sum, strings.Join(parts, ", "))
}

// writeColumns writes rows of cells, each column as wide as its widest cell.
func writeColumns(w io.Writer, rows [][]string) {
	var widths []int
	for _, cells := range rows {
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, cells := range rows {
		line := ""
		for i, cell := range cells {
			line += fmt.Sprintf("  %-*s", widths[i], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}
