package main

import (
	"fmt"
	"strings"
)

// compare is what changed from one result to another, as a table.
func compare(old, new *Result) string {
	var out strings.Builder
	for _, r := range []struct {
		which string
		*Result
	}{{"old", old}, {"new", new}} {
		fmt.Fprintf(&out, "%s: %s, %s; %s of %d s, %s; %s\n", r.which, r.Made.Format("2006-01-02 15:04"), r.version("tmelink"),
			rounds(r.Settings.Rounds), r.Settings.Seconds, r.Settings.Congestion, r.Machine.CPU)
	}
	if old.Machine != new.Machine || old.Settings.Congestion != new.Settings.Congestion {
		out.WriteString("The two were measured on different machines or settings: compare ratios to OpenVPN, not figures.\n")
	}
	out.WriteByte('\n')
	t := &table{head: []string{"subject", "figure", "old", "new", "new/old", ""}, left: 2}
	for _, o := range old.Subjects {
		n := new.subject(o.Name)
		if n == nil {
			continue
		}
		for _, f := range figures {
			a, inOld := o.Figures[f.key]
			b, inNew := n.Figures[f.key]
			switch {
			case !inOld && !inNew:
			case !inOld:
				t.add(o.Name, f.name(), "–", f.format(b.Median), "", "newly measured")
			case !inNew:
				t.add(o.Name, f.name(), f.format(a.Median), "–", "", "no longer measured")
			default:
				ratio := "–"
				if a.Median != 0 {
					ratio = formatRatio(b.Median / a.Median)
				}
				t.add(o.Name, f.name(), f.format(a.Median), f.format(b.Median), ratio, f.change(a, b))
			}
		}
	}
	out.WriteString(t.text())
	for _, n := range onlyIn(new, old) {
		fmt.Fprintf(&out, "only in new: %s\n", n)
	}
	for _, n := range onlyIn(old, new) {
		fmt.Fprintf(&out, "only in old: %s\n", n)
	}
	if old.Settings.Rounds < 2 || new.Settings.Rounds < 2 {
		out.WriteString("\nNothing is marked where there was one round only: the noise is not known.\n")
	}
	return out.String()
}

// change says whether two values differ beyond the noise, and for good or ill.
func (f figure) change(old, new Value) string {
	if len(old.Rounds) < 2 || len(new.Rounds) < 2 {
		return ""
	}
	switch {
	case new.Min > old.Max && f.more, new.Max < old.Min && !f.more:
		return "better"
	case new.Min > old.Max, new.Max < old.Min:
		return "WORSE"
	default:
		return ""
	}
}

// name is title and unit.
func (f figure) name() string {
	if f.unit == "" {
		return f.title
	}
	return f.title + ", " + f.unit
}

func onlyIn(a, b *Result) []string {
	var names []string
	for _, s := range a.Subjects {
		if b.subject(s.Name) == nil {
			names = append(names, s.Name)
		}
	}
	return names
}

// version is that of a program, "?" if it is not known.
func (r *Result) version(program string) string {
	for _, v := range r.Versions {
		if v.Program == program {
			return program + " " + v.Version
		}
	}
	return program + " ?"
}

func rounds(n int) string {
	if n == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", n)
}
