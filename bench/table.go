package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// table is rows of cells below a heading, to be written as text or Markdown.
type table struct {
	head []string
	left int // so many columns are set flush left, the others flush right
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// text is the table in columns of a terminal.
func (t *table) text() string {
	var widths []int
	for i := range t.head {
		width := 0
		for _, row := range append([][]string{t.head}, t.rows...) {
			width = max(width, utf8.RuneCountInString(row[i]))
		}
		widths = append(widths, width)
	}
	var out strings.Builder
	for _, row := range append([][]string{t.head}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < t.left {
				line.WriteString(cell + fill + "  ")
			} else {
				line.WriteString(fill + cell + "  ")
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return out.String()
}

// markdown is the table in Markdown.
func (t *table) markdown() string {
	var out strings.Builder
	line := func(cells []string) {
		out.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	line(t.head)
	for i := range t.head {
		if i < t.left {
			out.WriteString("|---")
		} else {
			out.WriteString("|--:")
		}
	}
	out.WriteString("|\n")
	for _, row := range t.rows {
		var cells []string
		for _, cell := range row {
			cells = append(cells, strings.ReplaceAll(cell, "|", `\|`))
		}
		line(cells)
	}
	return out.String()
}

// figureTable has a row for every subject that was measured: its figures, each
// with its ratio to the base's, and what the base is. bold marks our own, for
// Markdown.
func (r *Result) figureTable(bold bool) *table {
	t := &table{head: []string{"subject"}, left: 1}
	columns := r.columns()
	for _, f := range columns {
		t.head = append(t.head, strings.TrimSpace(f.title+" "+f.unit))
	}
	t.head = append(t.head, "(ratio to)")
	for _, s := range r.Subjects {
		if len(s.Figures) == 0 {
			continue
		}
		title := s.Title
		if bold && s.Ours {
			title = "**" + title + "**"
		}
		row := []string{title}
		for _, f := range columns {
			row = append(row, r.cell(s, f))
		}
		base := s.Base
		if base == s.Name || r.subject(base) == nil {
			base = ""
		} else {
			base = r.subject(base).Title
		}
		t.add(append(row, base)...)
	}
	return t
}

func (r *Result) cell(s Subject, f figure) string {
	v, ok := s.Figures[f.key]
	if !ok {
		return "–"
	}
	text := f.format(v.Median)
	if ratio, ok := r.ratio(s.Name, s.Base, f.key); ok && s.Base != s.Name && f.key != collection {
		text += " (" + shortRatio(ratio) + ")"
	}
	return text
}

// shortRatio is a ratio with the digits that a table has room for.
func shortRatio(ratio float64) string {
	switch {
	case ratio >= 9.95:
		return fmt.Sprintf("%.0f×", ratio)
	case ratio >= 0.95:
		return fmt.Sprintf("%.1f×", ratio)
	case ratio < 0.01:
		return fmt.Sprintf("%.1g×", ratio)
	default:
		return fmt.Sprintf("%.2f×", ratio)
	}
}

// goalTable has a row for every goal.
func (r *Result) goalTable(bold bool) *table {
	t := &table{head: []string{"goal", "of", "to", "wanted", "reached", ""}, left: 3}
	for _, g := range r.reached() {
		verdict := g.verdict()
		if bold && verdict == "MISSED" {
			verdict = "**MISSED**"
		}
		base := g.base
		if base == "" {
			base = "–"
		}
		t.add(g.what, g.subject, base, g.wanted(), g.got(), verdict)
	}
	return t
}
